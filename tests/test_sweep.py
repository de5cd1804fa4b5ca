import json
import os

import numpy as np
import pytest

from ndm_apps import run as runner
from ndm_apps.config import load_config
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result
from ndm_apps.sweep import Member, members, send, sweep

FAST = ("task.stream.batch_size=128", "methods.naive={hidden: [4]}", "methods.slda={}")


def labels(*overrides, **chosen):
    return [member.label for member in members("continual/digits", overrides, **chosen)]


def two(*overrides):
    return members("continual/digits", [*FAST, *overrides], methods=["naive", "slda"], seeds=[0])


@pytest.fixture
def quick(monkeypatch):
    """Runs whose result is a number drawn from the seed; those of the seeds named in ``failing`` break."""
    started, failing = [], {}

    def function(task, method, settings, context):
        started.append((method, context.seed))
        context.log("loss", 1.0, 0)
        if context.seed in failing:
            raise failing[context.seed]
        accuracy = float(np.random.default_rng(context.seed).random())
        return Result({"final_accuracy": accuracy, "forgetting": 0.1, "stored_exemplars": 0})

    monkeypatch.setattr(runner, "resolve", lambda entry: function)
    return started, failing


def test_members_are_methods_times_seeds():
    config = load_config("continual/digits")
    assert labels(methods=["ndm", "slda"], seeds=[0, 3]) == ["ndm-seed0", "ndm-seed3", "slda-seed0", "slda-seed3"]
    whole = members("continual/digits")
    assert len(whole) == len(config.sweep_methods) * len(config.sweep_seeds)
    assert {(m.config.run.method, m.config.run.seed) for m in whole} == {
        (method, seed) for method in config.sweep_methods for seed in config.sweep_seeds
    }
    assert labels("method=naive", "seed=7") == ["naive-seed7"]
    assert labels(" method = naive", seeds=[1, 2]) == ["naive-seed1", "naive-seed2"]
    assert labels("method=naive,slda", seeds=[1]) == ["naive-seed1", "slda-seed1"]
    assert labels("seed=4,5", methods=["ndm"]) == ["ndm-seed4", "ndm-seed5"]
    with pytest.raises(InputError, match="--seeds gives the seeds already"):
        labels("seed=4", seeds=[1])


def test_a_setting_of_one_method_does_not_multiply_the_others():
    found = members("continual/digits", ["methods.ndm.immersion.width=10,20"], methods=["ndm", "naive"], seeds=[0])
    assert [m.label for m in found] == ["ndm-immersion.width=10-seed0", "naive-seed0", "ndm-immersion.width=20-seed0"]
    assert [m.config.settings.immersion.width for m in found if m.config.run.method == "ndm"] == [10, 20]
    assert labels("task.stream.passes=1,2", "threads=1", methods=["ndm"], seeds=[0]) == [
        "ndm-task.stream.passes=1-seed0",
        "ndm-task.stream.passes=2-seed0",
    ]


def test_labels_are_folder_names_of_their_own():
    odd = ["methods.naive.hidden=[8, 8],[8],[]", "task_name=a/b,a_b"]
    found = members("continual/digits", odd, methods=["naive"], seeds=[0])
    assert len({m.label for m in found}) == len({json.dumps(m.config.resolved()) for m in found}) == 6
    assert found[0].label == "naive-hidden=_8_8-task_name=a_b-seed0"
    assert found[1].label.startswith(found[0].label + "-")
    assert members("continual/digits", odd, methods=["naive"], seeds=[0])[1].label == found[1].label
    long = members("continual/digits", [f"task_name={'a' * 400},{'a' * 401}"], methods=["naive"], seeds=[0])
    assert len({m.label for m in long}) == 2
    for member in (*found, *long):
        assert len(os.fsencode(member.label)) <= 120 and not set(member.label) & set("/\\: []")


TASKS = """\
task: continual/digits
method: naive
methods:
  naive: {hidden: [4]}
sweep:
  tasks: [continual/digits, mine/own.yaml]
  variants:
    - {methods.naive.hidden: [8]}
    - {task.stream.experiences: 2, methods.naive.hidden: [8, 8]}
    - {}
  seeds: 7
"""


@pytest.fixture
def several(tmp_path):
    """A config of two tasks and three variants, one of the tasks by a path beside the config."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.yaml").write_text(
        "domain: continual\ndataset: {name: digits}\nstream: {experiences: 5, passes: 3}\n"
    )
    (tmp_path / "several.yaml").write_text(TASKS)
    return tmp_path / "several.yaml"


def test_tasks_and_variants_of_a_config(several):
    found = members(several)
    assert [m.label for m in found] == [
        "naive-task=continual_digits-hidden=_8-seed7",
        "naive-task=continual_digits-task.stream.experiences=2-hidden=_8_8-seed7",
        "naive-task=continual_digits-seed7",
        "naive-task=mine_own.yaml-hidden=_8-seed7",
        "naive-task=mine_own.yaml-task.stream.experiences=2-hidden=_8_8-seed7",
        "naive-task=mine_own.yaml-seed7",
    ]
    assert [m.config.task_name for m in found] == ["continual/digits"] * 3 + ["own"] * 3
    assert [m.config.task.stream.passes for m in found] == [1] * 3 + [3] * 3
    assert [m.config.task.stream.experiences for m in found] == [5, 2, 5] * 2
    assert [m.config.settings.hidden for m in found] == [(8,), (8, 8), (4,)] * 2
    assert {m.config.run.seed for m in found} == {7}


def test_what_is_asked_for_replaces_the_tasks_and_variants(several):
    found = members(several, ["methods.naive.hidden=[2],[3]", "task=continual/digits"], seeds=[1])
    assert [m.config.settings.hidden for m in found] == [(2,), (3,)] * 2
    assert [m.config.task.stream.experiences for m in found] == [5, 5, 2, 2]
    assert {m.config.task_name for m in found} == {"continual/digits"}
    # A task that is asked for comes before the settings inside it, wherever they are given.
    found = members(several, ["task.stream.passes=2", "task=continual/digits"])
    assert [m.config.task.stream.passes for m in found] == [2] * 3


def test_wrong_tasks_and_variants_are_told_with_the_line(several):
    for old, new, says in (
        ("mine/own.yaml", "continual/digit", r"several.yaml:6: sweep.tasks\[1\]: no such task: 'continual/digit'"),
        ("[8]}", "[x]}", r"several.yaml:.*methods.naive.hidden\[0\]: got 'x'"),
        ("experiences: 2", "experiances: 2", r"several.yaml:.*unknown key 'experiances'"),
        ("mine/own.yaml", "continual/digits", r"several.yaml:6: sweep.tasks: .* must not hold an item twice"),
    ):
        assert TASKS.count(old) == 1
        several.write_text(TASKS.replace(old, new))
        with pytest.raises(InputError, match=says):
            members(several)


def test_wrong_members_are_refused():
    for overrides, says in (
        (["methods.ndm.shrinkage=1.0,-1.0"], "--set methods.ndm.shrinkage=-1.0: methods.ndm.shrinkage: got -1.0"),
        (["method=ndm,nmd"], "unknown method of continual 'nmd'"),
    ):
        with pytest.raises(InputError, match=says):
            labels(*overrides)
    with pytest.raises(InputError, match="unknown method"):
        labels(methods=["nmd"])


def test_a_sweep_writes_its_tables_and_page(tmp_path, quick):
    told = []
    runs = members("continual/digits", methods=["ndm", "naive"], seeds=[0, 1])
    outcomes = sweep(runs, tmp_path / "sweep", track=False, finished=told.append)
    assert [o.label for o in outcomes] == [m.label for m in runs] == [o.label for o in told]
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
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text()) == {"runs": [m.label for m in runs]}


def test_one_that_fails_does_not_stop_the_others_and_is_tried_again(tmp_path, quick):
    started, failing = quick
    failing |= {1: RuntimeError("pulled\nthe plug"), 2: InputError("the data are not here")}
    runs = members("continual/digits", methods=["ndm"], seeds=[0, 1, 2, 3])
    outcomes = sweep(runs, tmp_path / "sweep", track=False)
    assert [o.result is None for o in outcomes] == [False, True, True, False]
    assert outcomes[1].reason.startswith("RuntimeError: pulled the plug (test_sweep.py:")
    assert outcomes[2].reason == "the data are not here"
    assert (outcomes[1].refused, outcomes[2].refused) == (False, True)
    assert len((tmp_path / "sweep" / "summary.csv").read_text().splitlines()) == 2

    started.clear()
    failing.clear()
    before = (tmp_path / "sweep" / "ndm-seed0" / "result.json").read_bytes()
    outcomes = sweep(runs, tmp_path / "sweep", track=False)
    assert all(o.result is not None for o in outcomes)
    assert started == [("ndm", 1), ("ndm", 2)], "what is complete is not run again"
    assert (tmp_path / "sweep" / "ndm-seed0" / "result.json").read_bytes() == before


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
