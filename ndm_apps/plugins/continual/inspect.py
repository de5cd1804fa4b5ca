"""The geometry of a finished continual-learning run: its charts, and where they are flat or curved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from ndm_apps.engine.interpretation import Interpretation, interpret
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Result, Settings
from ndm_apps.plugins.continual.held_out import HeldOut, held_out
from ndm_apps.plugins.continual.pictures import chart_map
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.settings import NDMSettings, TrainedNDMSettings
from ndm_apps.plugins.continual.stream import open_stream
from ndm_apps.plugins.continual.trained import TrainedNDMStrategy
from ndm_apps.plugins.geometry_pictures import geometry_pictures


def inspect(task: ContinualTask, method: str, settings: Settings, state: dict[str, Any], run: Any) -> Result:
    """Measure the curvature statistic of held-out samples in the charts of a run, and draw it.

    Of method ``ndm_trained``, whose charts have networks with metrics, also what these metrics know about the data.

    Raises
    ------
    InputError
        If the method has no charts, or the run has not seen enough to have one.
    """
    if not isinstance(settings, NDMSettings | TrainedNDMSettings) or settings.detector is None:
        raise InputError(f"method {method!r} has no charts to inspect; run method ndm or ndm_trained with a detector")
    dtype = getattr(torch, run.dtype)
    stream, _ = open_stream(task, seed=run.seed, evaluate=run.evaluate, dtype=dtype)
    if not stream.tests:
        raise InputError("the task has no held-out samples to place in the charts")
    context = SimpleNamespace(seed=run.seed, device=run.device, dtype=run.dtype)
    session = Session(settings, stream, shown=task.stream.boundaries == "shown", context=context)
    session.load_state_dict(state["session"])
    detector = session.detector
    if detector is None or not len(detector.atlas.charts):
        raise InputError("no chart yet: the run has not seen enough samples for the first one")
    placed = held_out(session)
    charts = []
    for number, chart in enumerate(detector.atlas.charts):
        inside = placed.home == number
        curvature = placed.curvature[:, number]
        charts.append(
            {
                "labels": [int(label) for label in chart.labels],
                "samples_learnt": sum(component.count for component in chart.components),
                "held_out_samples": int(inside.sum()),
                "curvature_statistic_inside": float(curvature[inside].mean()) if inside.any() else None,
                "curvature_statistic_outside": float(curvature[~inside].mean()) if (~inside).any() else None,
            }
        )
    values: dict[str, Any] = {"charts": charts}
    pictures = {"inspect_charts": chart_map(placed)}
    if isinstance(session.learner, TrainedNDMStrategy):
        values["scalar_curvature"] = _scalar_curvature(session.learner, placed.features)
        found = _interpret(session, placed, settings.geometric, run.seed)
        for number, one in found.items():
            flat = torch.nonzero(placed.home == number)[one.values["flat_samples"], 0].tolist()
            values |= {
                f"chart_{number + 1}_{key}": value for key, value in (one.values | {"flat_samples": flat}).items()
            }
        if found:
            pictures |= geometry_pictures({f"chart {number + 1}": one for number, one in found.items()})
    return Result(values=values, pictures=pictures)


def _interpret(session: Session, placed: HeldOut, weight: float, seed: int) -> dict[int, Interpretation]:
    """Ask the network of each chart about the samples routed to it; a chart with few of them is left out."""
    generator = torch.Generator().manual_seed(seed)
    # On the CPU and in double precision: small curvatures are to be ranked, and not every device has doubles.
    model = session.learner.model.to("cpu", torch.float64)
    train_x, train_y = session.stream.slice(0, len(session.stream))
    train_x = session.immerse(train_x).cpu()
    learnt_at = model.route(train_x)
    found = {}
    for number, network in enumerate(model.networks):
        here, learnt = placed.home == number, learnt_at == number
        if here.sum() >= 10 and learnt.sum() >= 5:
            test = model.coordinates(placed.features[here].cpu().double()), placed.labels[here]
            trained_on = model.coordinates(train_x[learnt].double()), train_y[learnt]
            found[number] = interpret(network, *test, *trained_on, generator, weight=weight)
    return found


@torch.no_grad()
def _scalar_curvature(learner: TrainedNDMStrategy, x: torch.Tensor) -> list[dict[str, Any]]:
    """Return mean and standard deviation of the learned metrics' scalar curvature, by chart and layer."""
    x = x.to(learner.device)
    learner.model.to(learner.device)
    home, z = learner.model.route(x), learner.model.coordinates(x)
    rows = []
    for number in home.unique().tolist():
        _, geometries = learner.model.networks[number](z[home == number])
        for layer, geometry in enumerate(geometries):
            r = geometry.curvature
            rows.append(
                {"chart": number + 1, "layer": layer, "mean": float(r.mean()), "sd": float(r.std(correction=0))}
            )
    return rows
