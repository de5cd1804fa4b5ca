"""A real MLflow server on the loopback address: runs arrive through HTTP, models come back, an outage loses nothing."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ndm_apps import tracking
from tests.mlflow_server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory, migrated_store):
    folder = tmp_path_factory.mktemp("server")
    found = Server(folder, Path(shutil.copy(migrated_store, folder / "mlflow.db")))
    found.start()
    yield found
    found.kill()


@pytest.fixture
def client(server, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    return MlflowClient(server.uri)


def run_of(client, folder):
    return client.get_run(json.loads((folder / "tracking.json").read_text())["run_id"])


def add_model(folder, seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    exported = torch.export.export(net, (torch.randn(5, 3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    (folder / "checkpoint").mkdir()
    torch.export.save(exported, folder / "checkpoint" / "model.pt2")
    specs = {name: [{"dtype": "float32", "shape": [-1, n]}] for name, n in (("inputs", 3), ("outputs", 2))}
    (folder / "checkpoint" / "model_signature.json").write_text(json.dumps(specs))
    return net


def test_a_sweep_arrives_nested_and_its_model_comes_back(server, client, make_run, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(server.uri)
    sweep = tmp_path / "sweep"
    runs = [make_run(f"ndm-seed{seed}", seed=seed, within=sweep) for seed in range(2)]
    net = add_model(runs[0])
    parent = tracking.start_parent(sweep, "physics")
    assert all(tracking.sync(folder, parent=parent) for folder in runs)
    (sweep / "summary.md").write_text("| method | seeds |\n")
    assert tracking.finish_parent(sweep)

    experiment = client.get_experiment_by_name("ndm/physics").experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["tags.seed"])
    assert [(c.info.run_name, c.info.status, c.data.tags["method"], c.data.tags["seed"]) for c in children] == [
        ("ndm-seed0", "FINISHED", "ndm", "0"), ("ndm-seed1", "FINISHED", "ndm", "1"),
    ]  # fmt: skip
    assert client.get_run(parent).data.tags["mlflow.note.content"] == "| method | seeds |\n"
    (used,) = children[0].inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].key, used.tags[0].value) == (
        "oscillator",
        "mlflow.data.context",
        "training",
    )
    fetched = Path(client.download_artifacts(children[0].info.run_id, "result.json", str(tmp_path)))
    assert fetched.read_bytes() == (runs[0] / "result.json").read_bytes()
    ended = (runs[0] / "result.json").stat().st_mtime
    assert children[0].info.end_time == int(1000 * ended)

    (output,) = children[0].outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.name, logged.model_type, logged.status.value) == ("ndm", "physics", "READY")
    assert logged.params == {"lr": "0.01", "hidden": "[64, 64]"}
    measured = {metric.key: (metric.value, metric.dataset_name) for metric in logged.metrics}
    assert measured["result/n_conserved"] == (1.0, "oscillator")
    x = torch.randn(7, 3)  # another batch size than the example's
    torch.testing.assert_close(mlflow.pytorch.load_model(f"models:/{output.model_id}")(x), net(x))
    generic = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    np.testing.assert_allclose(generic.predict(x.numpy()), net(x).detach().numpy(), rtol=1e-5)
    assert generic.metadata.signature.outputs.inputs[0].shape == (-1, 2)


def test_a_server_killed_for_the_middle_third_of_a_run_misses_no_point(server, client, make_run):
    folder, told = make_run("cut", complete=False, metrics=0), []

    def write(steps):
        with (folder / "metrics.jsonl").open("a") as stream:
            for step in steps:
                stream.write(json.dumps({"name": "loss", "value": step / 7, "step": step, "time": 1.7e9 + step}) + "\n")

    def wait_for(condition):
        deadline = time.monotonic() + 240
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    write(range(100))
    tracker = tracking.Tracker(folder, on_warning=told.append, interval=0.1).start()
    sent = folder / "tracking.json"
    wait_for(lambda: sent.exists() and json.loads(sent.read_text()).get("metrics"))
    server.kill()
    write(range(100, 200))
    wait_for(lambda: told)
    server.start(wait=False)
    write(range(200, 300))
    (folder / "result.json").write_text('{"n_conserved": 1}')
    tracker.finish()
    server.wait()
    assert tracking.sync(folder)
    run = run_of(client, folder)
    points = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.value) for point in points) == [(step, step / 7) for step in range(300)]
    assert (run.info.status, len(told)) == ("FINISHED", 1)


def test_system_metrics_come_on_request_under_mlflows_names(server, client, make_run, monkeypatch):
    asked, plain = make_run("asked"), make_run("plain", seed=1)
    assert tracking.Tracker(plain).start().finish()
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = tracking.Tracker(asked).start()
    log = asked / "system.jsonl"
    deadline = time.monotonic() + 240
    while not log.exists() or log.read_bytes().count(b"cpu_utilization_percentage") < 8:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tracker.finish()
    assert tracking.sync(asked)
    run = run_of(client, asked)
    assert {
        "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes",
        "system/network_receive_megabytes", "system/process_memory_megabytes",
    } <= set(run.data.metrics)  # fmt: skip
    history = client.get_metric_history(run.info.run_id, "system/process_memory_megabytes")
    assert sorted(point.step for point in history) == list(range(len(history))) and len(history) >= 4
    assert all(point.value > 10 for point in history)
    assert not (plain / "system.jsonl").exists()
    assert not [name for name in run_of(client, plain).data.metrics if name.startswith("system/")]
