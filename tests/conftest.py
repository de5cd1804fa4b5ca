"""Fixtures of all tests: one migrated MLflow store that tests copy, and fabricated run folders."""

import json
import os
import shutil

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MPLBACKEND"] = "Agg"

import pytest
import torch
import yaml

# Benchmarks hold no tests, and import peers that the development extra does not install.
collect_ignore_glob = ["**/bench_*.py"]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory):
    """An empty, migrated SQLite store: migrating takes seconds, a copy takes none."""
    from ndm_apps.tracking import prepare

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(migrated_store, tmp_path, monkeypatch):
    """URI of a store of this test's own, also the one that the code finds by itself."""
    path = tmp_path / "results" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(migrated_store, path)
    uri = f"sqlite:///{path}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def make_run(tmp_path):
    """Function that fabricates a run folder: ``make_run(name, seed=0, result={...}, metrics=[...], complete=True)``."""

    def make(name="run", *, seed=0, method="ndm", task="physics/oscillator", result=None, metrics=50, complete=True,
             within=None, figures=None):  # fmt: skip
        folder = (within or tmp_path) / name
        (folder / "figures").mkdir(parents=True)
        config = {
            "task": {"domain": task.partition("/")[0], "noise": 0.0}, "task_name": task, "method": method,
            "seed": seed, "device": "cpu", "methods": {method: {"lr": 0.01, "hidden": [64, 64]}},
        }  # fmt: skip
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        dataset = {"name": "oscillator", "source": "equations of the task", "digest": "ab" * 32, "samples": 12000}
        (folder / "dataset.json").write_text(json.dumps(dataset))
        with (folder / "metrics.jsonl").open("w") as stream:
            for step in range(metrics):
                point = {"name": "loss", "value": 1 / (1 + step), "step": step, "time": 1.7e9 + step}
                stream.write(json.dumps(point) + "\n")
        for key, svg in (figures or {}).items():
            (folder / "figures" / f"{key}.svg").write_text(svg)
        captions = {key: f"Caption of {key}." for key in figures or {}}
        (folder / "figures" / "captions.json").write_text(json.dumps(captions))
        if complete:
            content = {
                "task": task, "config": config, "seed": seed, "method": method, "seconds": 12.5,
                "peak_memory_mb": 321.0, "versions": {"python": "3.11.7", "torch": "2.13.0"},
                "git": {"commit": "0123456789abcdef", "dirty": False},
                "n_conserved": 1, "verdict": "One conserved quantity found.", "noise": 0.001,
                "invariants": [{"expression": "p**2 + q**2", "drift": 1e-4}],
            }  # fmt: skip
            (folder / "result.json").write_text(json.dumps(content | (result or {})))
        return folder

    return make
