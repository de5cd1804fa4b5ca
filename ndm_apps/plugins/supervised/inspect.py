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
    """Interpret the network of a run on held-out samples, from the chart of its last layer.

    Raises
    ------
    InputError
        If the method learns no metric.
    """
    if not isinstance(settings, NDMSettings):
        raise InputError(f"method {method!r} has no metric to inspect; run one of the methods ndm...")
    samples, classifier = prepare(task, load_data(task), settings, run)
    classifier.network.load_state_dict(state["training"]["network"])
    classifier.double().eval()  # the ranks of small curvatures ask for it
    found = interpret(
        classifier.network,
        classifier.inputs(samples.x_test[:SAMPLES].double()),
        samples.y_test[:SAMPLES],
        classifier.inputs(samples.x.double()),
        samples.y,
        torch.Generator().manual_seed(run.seed),
        weight=settings.geometric,
    )
    return Result(values=found.values, pictures=geometry_pictures({"last layer": found}))
