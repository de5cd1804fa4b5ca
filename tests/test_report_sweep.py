import csv
import json
import re

import pytest

from ndm_apps.errors import InputError
from ndm_apps.report import write_run_page, write_sweep, write_sweep_page
from tests.report_pages import make_sweep
from tests.test_report import assert_self_contained

VALUES = {"ndm": [3.0, 5.0, 4.5], "naive": [1.0, 1.5, 1.2]}


def test_runs_that_failed_are_told_with_their_reason(make_run, tmp_path):
    folder = make_sweep(make_run, tmp_path / "sweep", VALUES)
    sweep = json.loads((folder / "sweep.json").read_text())
    sweep["runs"] += ["slda-seed0", "slda-seed1"]
    sweep["failed"] = {"slda-seed0": "ValueError: <b>too few</b> samples (run.py:7)"}
    sweep["command"] = ["ndm", "sweep", "nowhere/x", "--out", "a b"]
    (folder / "sweep.json").write_text(json.dumps(sweep))
    text = write_sweep_page(folder).read_text()
    tags = assert_self_contained(text)
    assert "&lt;b&gt;too few&lt;/b&gt; samples (run.py:7)" in text
    assert "1 failed" in text and "1 not finished or not begun" in text and "<li>slda-seed1</li>" in text
    assert "<b>6</b> of <b>8</b>" in text
    assert "ndm sweep nowhere/x --out &#39;a b&#39;" in text
    assert "./sweep.json" in tags.values("href")


def test_methods_keep_the_order_of_the_sweep_and_the_first_is_the_baseline(make_run, tmp_path):
    folder = make_sweep(make_run, tmp_path / "sweep", {"zeta": [2.0, 3.0], "alpha": [1.0, 1.5]})
    text = write_sweep_page(folder).read_text()
    assert "Difference to zeta" not in text  # the numbers of a domain without plugin have no better side
    assert text.index('<th scope="row">zeta</th>') < text.index('<th scope="row">alpha</th>')


@pytest.mark.parametrize("where", ["argument", "sweep.json", "neither"])
def test_the_baseline_is_the_one_asked_for(where, make_run, tmp_path, monkeypatch):
    from ndm_apps.plugins.base import Column
    from ndm_apps.report import sweep_page

    monkeypatch.setattr(sweep_page, "columns_of", lambda run: (Column("n_conserved", "laws", ".2f", "higher"),))
    content = {"baseline": "naive"} if where == "sweep.json" else {}
    folder = make_sweep(make_run, tmp_path / "sweep", VALUES, **content)
    page = write_sweep(folder, baseline="naive" if where == "argument" else None)
    base, other = ("ndm", "naive") if where == "neither" else ("naive", "ndm")
    text = page.read_text()
    assert f"Difference to {base}" in text
    assert_self_contained(text)
    (row,) = csv.DictReader((folder / "differences.csv").open())
    assert (row["group"], row["baseline"], row["pairs"]) == (other, base, "3")
    assert abs(float(row["difference"])) == pytest.approx((2.0 + 3.5 + 3.3) / 3)
    assert float(row["p_holm"]) < 0.05
    assert ("worse" if where == "neither" else "best") in text
    with pytest.raises(InputError, match="--baseline"):
        write_sweep(folder, baseline="absent")


def test_tables_are_rebuilt_from_disk(make_run, tmp_path):
    folder = make_sweep(make_run, tmp_path / "sweep", VALUES)
    write_sweep(folder)
    written = {name: (folder / name).read_bytes() for name in ("summary.csv", "summary.md", "report.html")}
    for name in written:
        (folder / name).unlink()
    write_sweep(folder)
    assert {name: (folder / name).read_bytes() for name in written} == written | {
        "report.html": (folder / "report.html").read_bytes()
    }
    assert (folder / "summary.csv").read_text().startswith("task,method,runs,seeds,n_conserved_mean")


def test_every_run_leads_to_its_page_and_its_numbers(make_run, tmp_path):
    folder = make_sweep(make_run, tmp_path / "sweep", VALUES)
    tags = assert_self_contained(write_sweep(folder).read_text())
    links = set(tags.values("href"))
    assert {
        f"./{m}-seed{s}/{name}" for m in VALUES for s in range(3) for name in ("report.html", "result.json")
    } <= links
    assert {"./summary.csv", "./summary.md"} <= links
    assert all(attributes.get("scope") for tag, attributes in tags.seen if tag == "th")
    kinds = [tag for tag, _ in tags.seen]
    assert kinds.count("table") == kinds.count("caption")


def test_figures_beyond_the_budget_are_linked(make_run, monkeypatch):
    from ndm_apps.report import render

    drawing = "<svg xmlns='http://www.w3.org/2000/svg' width='100pt'><path d='M0 0{}'/></svg>"
    monkeypatch.setattr(render, "BUDGET", 3000)
    folder = make_run(figures={"a": drawing.format("L1 1" * 500), "b": drawing.format("L1 1" * 500)})
    text = write_run_page(folder).read_text()
    assert text.count("L1 1") == 500
    assert 'Too large for this page: <a href="./figures/b.svg">b.svg</a>' in text


def test_whatever_a_run_holds_its_page_stays_below_two_megabytes(make_run):
    drawing = "<svg xmlns='http://www.w3.org/2000/svg' width='100pt'><path d='M0 0{}'/></svg>".format("L1 1" * 120_000)
    rows = [{f"k{n}": "<&>" * 30 for n in range(30)} for _ in range(300)]
    folder = make_run(figures={str(n): drawing for n in range(5)}, result={"first": rows, "deep": {"second": rows}})
    page = write_run_page(folder)
    assert 1_000_000 < page.stat().st_size < 2_000_000
    assert page.read_text().count("Too large for this page") == 3


def test_a_film_stands_still_for_those_who_ask(make_run):
    from PIL import Image

    folder = make_run()
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    frames[0].save(folder / "figures" / "film.gif", save_all=True, append_images=frames[1:], duration=100)
    (folder / "figures" / "broken.gif").write_bytes(b"GIF89a")
    text = write_run_page(folder).read_text()
    assert_self_contained(text)
    assert re.search(r'<source media="\(prefers-reduced-motion: reduce\)" srcset="data:image/png;base64,[^"]+">', text)
    assert 'src="data:image/gif;base64,' in text
    assert "broken.gif is not shown" in text


def test_what_the_machine_did_is_drawn_from_its_own_log(make_run):
    folder = make_run()
    points = [{"name": "system/cpu_utilization_percentage", "value": v, "step": v, "time": 0} for v in range(3)]
    (folder / "system.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    text = write_run_page(folder).read_text()
    assert "The machine meanwhile" in text and 'aria-label="system/cpu_utilization_percentage"' in text
    assert 'href="./system.jsonl"' in text


def test_records_by_name_make_a_table(make_run):
    orbits = {
        name: {"gm": gm, "period": None, "area": {"secular": 1e-9}} for name, gm in (("mars", 1.5), ("venus", 2.5))
    }
    text = write_run_page(make_run(result={"orbits": orbits, "data": {"samples": 3, "notes": []}})).read_text()
    assert '<h2 id="records-2">Orbits</h2>' in text
    assert '<th scope="col">area: secular</th>' in text
    assert '<th scope="row">mars</th><td>1.5</td><td>–</td><td>1e-09</td>' in text
    assert_self_contained(text)


def test_figures_of_the_shared_style_take_the_colours_of_the_page(tmp_path):
    from matplotlib.figure import Figure

    from ndm_apps.report import save_svg, style
    from ndm_apps.report.svg import inline_svg

    def made(shared, color=None):
        figure = Figure(figsize=(2, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], color=color)
        axes.text(0.5, 0.5, "x", color="white")
        return inline_svg(save_svg(figure, tmp_path / f"{shared}.svg").read_text(), "p-", "x")

    with style():
        ours = made(True)
        dark = made(True, color="#440154")
    foreign = made(False)
    assert ours.is_themed and not foreign.is_themed
    assert not dark.is_themed  # a line that nobody would see on a dark page
    assert all(f"var(--{name})" in ours.markup for name in ("paper", "fig-soft", "edge", "grid", "c0"))
    assert "#ffffff" in ours.markup  # text that is white in the figure stays white
    assert "var(--" not in foreign.markup
