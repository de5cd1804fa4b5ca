"""The command ``run``, and what ends a run."""

import json
import os
import shlex
import signal
import subprocess
import sys

import pytest

from ndm_apps import run as runner
from ndm_apps.cli import main
from ndm_apps.plugins import base
from ndm_apps.plugins.base import Result
from tests.cli.conftest import GOOD


def test_run(ndm, here, quick):
    status, out, err = ndm("run", "good.yaml", "--out", "a b", "--no-track")
    assert (status, err) == (0, "")
    assert "0.5500" in out and "A [bold]verdict[/bold]." in out and "report: a b/report.html" in out
    assert json.loads((here / "a b" / "result.json").read_text())["seed"] == 3
    assert ndm("run", "good.yaml", "--out", "a b", "--no-track")[0] == 2
    assert ndm("run", "good.yaml", "--out", "a b", "--no-track", "--resume")[0] == 0
    assert ndm("run", "good.yaml", "--seed", "5", "--no-track")[0] == 0
    (folder,) = (here / "results" / "runs").iterdir()
    assert folder.name.startswith("continual-digits-") and folder.name.endswith("-5")


def test_run_of_a_config_with_tasks_or_variants_runs_them_all(ndm, here, quick):
    (here / "several.yaml").write_text(
        GOOD + "sweep:\n  variants: [{task.stream.passes: 1}, {task.stream.passes: 2}]\n"
    )
    status, out, err = ndm("run", "several.yaml", "--out", "all", "--seed", "4", "--no-track")
    assert (status, err) == (0, "") and "report: all/report.html" in out
    runs = sorted(path.name for path in (here / "all").iterdir() if path.is_dir())
    assert runs == ["ndm-task.stream.passes=1-seed4", "ndm-task.stream.passes=2-seed4"]
    assert (here / "all" / "summary.csv").read_text().count("\n") == 3


def test_run_and_report_record_in_mlflow(ndm, here, quick, store):
    from mlflow import MlflowClient

    assert ndm("run", "good.yaml", "--out", "one")[0] == 0
    experiment = MlflowClient(store).get_experiment_by_name("ndm/continual").experiment_id
    assert [run.info.status for run in MlflowClient(store).search_runs([experiment])] == ["FINISHED"]
    assert ndm("run", "good.yaml", "--out", "two", "--no-track")[0] == 0
    assert len(MlflowClient(store).search_runs([experiment])) == 1
    status, out, _ = ndm("report", "one", "two", "--log")
    assert status == 0 and "holds 2 of 2 runs" in out
    assert len(MlflowClient(store).search_runs([experiment])) == 2


def test_a_failing_mlflow_is_a_warning(ndm, here, quick, monkeypatch):
    (here / "no.db").write_text("this is no database, whatever its name says")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'no.db'}")
    status, out, err = ndm("run", "good.yaml", "--out", "one")
    assert status == 0 and "0.5500" in out
    assert err.startswith("warning: MLflow has not got everything of 'one'") and err.count("\n") == 1
    status, out, _ = ndm("report", "one", "--log")
    assert status == 1 and "holds 0 of 1 runs" in out


def test_a_fault_of_the_program_is_no_wrong_input(here, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(runner, "resolve", lambda entry: broken)
    with pytest.raises(ZeroDivisionError):
        main(["run", "good.yaml", "--no-track"])


@pytest.mark.parametrize("command", ["run", "sweep", "demo"])
def test_ctrl_c_tells_how_to_go_on(command, ndm, here, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "resolve", lambda entry: interrupted)
    odd = ["good.yaml", "--set", "methods.ndm.detector={dimension: 4, warmup: 8}", "--out", "it's [red]here[/red]",
           "--no-track"]  # fmt: skip
    given = [] if command == "demo" else odd
    status, _, err = ndm(command, *given, *(["--jobs", "1"] if command != "run" else []))
    assert status == 130
    assert "interrupted: go on with\n" in err
    (line,) = [line for line in err.splitlines() if line.startswith("  ndm ")]
    again = shlex.split(line)[1:]
    seen = []

    def resumed(task, method, settings, context):
        seen.append(getattr(getattr(settings, "detector", None), "dimension", None))
        return Result({"final_accuracy": 1.0})

    monkeypatch.setattr(runner, "resolve", lambda entry: resumed)
    if command == "demo":
        monkeypatch.setattr(base, "plugins", lambda: {})
    assert ndm(*again)[0] == 0
    assert command == "demo" or seen[0] == 4
    assert not (here / "results").exists() or command == "demo"


def test_a_real_signal_ends_a_real_run(here):
    code = "from ndm_apps.cli import main; main()"
    arguments = ["run", "good.yaml", "--set", "task.stream.passes=100", "--set", "checkpoint_every=1", "--no-track"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", "real"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    state = here / "real" / "checkpoint" / "state.safetensors"
    while not state.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert told.endswith(
        "interrupted: go on with\n  ndm run good.yaml --set task.stream.passes=100 --set checkpoint_every=1 "
        "--out real --resume --no-track\n"
    )
    assert not (here / "real" / "result.json").exists()
