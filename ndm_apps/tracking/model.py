"""The model of a run as MLflow's LoggedModel: loaded by ``mlflow.pytorch.load_model`` and ``mlflow.pyfunc``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ndm_apps.records import flatten
from ndm_apps.tracking.content import labels_of
from ndm_apps.tracking.state import State
from ndm_apps.tracking.text import PARAM_LENGTH, as_text, metric_name

if TYPE_CHECKING:
    from mlflow import MlflowClient


def send_model(client: MlflowClient, run: str, state: State, config: Mapping[str, Any]) -> None:
    """Log ``checkpoint/model.pt2``, if there is one, with its signature and the settings of its method.

    The archive is copied as it is. ``mlflow.pytorch.log_model`` would have to load it, which unpickles, and to export
    it a second time.
    """
    from mlflow.entities import LoggedModelOutput

    archive = state.folder / "checkpoint" / "model.pt2"
    if state.data.get("model_id") or not archive.exists():
        return
    if "model_started" not in state.data:
        labels = {name: as_text(value) for name, value in labels_of(config).items()}
        settings = (config.get("methods") or {}).get(labels["method"]) or {}
        created = client.create_logged_model(
            state.data["experiment_id"],
            name=metric_name(labels["method"] or "model").replace("/", "_"),
            source_run_id=run,
            tags=labels,
            params={metric_name(name): as_text(value)[:PARAM_LENGTH] for name, value in flatten(settings) if name},
            model_type=labels["domain"] or None,
        )
        state.save(model_started=created.model_id)
    model_id = state.data["model_started"]
    with tempfile.TemporaryDirectory() as scratch:
        _write_folder(Path(scratch), archive, model_id, run)
        client.log_model_artifacts(model_id, scratch)
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model_id, step=0)])
    state.save(model_id=model_id)


def _write_folder(target: Path, archive: Path, model_id: str, run: str) -> None:
    """Write MLflow's model format: MLmodel, the archive under data/, and what to install to load it."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    def schema(specs: list[dict[str, Any]]) -> Schema:
        return Schema([TensorSpec(np.dtype(s["dtype"]), tuple(s["shape"]), s.get("name")) for s in specs])

    (target / "data").mkdir()
    (target / "data" / "model.pt2").write_bytes(archive.read_bytes())
    torch_version = version("torch")
    (target / "requirements.txt").write_text(f"mlflow=={version('mlflow')}\ntorch=={torch_version}\n")
    python = ".".join(map(str, sys.version_info[:3]))
    (target / "python_env.yaml").write_text(yaml.safe_dump({"python": python, "dependencies": ["-r requirements.txt"]}))
    model = Model(model_id=model_id, model_uuid=model_id, run_id=run)
    model.add_flavor("pytorch", model_data="data", pytorch_version=torch_version, code=None)
    described = archive.with_name("model_signature.json")
    if described.exists():
        read = json.loads(described.read_text(encoding="utf-8"))
        model.signature = ModelSignature(schema(read["inputs"]), schema(read["outputs"]))
        if len(read["inputs"]) == 1:  # MLflow's generic interface takes one array
            pyfunc.add_to_model(model, "mlflow.pytorch", data="data", python_env="python_env.yaml", code=None)
    model.save(str(target / "MLmodel"))
