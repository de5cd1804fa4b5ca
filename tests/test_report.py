import csv
import hashlib
import json
import re
import subprocess
import sys
from base64 import b64encode
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Column
from ndm_apps.report import (
    columns_of,
    load_results,
    save_svg,
    style,
    summary,
    varying_settings,
    write_run_page,
    write_sweep_page,
)
from ndm_apps.report.curves import read_curves
from ndm_apps.report.svg import inline_svg

ACCURACY = Column("accuracy", "accuracy", ".3f", "higher")
DELAY = Column("shift.delay", "delay", ".1f", "lower")


def results(values, method="ndm", task="t", key="accuracy"):
    return [{"task": task, "method": method, "seed": s, key: v} for s, v in enumerate(values)]


def figure_text(tmp_path, title="title"):
    with style():
        figure = Figure(figsize=(3, 2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [1, 3], label="curve")
        axes.imshow(np.eye(3), extent=(0, 1, 1, 3))
        axes.set_title(title)
        axes.legend()
    return save_svg(figure, tmp_path / "figure.svg").read_text()


class Tags(HTMLParser):
    """Collects all tags and checks that what is opened is closed in order."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input", "source"})

    def __init__(self, text):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def values(self, name):
        return [attributes[name] for _, attributes in self.seen if name in attributes]


def assert_self_contained(text):
    tags = Tags(text)
    assert not {tag for tag, _ in tags.seen} & {"link", "iframe", "object", "foreignobject"}
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == [tag for tag, _ in tags.seen].count("script")
    for script in scripts:  # the page's own, and no other may run
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in text
    for target in tags.values("href") + tags.values("src"):
        assert target.startswith(("#", "./", "data:image/")), target
    names = {name for _, attributes in tags.seen for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert not re.findall(r"https?://(?!www\.w3\.org/)", text)
    assert not re.findall(r"url\((?!#)|@import", text)
    ids = tags.values("id")
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]*)\)", text) + [t[1:] for t in tags.values("href") if t.startswith("#")]
    assert set(used) <= set(ids)
    return tags


def test_mean_and_sd_are_numpys():
    rng = np.random.default_rng(0)
    a, b = rng.random(5), rng.random(3)
    table = summary([*results(a, "ndm"), *results(b, "naive")], [ACCURACY])
    for row, values in zip(table.rows, (a, b), strict=True):
        (cell,) = row.cells
        assert cell.mean == pytest.approx(values.mean(), rel=1e-15)
        assert cell.sd == pytest.approx(values.std(ddof=1), rel=1e-13)
        assert cell.text == f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
        assert (row.seeds, row.runs) == (len(values), len(values))


@pytest.mark.parametrize(("better", "best"), [("higher", "b"), ("lower", "a"), ("", None)])
def test_the_best_of_each_task_is_marked(better, best):
    runs = [
        *results([0.1], "a", "one"), *results([0.2], "b", "one"), *results([np.nan], "c", "one"),
        *results([0.9], "a", "two"),
    ]  # fmt: skip
    table = summary(runs, [Column("accuracy", "accuracy", ".2f", better)])
    assert [row.labels for row in table.rows if row.cells[0].best] == ([("one", best)] if best else [])


def test_means_that_read_the_same_are_both_best():
    runs = [*results([0.90001], "a"), *results([0.90002], "b"), *results([0.8], "c")]
    assert [row.cells[0].best for row in summary(runs, [ACCURACY]).rows] == [True, True, False]


def test_missing_values_are_shown_and_counted():
    runs = [*results([0.5, None, 0.7]), *results([None], "naive")]
    table = summary(runs, [ACCURACY, DELAY])
    assert [cell.text for cell in table.rows[0].cells] == ["0.600 ± 0.141 (n=2)", "–"]
    assert [cell.text for cell in table.rows[1].cells] == ["–", "–"]
    assert table.rows[0].cells[0].count == 2
    assert not table.rows[0].cells[0].best  # nobody to be better than


def test_a_seed_that_ran_twice_is_told():
    row = summary([*results([0.1, 0.2]), *results([0.3])], [ACCURACY]).rows[0]
    assert row.count == "2 (3 runs)"


def test_not_a_number_is_neither_hidden_nor_best():
    table = summary([*results([0.5, float("nan")], "a"), *results([0.1], "b"), *results([0.2], "c")], [ACCURACY])
    assert [row.cells[0].text for row in table.rows] == ["nan ± nan", "0.100", "0.200"]
    assert [row.cells[0].best for row in table.rows] == [False, False, True]


def test_texts_and_flags_are_summarised():
    runs = [{"task": "t", "method": "m", "seed": s, "kind": "x", "word": str(s), "solved": s == 0} for s in range(2)]
    (row,) = summary(runs, [Column("kind", "k"), Column("word", "w"), Column("solved", "s", ".2f")]).rows
    assert [cell.text for cell in row.cells] == ["x", "varies", "0.50 ± 0.71"]


def test_a_setting_with_the_name_of_a_result_is_not_shown_as_one():
    run = {"task": "t", "method": "m", "seed": 0, "config": {"accuracy": 0.99}}
    assert summary([run], [ACCURACY]).rows[0].cells[0].text == "–"


def test_by_must_name_something():
    with pytest.raises(ValueError, match="by"):
        summary([], [ACCURACY], by=())


def test_csv_holds_all_digits(tmp_path):
    values = np.random.default_rng(1).random(4)
    table = summary([*results(values), *results([0.5], "naïve, plain")], [ACCURACY, DELAY])
    with table.to_csv(tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        read = list(csv.DictReader(stream))
    assert float(read[0]["accuracy_mean"]) == pytest.approx(values.mean(), rel=1e-15)
    assert float(read[0]["accuracy_sd"]) == pytest.approx(values.std(ddof=1), rel=1e-13)
    assert (read[0]["accuracy_n"], read[0]["seeds"], read[0]["shift.delay_mean"]) == ("4", "4", "")
    assert (read[1]["method"], read[1]["accuracy_mean"], read[1]["accuracy_sd"]) == ("naïve, plain", "0.5", "")


def test_markdown_marks_the_best_and_escapes_bars():
    text = summary([*results([0.5], "a|b"), *results([0.7], "c")], [ACCURACY]).to_markdown()
    assert text.splitlines()[2:] == [r"| t | a\|b | 1 | 0.500 |", "| t | c | 1 | **0.700** |"]


@pytest.mark.parametrize("width", [40, 200])
def test_the_terminal_table_shows_every_value_at_any_width(width):
    from rich.console import Console

    table = summary([*results([0.5], "[bold]a[/bold]"), *results([0.75], "b")], [ACCURACY, DELAY])
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    console.print(table.to_rich(width))
    shown = console.export_text()
    assert all(text in shown for text in ("[bold]a[/bold]", "0.500", "0.750", "accuracy ↑", "delay ↓"))
    assert shown.index("method") < shown.index("0.500")


def test_results_are_found_once_and_damage_is_told(make_run, tmp_path):
    runs = [make_run(f"r{n}", seed=n, within=tmp_path / "sweep") for n in range(3)]
    make_run("unfinished", complete=False, within=tmp_path / "sweep")
    (runs[1] / "result.json").write_text("{broken")
    (runs[2] / "result.json").write_text("[1]")
    told = []
    found = load_results([tmp_path / "sweep", runs[0]], told.append)
    assert [result["folder"] for result in found] == [str(runs[0])]
    assert len(told) == 2 and str(runs[1]) in told[0] and "mapping" in told[1]


def test_settings_that_vary_within_a_method_are_found():
    runs = [
        {"task": "t", "method": m, "config": {"seed": s, "dtype": "float32", "methods": {m: {"lr": lr}}}}
        for m in "ab" for s in range(2) for lr in ((0.1, 0.2) if m == "a" else (0.3,))
    ]  # fmt: skip
    assert varying_settings(runs) == ("methods.a.lr",)


def test_columns_of_a_domain_without_plugin_are_its_numbers(make_run):
    (result,) = load_results([make_run(task="nowhere/x", result={"score": 1.5})])
    assert [column.key for column in columns_of(result)] == ["n_conserved", "noise", "score", "seconds"]


def test_saving_a_figure_twice_gives_the_same_bytes(tmp_path):
    assert figure_text(tmp_path) == figure_text(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["figure.svg"]


def test_style_changes_nothing_outside():
    import matplotlib

    before = matplotlib.rcParams.copy()
    with style():
        assert matplotlib.rcParams["axes.grid"]
    assert matplotlib.rcParams == before


def test_inlined_figures_keep_their_drawing_and_share_no_id(tmp_path):
    text = figure_text(tmp_path)
    one, two = (inline_svg(text, prefix, "A 'curve' & \"more\"").markup for prefix in ("one-", "two-"))
    ids = [set(re.findall(r'\bid="([^"]*)"', drawing)) for drawing in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    for drawing, found in zip((one, two), ids, strict=True):
        used = re.findall(r"url\(#([^)]*)\)", drawing) + re.findall(r'href="#([^"]*)"', drawing)
        assert used and set(used) <= found
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") == "A 'curve' & \"more\""
        assert root.get("width") is None and root.get("viewBox")
        assert "<style" not in drawing
    assert one.count("<path") == text.count("<path") > 0
    assert one.count("data:image/png;base64") == text.count("data:image/png;base64") == 1


HOSTILE = [
    "<script>alert(1)</script>",
    "<g onload='alert(1)'/>",
    "<a href='javascript:alert(1)'><path d='M0 0'/></a>",
    "<image href='http://evil.example/x.png'/>",
    "<image href='data:image/svg+xml;base64,PHN2Zz4='/>",
    "<use href='http://evil.example/x.svg#a'/>",
    "<use xlink:href='//evil.example/x.svg#a'/>",
    "<rect style='fill:url(http://evil.example/x)'/>",
    r"<rect style='fill:u\72l(http:evil.example)'/>",
    "<rect fill='url(//evil.example/x#y)'/>",
    "<style>@import 'http://evil.example/x.css'; * {display: none}</style>",
    "<foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src='http://evil.example'/></foreignObject>",
    "<set attributeName='href' to='javascript:alert(1)'/>",
    "<h:script xmlns:h='http://www.w3.org/1999/xhtml'>alert(1)</h:script>",
    "<script xmlns=''>alert(1)</script>",
    "<text>&lt;script&gt;alert(1)&lt;/script&gt;</text>",
]


@pytest.mark.parametrize("content", HOSTILE)
def test_foreign_figures_cannot_reach_out_or_run(content):
    frame = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' {}>{}</svg>"
    drawing = inline_svg(frame.format("onclick='alert(1)'", content), "p-", "x").markup
    assert "evil" not in drawing
    assert "javascript" not in drawing
    tags = Tags(drawing)
    assert {tag for tag, _ in tags.seen} <= {"svg", "g", "path", "image", "use", "rect", "text"}
    assert not [name for _, attributes in tags.seen for name in attributes if name.startswith("on")]


@pytest.mark.parametrize(
    "text", ["", "no svg", "<html/>", "<!DOCTYPE s [<!ENTITY a 'b'>]><svg xmlns='http://www.w3.org/2000/svg'>&a;</svg>"]
)
def test_what_is_no_drawing_is_refused(text):
    with pytest.raises(ValueError, match="figure"):
        inline_svg(text, "p-", "x")


def test_the_page_of_a_run_holds_its_numbers_and_asks_no_one(make_run, tmp_path):
    (tmp_path / "svg").mkdir()
    drawing = figure_text(tmp_path / "svg")
    folder = make_run(figures={"one": drawing, "two": drawing, "broken": "<svg"}, task="nowhere/x")
    page = write_run_page(folder)
    text = page.read_text()
    tags = assert_self_contained(text)
    assert page == folder / "report.html"
    assert text.count("<figcaption>") == 4  # three files and the curves
    assert {"./figures/one.svg", "./figures/two.svg", "./figures/broken.svg"} <= set(tags.values("href"))
    for shown in (
        "nowhere/x", "One conserved quantity found.", "p**2 + q**2", "0.0001", "12.5 s", "321 MB", "Caption of one.",
        "methods.ndm.lr", "0123456789abcdef", "equations of the task", "ndm run config.yaml --seed 0",
        "broken.svg is not shown",
    ):  # fmt: skip
        assert shown in text, shown
    assert {"./config.yaml", "./result.json", "./metrics.jsonl"} <= set(tags.values("href"))
    kinds = [tag for tag, _ in tags.seen]
    assert kinds.count("table") == kinds.count("caption")
    assert all(attributes.get("scope") for tag, attributes in tags.seen if tag == "th")
    assert kinds.count("h1") == 1


def test_the_same_run_gives_the_same_page(make_run):
    folder = make_run()
    assert write_run_page(folder).read_bytes() == write_run_page(folder).read_bytes()


def test_hostile_names_and_values_are_escaped(make_run):
    nasty = "<script>alert('x')</script>"
    folder = make_run(
        name="<script>", method=nasty, task=nasty, seed=nasty,
        result={"verdict": nasty, nasty: 1.0, "list": [{nasty: nasty}], "versions": {nasty: nasty}},
        figures={"x": "<svg"},
    )  # fmt: skip
    (folder / "figures" / "captions.json").write_text(json.dumps({"x": nasty}))
    text = write_run_page(folder).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert_self_contained(text)


def test_a_run_without_result_gets_a_page_that_says_so(make_run):
    text = write_run_page(make_run(complete=False)).read_text()
    assert "has not finished" in text
    assert "Over the run" in text


def test_the_page_of_a_sweep_compares_and_links(make_run, tmp_path):
    sweep = tmp_path / "sweep"
    values = {"ndm": [3, 5], "naive": [1, 1]}
    for method, found in values.items():
        for seed, value in enumerate(found):
            folder = make_run(
                f"{method} {seed}#",
                seed=seed,
                method=method,
                task="nowhere/x",
                result={"n_conserved": value},
                within=sweep,
            )
            write_run_page(folder)
    make_run("killed", complete=False, within=sweep)
    (sweep / "sweep.json").write_text(json.dumps({"config": {"task_name": "nowhere/x"}, "runs": list("abcde")}))
    text = write_sweep_page(sweep).read_text()
    tags = assert_self_contained(text)
    assert "4 ± 1.414" in text
    assert "<b>4</b> of <b>5</b>" in text
    assert "1 of 5 runs have no result" in text
    assert "./ndm%200%23/report.html" in tags.values("href")


def test_a_sweep_over_a_setting_is_not_averaged_over_it(make_run, tmp_path):
    for number, rate in enumerate((0.1, 0.2)):
        folder = make_run(f"r{number}", task="nowhere/x", within=tmp_path / "sweep")
        result = json.loads((folder / "result.json").read_text())
        result["config"]["methods"]["ndm"]["lr"] = rate
        (folder / "result.json").write_text(json.dumps(result))
    text = write_sweep_page(tmp_path / "sweep").read_text()
    assert '<th scope="col">methods.ndm.lr</th>' in text
    assert '<th scope="row">0.1</th>' in text


def test_a_folder_without_runs_still_gets_a_page(tmp_path):
    assert "No finished run" in write_sweep_page(tmp_path).read_text()


@pytest.mark.parametrize("write", [write_run_page, write_sweep_page])
def test_what_is_no_folder_is_an_input_error(write, tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        write(tmp_path / "absent")


def test_a_damaged_result_is_an_input_error_and_leaves_the_old_page(make_run):
    folder = make_run()
    (folder / "report.html").write_text("old")
    (folder / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json"):
        write_run_page(folder)
    assert (folder / "report.html").read_text() == "old"


def test_curves_skip_damage_and_take_the_later_of_repeated_steps(tmp_path):
    path = tmp_path / "metrics.jsonl"
    points = [("a", 1.0, 0), ("a", 2.0, 1), ("a", 3.0, 1), ("b", None, 0)]
    lines = [json.dumps({"name": n, "value": v, "step": s, "time": 0}) for n, v, s in points]
    path.write_text("\n".join([*lines, "garbage", '{"name": "a", "va']))
    curves = read_curves(path)
    assert [part.tolist() for part in curves["a"]] == [[0.0, 1.0], [1.0, 3.0]]
    assert np.isnan(curves["b"][1]).all()
    assert read_curves(tmp_path / "absent.jsonl") == {}


def test_saving_costs_no_second_drawing_and_changes_nothing(tmp_path):
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.add_subplot().plot([0, 1], [1, 3])
    ours = save_svg(figure, tmp_path / "ours.svg").read_text()
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "ndm", "svg.fonttype": "path"}):
        figure.savefig(tmp_path / "theirs.svg", metadata={"Date": None, "Creator": None})
    assert ours == (tmp_path / "theirs.svg").read_text()


def test_the_report_needs_neither_torch_nor_mlflow():
    code = "import sys, ndm_apps.report; sys.exit(any(name in sys.modules for name in ('mlflow', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
