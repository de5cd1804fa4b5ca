"""The commands that run many: ``sweep``, ``sweep --search``, ``demo``."""

import json

import pytest

from ndm_apps import run as runner
from ndm_apps import sweep as sweeper
from ndm_apps.plugins import base
from ndm_apps.plugins.base import Result
from tests.cli.conftest import GOOD


def test_sweep_and_report(ndm, here, quick):
    arguments = ["sweep", "good.yaml", "--seeds", "0:2", "--set", "method=ndm,naive", "--jobs", "1", "--no-track"]
    status, out, err = ndm(*arguments, "--out", "sweep", "--table", "tables/one.csv")
    assert (status, err) == (0, "")
    assert "0.3000 ± 0.0707" in out and "report: sweep/report.html" in out
    table = (here / "tables" / "one.csv").read_text()
    assert table == (here / "sweep" / "summary.csv").read_text() and table.count("\n") == 3

    (here / "sweep" / "report.html").unlink()
    status, out, err = ndm("report", "sweep", "--table", "tables/two.csv")
    assert (status, err) == (0, "") and "report: sweep/report.html" in out and "0.3000 ± 0.0707" in out
    assert (here / "sweep" / "report.html").exists()
    rows = [sorted((here / "tables" / name).read_text().splitlines()) for name in ("one.csv", "two.csv")]
    assert rows[0] == rows[1]
    assert ndm("report", "sweep/ndm-seed0", "sweep/ndm-seed1")[0] == 0


def test_sweep_records_what_repeats_it(ndm, here, quick):
    arguments = ["sweep", "good.yaml", "--seeds", "0:2", "--set", "method=ndm,naive", "--jobs", "1",
                 "--baseline", "naive", "--device", "cpu", "--no-track", "--out", "sweep"]  # fmt: skip
    status, out, _ = ndm(*arguments)
    assert status == 0 and "continual/digits, less naive: mean [95 % interval], p (paired t, Holm)" in out
    assert "continual/digits, less naive" in ndm("report", "sweep", "--baseline", "naive")[1]
    assert "less" not in ndm("report", "sweep")[1]
    known = json.loads((here / "sweep" / "sweep.json").read_text())
    assert known["baseline"] == "naive"
    again = known["command"]
    assert again[0] == "ndm" and "device=cpu" in again
    before = {path: path.stat().st_mtime_ns for path in here.glob("sweep/*/result.json")}
    assert ndm(*again[1:])[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in here.glob("sweep/*/result.json")} and len(before) == 4


def test_search_prints_the_best_settings(ndm, here, quick):
    pytest.importorskip("optuna")
    space = "search:\n  trials: 3\n  seeds: 1000\n  space:\n    methods.ndm.solver: [lda, ridge]\n"
    (here / "space.yaml").write_text(GOOD + space)
    status, out, err = ndm("sweep", "space.yaml", "--search", "--jobs", "1", "--no-track", "--out", "found")
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == [
        "trials: 3 (0 failed), in found/trials.csv",
        "best accuracy on held-out data: 100.2500",
    ]
    assert "methods.ndm.solver: " in out and out.endswith("config: found/best.yaml\nreport: found/report.html\n")
    assert ndm("run", "found/best.yaml", "--out", "best", "--no-track")[0] == 0


def test_a_failing_member_of_a_sweep_is_told(ndm, here, monkeypatch):
    def function(task, method, settings, context):
        if context.seed == 1:
            raise RuntimeError("a [weird] fault")
        return Result({"final_accuracy": 0.5})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    status, out, err = ndm("sweep", "good.yaml", "--seeds", "0:2", "--jobs", "1", "--no-track", "--out", "sweep")
    assert status == 1 and "0.5000" in out
    assert err.startswith("failed: ndm-seed1: RuntimeError: a [weird] fault (test_sweeps.py:") and err.count("\n") == 1


def test_demo_runs_what_every_plugin_shows(ndm, here, monkeypatch):
    swept = []

    def fake(runs, out, **options):
        swept.append((out.as_posix(), {member.config.run.method for member in runs}, options["jobs"]))
        return [sweeper.Outcome(member.label, None, "not run") for member in runs]

    monkeypatch.setattr(sweeper, "sweep", fake)
    status, _, err = ndm("demo", "--jobs", "1", "--out", "shown", "--no-track")
    assert status == 1 and "not run" in err, "a demo that fails says so"
    shown = [name for plugin in base.plugins().values() for name in plugin.demo]
    assert [folder for folder, _, _ in swept] == [f"shown/{name.replace('/', '-')}" for name in shown]
    assert "continual/digits" in shown and swept[0][1] >= {"ndm", "naive"}
