"""The files of a run when it has ended: figures, data set, model, and the result that makes it complete."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from ndm_apps import provenance, report
from ndm_apps.config import Config
from ndm_apps.errors import InputError
from ndm_apps.files import replacing, write_bytes, write_text
from ndm_apps.plugins.base import Result
from ndm_apps.run_files import RESULT


def write_result(config: Config, out: Path, outcome: Result, seconds: float) -> dict[str, Any]:
    """Write figures, data set and further files, then ``result.json``, which makes the run complete."""
    write_figures(out, outcome)
    for name, text in outcome.files.items():
        write_text(out / name, text)
    if outcome.dataset is not None:
        write_text(out / "dataset.json", json.dumps(vars(outcome.dataset), indent=1))
    values = {
        "task": config.task_name,
        "method": config.run.method,
        "seed": config.run.seed,
        **outcome.values,
        "seconds": seconds,
        "peak_memory_mb": provenance.peak_memory_mb(),
        "config": config.resolved(),
        "versions": provenance.versions(),
        "git": provenance.git_commit(),
    }
    text = as_json(values)
    write_text(out / RESULT, text)
    return json.loads(text)


def as_json(values: Any) -> str:
    """Return JSON that every reader takes: null stands for a number that is not finite."""

    def finite(value: Any) -> Any:
        match value:
            case float() if not math.isfinite(value):
                return None
            case dict():
                return {key: finite(item) for key, item in value.items()}
            case list() | tuple():
                return [finite(item) for item in value]
        return value

    return json.dumps(finite(values), indent=1, allow_nan=False)


def write_figures(out: Path, outcome: Result, *, beside: bool = False) -> None:
    """Write figures with their captions; ``beside`` those that are there already, or in their place.

    Raises
    ------
    InputError
        If the captions that are there are damaged.
    """
    file = out / "figures" / "captions.json"
    captions = _captions(file) if beside and file.exists() else {}
    for name, picture in outcome.pictures.items():
        report.save_svg(picture.figure, out / "figures" / f"{name}.svg")
        captions[name] = picture.caption
    for name, animation in outcome.animations.items():
        write_bytes(out / "figures" / f"{name}.gif", animation.gif)
        captions[name] = animation.caption
    write_text(file, json.dumps(captions, indent=1))


def _captions(file: Path) -> dict[str, str]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: damaged (not a mapping in JSON); delete it, and the captions are gone") from error


def export_model(outcome: Result, folder: Path) -> None:
    """Write the model as a ``torch.export`` archive with its signature, for MLflow, where it can be exported."""
    if outcome.model is None:
        return
    try:
        program = torch.export.export(
            outcome.model, (outcome.example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
        with torch.no_grad():
            output = outcome.model(outcome.example)
        pairs = ("inputs", outcome.example), ("outputs", output)
        signature = {name: [_tensor_schema(value)] for name, value in pairs}
        with replacing(folder / "model.pt2") as temporary, temporary.open("wb") as stream:
            torch.export.save(program, stream)
            write_text(folder / "model_signature.json", json.dumps(signature))
    except Exception:  # whatever the exporter cannot trace; the run's own checkpoint holds the weights anyway
        return


def _tensor_schema(value: torch.Tensor) -> dict[str, Any]:
    return {"dtype": str(value.dtype).removeprefix("torch."), "shape": [-1, *value.shape[1:]]}
