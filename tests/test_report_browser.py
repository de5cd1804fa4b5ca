"""Pages in a real browser: no console error, no request, nothing wider than a phone. Skipped without Chromium."""

import json
import re
import shutil
import subprocess

import pytest

from ndm_apps.report import write_run_page, write_sweep
from tests.report_pages import make_sweep
from tests.test_report import figure_text

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

# The page in a frame as wide as a phone; what it measures is written where --dump-dom shows it.
PHONE = """<!DOCTYPE html><title>phone</title><iframe src="{page}" style="width:405px;height:800px;border:0"></iframe>
<script>
onload = () => {{
  const seen = frames[0].document, root = seen.documentElement;
  const buttons = [...seen.querySelectorAll("table.sortable button")];
  const column = () => [...seen.querySelectorAll("table.sortable tbody tr")].map((row) => row.cells[3].textContent);
  buttons[3]?.click();
  const up = column();
  buttons[3]?.click();
  document.title = JSON.stringify({{
    width: root.clientWidth, beyond: root.scrollWidth - root.clientWidth,
    asked: frames[0].performance.getEntriesByType("resource").map((one) => one.name.slice(0, 40)),
    buttons: buttons.length, up, down: column(),
    sorted: seen.querySelectorAll("[aria-sort=descending]").length,
    unnamed: seen.querySelectorAll("svg:not([role=img][aria-label]):not([aria-hidden]), img:not([alt])").length,
    background: getComputedStyle(seen.body).backgroundColor,
  }});
}};
</script>"""


def visit(page, folder, scheme="light"):
    """Load a page in a frame of a phone's width; return what it measures, and what the browser complains of."""
    frame = folder / "phone.html"
    frame.write_text(PHONE.format(page=page.as_uri()))
    told = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}", "--disable-background-networking",
            "--virtual-time-budget=3000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", told.stdout)[1].replace("&quot;", '"')
    return json.loads(title), [line for line in told.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_run(make_run, tmp_path, scheme):
    folder = make_run(figures={"one": figure_text(tmp_path)})
    measured, console = visit(write_run_page(folder), tmp_path, scheme)
    assert console == []
    assert all(name.startswith("data:") for name in measured["asked"])
    assert (measured["width"], measured["beyond"]) == (390, 0)
    assert measured["unnamed"] == 0
    light = sum(map(int, re.findall(r"\d+", measured["background"])[:3])) > 384
    assert light == (scheme == "light")


def test_the_page_of_a_sweep_and_its_sorting(make_run, tmp_path):
    values = {"ndm": [10.0, 9.0, None], "naive": [1.5, 1.0, 1.25]}
    sweep = make_sweep(make_run, tmp_path / "sweep", values)
    measured, console = visit(write_sweep(sweep), tmp_path)
    assert console == []
    assert measured["asked"] == []
    assert (measured["width"], measured["beyond"]) == (390, 0)
    assert measured["unnamed"] == 0
    assert measured["up"] == ["1", "1.25", "1.5", "9", "10", "–"]
    assert measured["down"] == ["10", "9", "1.5", "1.25", "1", "–"]
    assert measured["sorted"] == 1


@pytest.mark.parametrize(
    "foreign", ['<img src="http://127.0.0.1:9/x.png">', "<script>1</script>", '<p style="width: 50rem">wide</p>']
)
def test_a_page_that_asks_runs_or_overflows_is_noticed(make_run, tmp_path, foreign):
    page = write_run_page(make_run())
    page.write_text(page.read_text().replace("<footer>", f"{foreign}<footer>"))
    measured, console = visit(page, tmp_path)
    assert console or measured["beyond"] > 0
