import json
import math
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from ndm_apps import tracking
from ndm_apps.errors import InputError
from ndm_apps.tracking import lock


def client(uri):
    from mlflow import MlflowClient

    return MlflowClient(uri)


def run_of(uri, folder):
    return client(uri).get_run(json.loads((folder / "tracking.json").read_text())["run_id"])


def rows(uri):
    """Number of rows of every table: the whole content of the store, as far as 'sent twice' is concerned."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_complete_run_arrives_whole_and_only_once(store, make_run):
    folder = make_run(figures={"level_sets": "<svg xmlns='http://www.w3.org/2000/svg'/>"}, metrics=2300)
    assert tracking.sync(folder)
    run = run_of(store, folder)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "run"
    assert run.data.params["methods.ndm.lr"] == "0.01"
    assert run.data.params["methods.ndm.hidden"] == "[64, 64]"
    tags = run.data.tags
    assert [tags[name] for name in ("task", "method", "seed", "domain")] == [
        "physics/oscillator",
        "ndm",
        "0",
        "physics",
    ]
    assert tags["git.commit"] == tags["mlflow.source.git.commit"] == "0123456789abcdef"
    assert tags["mlflow.note.content"] == "One conserved quantity found."
    assert run.data.metrics["result/n_conserved"] == 1
    assert run.data.metrics["result/seconds"] == 12.5
    assert "result/seed" not in run.data.metrics
    points = client(store).get_metric_history(run.info.run_id, "loss")
    assert [(p.step, p.value) for p in sorted(points, key=lambda p: p.step)] == [(s, 1 / (1 + s)) for s in range(2300)]
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("oscillator", ("ab" * 32)[:36])
    assert json.loads(dataset.profile) == {"num_rows": 12000}
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(Path(store.removeprefix("sqlite:///")).parent / "mlflow-artifacts")
    assert files_below(artifacts) == [
        "config.yaml", "dataset.json", "figures/captions.json", "figures/level_sets.svg", "result.json",
    ]  # fmt: skip
    assert client(store).get_experiment(run.info.experiment_id).name == "ndm/physics"

    before, state = rows(store), (folder / "tracking.json").read_bytes()
    assert tracking.sync(folder)
    assert rows(store) == before
    assert (folder / "tracking.json").read_bytes() == state


def test_the_model_arrives_and_computes_the_same(store, make_run):
    import mlflow

    folder = make_run()
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    example = torch.randn(5, 3)
    exported = torch.export.export(net, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    (folder / "checkpoint").mkdir()
    torch.export.save(exported, folder / "checkpoint" / "model.pt2")
    specs = {name: [{"dtype": "float32", "shape": [-1, n]}] for name, n in (("inputs", 3), ("outputs", 2))}
    (folder / "checkpoint" / "model_signature.json").write_text(json.dumps(specs))
    assert tracking.sync(folder)
    run = run_of(store, folder)
    (output,) = run.outputs.model_outputs
    assert client(store).get_logged_model(output.model_id).status.value == "READY"
    assert "MLFLOW_TRACKING_URI" in os.environ and os.environ["MLFLOW_TRACKING_URI"] == store
    x = torch.randn(7, 3)  # another batch size than the example's
    torch.testing.assert_close(mlflow.pytorch.load_model(f"models:/{output.model_id}")(x), net(x))
    generic = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    np.testing.assert_allclose(generic.predict(x.numpy()), net(x).detach().numpy(), rtol=1e-5)
    assert generic.metadata.signature.inputs.inputs[0].shape == (-1, 3)

    before = rows(store)
    assert tracking.sync(folder)
    assert rows(store) == before


def test_a_killed_run_is_sent_as_far_as_it_came_and_completed_later(store, make_run):
    folder = make_run(complete=False, metrics=10)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"name": "loss", "value": 0.5, "st')  # the process died while writing this line
    assert tracking.sync(folder, final=False)
    run = run_of(store, folder)
    assert (run.info.status, len(client(store).get_metric_history(run.info.run_id, "loss"))) == ("RUNNING", 10)
    assert tracking.sync(folder)
    assert run_of(store, folder).info.status == "KILLED"

    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('ep": 10, "time": 1.7e9}\n')
    assert tracking.sync(folder, final=False)
    assert run_of(store, folder).info.status == "RUNNING"
    (folder / "result.json").write_text('{"n_conserved": 2}')
    assert tracking.sync(folder)
    run = run_of(store, folder)
    assert (run.info.status, run.data.metrics["result/n_conserved"]) == ("FINISHED", 2)
    assert len(client(store).get_metric_history(run.info.run_id, "loss")) == 11


def test_metrics_rewritten_on_resume_are_noticed(store, make_run):
    folder = make_run(complete=False, metrics=30)
    assert tracking.sync(folder, final=False)
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    redone = [json.dumps({"name": "loss", "value": 9.0, "step": s, "time": 1.8e9 + s}) + "\n" for s in range(20, 40)]
    (folder / "metrics.jsonl").write_text("".join(lines[:20] + redone))
    assert tracking.sync(folder, final=False)
    points = client(store).get_metric_history(run_of(store, folder).info.run_id, "loss")
    assert len(points) == 30 + 20  # the first 20 are not doubled
    assert sum(point.value == 9.0 for point in points) == 20


def test_values_that_are_no_numbers_and_names_mlflow_refuses(store, make_run):
    folder = make_run(metrics=0)
    values = [float("nan"), float("inf"), -float("inf"), None, 1.0]
    with (folder / "metrics.jsonl").open("w") as stream:
        for step, value in enumerate(values):
            stream.write(json.dumps({"name": "L²/(a,b)", "value": value, "step": step, "time": 1.7e9}) + "\n")
        stream.write("not json\n[1]\n")
    config = {"task": "physics/x", "long": "x" * 9000, "none": None, "nested": {f"k{i}": i for i in range(230)}}
    (folder / "config.yaml").write_text(json.dumps(config))
    assert tracking.sync(folder)
    run = run_of(store, folder)
    points = sorted(client(store).get_metric_history(run.info.run_id, "L_/_a_b_"), key=lambda point: point.step)
    assert [math.isnan(p.value) for p in points] == [True, False, False, True, False]
    assert points[1].value > 1e300 and points[2].value < -1e300 and points[4].value == 1.0
    assert len(run.data.params["long"]) == 6000
    assert len(run.data.params) == 233


def test_a_page_made_again_replaces_the_one_sent(store, make_run):
    folder = make_run()
    (folder / "report.html").write_text("first")
    assert tracking.sync(folder)
    (folder / "report.html").write_text("second")
    assert tracking.sync(folder)
    artifacts = Path(run_of(store, folder).info.artifact_uri.removeprefix("file://"))
    assert (artifacts / "report.html").read_text() == "second"


def test_runs_of_a_sweep_are_nested(store, make_run, tmp_path):
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    parent = tracking.start_parent(sweep, "physics")
    assert parent == tracking.start_parent(sweep, "physics")  # found again when a sweep is resumed
    folder = make_run("a", within=sweep)
    assert tracking.sync(folder, parent=parent)
    (sweep / "sweep.json").write_text("{}")
    (sweep / "summary.csv").write_text("a\n")
    assert tracking.finish_parent(sweep)
    run, child = run_of(store, sweep), run_of(store, folder)
    assert (run.info.status, run.info.run_name, child.data.tags["mlflow.parentRunId"]) == ("FINISHED", "sweep", parent)
    assert files_below(Path(run.info.artifact_uri.removeprefix("file://"))) == ["summary.csv", "sweep.json"]


def test_a_locked_store_is_told_once_and_served_later(store, make_run, monkeypatch):
    monkeypatch.setattr(lock, "BUSY_SECONDS", 0.3)
    folder, told = make_run(), []
    holder = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    tracker = tracking.Tracker(folder, on_warning=told.append, interval=0.1).start()
    time.sleep(1.0)
    assert not tracker.finish(timeout=30)
    assert time.monotonic() - began < 20
    assert len(told) == 1 and "locked" in told[0]
    holder.execute("ROLLBACK")
    holder.close()
    assert tracking.sync(folder)
    run = run_of(store, folder)
    assert (run.info.status, len(client(store).get_metric_history(run.info.run_id, "loss"))) == ("FINISHED", 50)


def test_a_missing_server_is_told_once_and_the_run_goes_elsewhere_later(store, make_run, monkeypatch):
    folder = make_run()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert not tracking.Tracker(folder).start().finish(timeout=30)
        mine = [str(w.message) for w in told if "MLflow has not got everything" in str(w.message)]
    assert time.monotonic() - began < 25
    assert len(mine) == 1 and "secret" not in mine[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert tracking.sync(folder)
    assert run_of(store, folder).info.status == "FINISHED"


def test_a_server_that_never_answers_does_not_hold_the_run(make_run):
    told = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        folder = make_run()
        tracker = tracking.Tracker(folder, uri=uri, on_warning=told.append).start()
        began = time.monotonic()
        assert not tracker.finish(timeout=1.5)
        assert time.monotonic() - began < 3
    assert len(told) == 1
    assert "secret" not in told[0] + (folder / "tracking.json").read_text()


@pytest.mark.parametrize("damage", ["corrupt store", "no folder", "corrupt state", "file store", "store in a file"])
def test_damage_is_told_once_and_never_raised(damage, store, make_run, tmp_path):
    folder, told, uri = make_run(), [], None
    if damage == "corrupt store":
        Path(store.removeprefix("sqlite:///")).write_bytes(b"no database " * 100)
    elif damage == "no folder":
        folder = tmp_path / "absent"
    elif damage == "corrupt state":
        (folder / "tracking.json").write_text("{")
    elif damage == "file store":
        uri = f"file://{tmp_path}/mlruns"
    else:
        uri = f"sqlite:///{folder}/config.yaml/mlflow.db"
    before = files_below(folder)
    assert tracking.sync(folder, uri=uri, on_warning=told.append) is False
    assert len(told) == 1 and "\n" not in told[0]
    assert [name for name in files_below(folder) if name != "tracking.json"] == [
        name for name in before if name != "tracking.json"
    ]


def test_a_warning_turned_into_an_error_does_not_end_the_run(make_run, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tracking.sync(make_run(), uri="file:///nowhere") is False
    assert "MLflow has not got everything" in capsys.readouterr().err


def test_a_deleted_run_is_sent_again_as_a_new_one(store, make_run):
    folder = make_run()
    assert tracking.sync(folder)
    first = run_of(store, folder).info.run_id
    client(store).delete_run(first)
    assert tracking.sync(folder)
    second = run_of(store, folder)
    assert second.info.run_id != first
    assert second.data.metrics["result/n_conserved"] == 1


def test_a_store_that_moved_with_its_folder_is_recognised(store, make_run, tmp_path, monkeypatch):
    folder = make_run()
    assert tracking.sync(folder)
    first = run_of(store, folder).info.run_id
    moved = (tmp_path / "results").rename(tmp_path / "elsewhere") / "mlflow.db"
    uri = f"sqlite:///{moved}"
    before = rows(uri)
    assert tracking.sync(folder, uri=uri)
    assert run_of(uri, folder).info.run_id == first
    assert rows(uri) == before


def test_a_folder_is_behind_until_its_end_was_sent(store, make_run, tmp_path):
    folder = make_run()
    assert not tracking.is_behind(folder) and not tracking.is_behind(tmp_path / "absent")
    assert tracking.sync(folder, final=False)
    assert tracking.is_behind(folder)
    assert tracking.sync(folder)
    assert not tracking.is_behind(folder)
    (folder / "tracking.json").write_text("{")
    assert not tracking.is_behind(folder)


def test_a_process_killed_before_it_noted_the_run_finds_it_again(store, make_run):
    folder = make_run()
    assert tracking.sync(folder)
    state = json.loads((folder / "tracking.json").read_text())
    (folder / "tracking.json").write_text(json.dumps({"key": state["key"], "uri": state["uri"]}))
    before = rows(store)
    assert tracking.sync(folder)
    assert json.loads((folder / "tracking.json").read_text())["run_id"] == state["run_id"]
    assert rows(store) == before


def test_the_tracker_follows_a_run_and_leaves_random_numbers_alone(store, make_run):
    folder = make_run(complete=False, metrics=5)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    told = []
    tracker = tracking.Tracker(folder, on_warning=told.append, interval=0.05).start()
    deadline = time.monotonic() + 30
    while not (folder / "tracking.json").exists() or "params" not in (folder / "tracking.json").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"name": "loss", "value": 7, "step": 7, "time": 1.7e9}\n')
    (folder / "result.json").write_text('{"n_conserved": 1}')
    assert tracker.finish()
    assert told == []
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    run = run_of(store, folder)
    assert (run.info.status, run.data.metrics["loss"]) == ("FINISHED", 7.0)


SWEEPER = """
import sys
from ndm_apps.tracking import Tracker, finish_parent, start_parent
sweep, *folders = sys.argv[1:]
parent = start_parent(sweep, "physics")
trackers = [Tracker(folder, parent=parent).start() for folder in folders]
delivered = [tracker.finish() for tracker in trackers]
sys.exit(not (all(delivered) and finish_parent(sweep)))
"""


def test_two_sweeps_at_once_on_a_fresh_store_lose_nothing_and_stay_quiet(make_run, tmp_path):
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    sweeps = {tmp_path / name: [make_run(f"r{seed}", seed=seed, within=tmp_path / name, metrics=1500)
                                for seed in range(2)] for name in ("one", "two")}  # fmt: skip
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SWEEPER, str(sweep), *map(str, folders)],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri}, cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for sweep, folders in sweeps.items()
    ]  # fmt: skip
    assert [(process.communicate(timeout=300)[0], process.returncode) for process in started] == [("", 0), ("", 0)]
    for sweep, folders in sweeps.items():
        parent = run_of(uri, sweep).info.run_id
        for folder in folders:
            run = run_of(uri, folder)
            assert (run.info.status, run.data.tags["mlflow.parentRunId"]) == ("FINISHED", parent)
            points = client(uri).get_metric_history(run.info.run_id, "loss")
            assert sorted(point.step for point in points) == list(range(1500))
    assert sorted(path.name for path in (tmp_path / "fresh").iterdir()) == ["mlflow-artifacts", "mlflow.db"]
    assert not (tmp_path / "mlruns").exists()


def test_importing_the_module_does_not_import_mlflow():
    code = "import sys, ndm_apps.tracking; sys.exit(any(name in sys.modules for name in ('mlflow', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_uri_is_the_users_else_the_results_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert tracking.default_uri() == f"sqlite:///{tmp_path}/results/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking.default_uri() == "http://server:5000"
    with pytest.raises(InputError, match="server:5000") as told:
        tracking.ui_command("http://user:secret@server:5000")
    assert "secret" not in str(told.value)
