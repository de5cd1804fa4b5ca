"""The commands that show what is on disk: ``report``, ``inspect``, ``ui``."""

import subprocess

from ndm_apps import run as runner
from ndm_apps import tracking


def test_report_of_what_is_not_finished(ndm, here, make_run):
    make_run("half", complete=False)
    status, out, _ = ndm("report", "half")
    assert status == 0 and "report: half/report.html" in out
    make_run("whole")
    make_run("other", task="chess/opening")
    assert ndm("report", "half", "whole", "other")[0] == 0
    (here / "half" / "report.html").unlink()
    assert "found are of 2 domains (chess, physics)" in ndm("report", "half", "whole", "other", "--table", "t.csv")[2]
    assert "no finished run" in ndm("report", "half", "--table", "t.csv")[2]
    assert not (here / "half" / "report.html").exists() and not (here / "t.csv").exists()


def test_inspect_prints_what_was_found(ndm, here, monkeypatch):
    found = {"charts": [{"labels": [1, 4], "mean_curvature": 0.123456, "more": None}], "scale": 2.0}
    found |= {"gain": 0.5, "gain_low": -0.25, "gain_high": 1.0, "gain_p": 0.25, "gain_n": 1200, "low": 1.0}
    monkeypatch.setattr(runner, "inspect_run", lambda folder: found)
    status, out, _ = ndm("inspect", "run")
    assert status == 0
    assert out.splitlines() == [
        "charts:", "  1. labels [1, 4], mean curvature 0.1235, more –", "scale: 2",
        "gain: 0.5 [-0.25, 1], p = 0.25, n = 1200", "low: 1", "report: run/report.html",
    ]  # fmt: skip


def test_ui_serves_the_runs_of_this_folder_on_loopback(ndm, refused, here, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    started = []

    def run(command, env, check):
        started.append((command, env))
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", run)
    assert "no runs here yet" in refused("ui")
    (here / "results").mkdir()
    (here / "results" / "mlflow.db").touch()
    status, out, _ = ndm("ui", "--port", "5005")
    assert status == 3 and "http://127.0.0.1:5005" in out
    ((command, environment),) = started
    assert command == tracking.ui_command(f"sqlite:///{here / 'results' / 'mlflow.db'}", port=5005)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"

    def ended(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", ended)
    assert ndm("ui")[0] == 0, "Ctrl-C is the way to end it"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@localhost:1")
    assert "open http://localhost:1 in a browser" in refused("ui")
