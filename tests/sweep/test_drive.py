import json

import numpy as np
import pytest

from ndm_apps import run as runner
from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result
from ndm_apps.run_files import MetricsLog
from ndm_apps.sweep import Member, members, send, sweep

FAST = ("task.stream.batch_size=128", "methods.naive={hidden: [4]}", "methods.slda={}")


def two(*overrides):
    return members("continual/digits", [*FAST, *overrides], methods=["naive", "slda"], seeds=[0])


def record(folder):
    return json.loads((folder / "sweep.json").read_text())


@pytest.fixture
def quick(monkeypatch):
    """Runs whose result is a number drawn from the seed; those of the seeds named in ``failing`` break."""
    started, failing = [], {}

    def function(task, method, settings, context):
        started.append((method, context.seed))
        if context.seed in failing:
            raise failing[context.seed]
        context.log("loss", 1.0, 0)
        accuracy = float(np.random.default_rng(context.seed).random())
        return Result({"final_accuracy": accuracy, "forgetting": 0.1, "stored_exemplars": 0})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    return started, failing


def test_a_sweep_writes_its_tables_and_page(tmp_path, quick):
    told = []
    runs = members("continual/digits", methods=["ndm", "naive"], seeds=[0, 1])
    outcomes = sweep(runs, tmp_path / "sweep", track=False, progress=told.append)
    assert [o.label for o in outcomes] == [m.label for m in runs]
    assert [(now.done, now.running) for now in told] == [(n // 2 + n % 2, 1 - n % 2) for n in range(8)]
    assert all(o.reason == "" for o in outcomes)
    lines = (tmp_path / "sweep" / "summary.csv").read_text().splitlines()
    names = lines[0].split(",")
    assert len(lines) == 3
    row = dict(zip(names, lines[1].split(","), strict=True))
    values = [np.random.default_rng(seed).random() for seed in (0, 1)]
    assert (row["method"], row["seeds"]) == ("ndm", "2")
    assert float(row["final_accuracy_mean"]) == pytest.approx(np.mean(values))
    assert float(row["final_accuracy_sd"]) == pytest.approx(np.std(values, ddof=1))
    assert (tmp_path / "sweep" / "summary.md").read_text().count("\n") == 4
    assert "ndm-seed1" in (tmp_path / "sweep" / "report.html").read_text()
    assert record(tmp_path / "sweep") == {"runs": [m.label for m in runs]}


def test_one_that_fails_does_not_stop_the_others_and_is_tried_again(tmp_path, quick):
    started, failing = quick
    failing |= {1: RuntimeError("pulled\nthe plug"), 2: InputError("the data are not here")}
    runs = members("continual/digits", methods=["ndm"], seeds=[0, 1, 2, 3])
    outcomes = sweep(runs, tmp_path / "sweep", track=False)
    assert [o.result is None for o in outcomes] == [False, True, True, False]
    assert outcomes[1].reason.startswith("RuntimeError: pulled the plug (test_drive.py:")
    assert outcomes[2].reason == "the data are not here"
    assert (outcomes[1].refused, outcomes[2].refused) == (False, True)
    assert len((tmp_path / "sweep" / "summary.csv").read_text().splitlines()) == 2
    assert record(tmp_path / "sweep")["failed"] == {o.label: o.reason for o in outcomes[1:3]}

    started.clear()
    failing.clear()
    before = (tmp_path / "sweep" / "ndm-seed0" / "result.json").read_bytes()
    outcomes = sweep(runs, tmp_path / "sweep", track=False)
    assert all(o.result is not None for o in outcomes)
    assert started == [("ndm", 1), ("ndm", 2)], "what is complete is not run again"
    assert [o.found for o in outcomes] == [True, False, False, True]
    assert record(tmp_path / "sweep") == {"runs": [m.label for m in runs]}
    assert (tmp_path / "sweep" / "ndm-seed0" / "result.json").read_bytes() == before


def test_a_run_in_the_hands_of_another_process_is_left_to_it(tmp_path, quick, monkeypatch):
    started, _ = quick
    runs = members("continual/digits", methods=["ndm"], seeds=[0, 1, 2])
    log = tmp_path / "sweep" / runs[0].label / "metrics.jsonl"
    told = []

    def watch(now):
        told.append(str(now))
        if now.done == 2 and not now.running and theirs:
            theirs.pop().close()
            runner.execute(runs[0].config, log.parent, resume=True, track=False)

    # Another driver has begun with the first run, and ends it when the others are done.
    sweep(runs[1:2], tmp_path / "sweep", track=False)
    log.parent.mkdir()
    theirs = [MetricsLog(log)]
    monkeypatch.setattr("ndm_apps.sweep.drive.POLL_SECONDS", 0.0)
    outcomes = sweep(runs, tmp_path / "sweep", track=False, progress=watch)
    assert [o.found for o in outcomes] == [True, True, False]
    assert sorted(started) == [("ndm", 0), ("ndm", 1), ("ndm", 2)], "each is run once"
    assert any("1 run by another process" in text for text in told)
    assert record(tmp_path / "sweep") == {"runs": [runs[1].label, runs[0].label, runs[2].label]}


def test_wrong_input_of_every_member_leaves_nothing(tmp_path, quick, monkeypatch):
    def refuses(task, method, settings, context):
        raise InputError("the data are not here")

    monkeypatch.setattr(runner, "resolve", lambda entry: refuses)
    runs = members("continual/digits", methods=["ndm"], seeds=[0, 1])
    with pytest.raises(InputError, match=r"^the data are not here$"):
        sweep(runs, tmp_path / "sweep", track=False)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_sweeps_are_refused(tmp_path, quick):
    runs = members("continual/digits", methods=["ndm"], seeds=[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match="is not empty and holds no sweep"):
        sweep(runs, tmp_path / "mine", track=False)
    with pytest.raises(InputError, match=r"notes.txt"):
        sweep(runs, tmp_path / "mine" / "notes.txt", track=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    sweep(runs, tmp_path / "sweep", track=False)
    with pytest.raises(InputError, match="is a run, not a sweep"):
        sweep(runs, tmp_path / "sweep" / "ndm-seed0", track=False)
    other = [Member(runs[0].label, load_config("continual/digits", ["threads=2"]))]
    with pytest.raises(InputError, match="holds a run of another config"):
        sweep(other, tmp_path / "sweep", track=False)
    assert (tmp_path / "sweep" / "ndm-seed0" / "result.json").exists()


def settled(folder, label):
    result = json.loads((folder / label / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "peak_memory_mb", "git")}


def test_real_runs_give_the_same_whatever_the_number_of_jobs_and_resume(tmp_path, monkeypatch):
    runs = two("checkpoint_every=1")
    assert all(o.result is not None for o in sweep(runs, tmp_path / "one", jobs=1, track=False))

    def pull_the_plug(done, total, text):
        if done > 500:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.execute(runs[0].config, tmp_path / "two" / runs[0].label, track=False, progress=pull_the_plug)
    (tmp_path / "two" / "sweep.json").write_text("{}")
    assert all(o.result is not None for o in sweep(runs, tmp_path / "two", jobs=2, track=False))
    for label in (member.label for member in runs):
        assert settled(tmp_path / "one", label) == settled(tmp_path / "two", label)
    assert settled(tmp_path / "one", "slda-seed0")["final_accuracy"] > 0.8


def test_runs_are_nested_in_mlflow(tmp_path, quick, store):
    from mlflow import MlflowClient

    warnings = []
    runs = members("continual/digits", methods=["ndm"], seeds=[0, 1])
    sweep(runs, tmp_path / "sweep", warn=warnings.append)
    assert warnings == []
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("ndm/continual").experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(found) == {"sweep", "ndm-seed0", "ndm-seed1"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    for name in ("ndm-seed0", "ndm-seed1"):
        assert found[name].data.tags["mlflow.parentRunId"] == found["sweep"].info.run_id

    # What was run without MLflow is sent later, nested as well.
    sweep(runs, tmp_path / "later", track=False)
    assert send(tmp_path, warn=warnings.append) == [True] * 4 and warnings == []
    found = {run.info.run_name: run for run in client.search_runs([experiment], max_results=50)}
    (parent,) = [run for name, run in found.items() if name == "later"]
    nested = [
        r for r in client.search_runs([experiment]) if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    assert len(nested) == 2 and len(client.search_runs([experiment])) == 6
