"""The geometry of a finished supervised run: what the metric that the NDM has learnt knows of its data."""

from __future__ import annotations

from typing import Any

import torch

from ndm_apps.engine.interpretation import interpret
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result
from ndm_apps.plugins.geometry_pictures import geometry_pictures
from ndm_apps.plugins.supervised.data import load_data
from ndm_apps.plugins.supervised.run import prepare
from ndm_apps.plugins.supervised.schema import NDMSettings, SupervisedTask, TrainingSettings

#: Held-out samples that are looked at.
SAMPLES = 300


def inspect(task: SupervisedTask, method: str, settings: TrainingSettings, state: dict[str, Any], run: Any) -> Result:
    """Interpret the network of a run on the first held-out samples, from the chart of its last layer.

    Raises
    ------
    InputError
        If the method learns no metric.
    """
    if not isinstance(settings, NDMSettings):
        raise InputError(f"method {method!r} has no metric to inspect; run one of the methods ndm...")
    samples, classifier = prepare(task, load_data(task), settings, run)
    classifier.network.load_state_dict(state["training"]["network"])
    # On the CPU and in double precision: small curvatures are to be ranked, and not every device has doubles.
    classifier.to("cpu", torch.float64).eval()
    x, x_test = (classifier.inputs(part.to("cpu", torch.float64)) for part in (samples.x, samples.x_test[:SAMPLES]))
    found = interpret(
        classifier.network,
        x_test,
        samples.y_test[:SAMPLES].cpu(),
        x,
        samples.y.cpu(),
        torch.Generator().manual_seed(run.seed),
        weight=settings.geometric,
    )
    return Result(values=found.values, pictures=geometry_pictures({"last layer": found}))
