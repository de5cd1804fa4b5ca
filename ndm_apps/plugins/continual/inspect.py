"""The geometry of a finished continual-learning run: its charts, and where they are flat or curved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ndm_apps.engine.interpretation import Interpretation, interpret
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Picture, Result, Settings
from ndm_apps.plugins.continual.run import build_learner, load_data, to_dtype
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.settings import NDMSettings, TrainedNDMSettings
from ndm_apps.plugins.continual.stream import Stream, build_stream
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
    stream = to_dtype(build_stream(task.stream, load_data(task), seed=run.seed, evaluate=run.evaluate), run.dtype)
    context = SimpleNamespace(seed=run.seed, device=run.device, dtype=run.dtype)
    learner = build_learner(settings, stream, context)
    learner.load_state_dict(state["learner"])
    detector = learner.detector
    if not len(detector.atlas.charts):
        raise InputError(f"no chart yet: the first one is made after {detector.warmup} samples")
    x = torch.cat([x for x, _ in stream.tests])
    experience = torch.cat([torch.full((len(x),), number) for number, (x, _) in enumerate(stream.tests)])
    z, r = detector.embed(x)
    home = detector.atlas.route(z)
    curvature = torch.stack([detector.chart_curvature(number, z, r) for number in range(len(detector.atlas.charts))], 1)
    own = curvature.gather(1, home[:, None])[:, 0]
    charts = []
    for number, chart in enumerate(detector.atlas.charts):
        inside = home == number
        charts.append(
            {
                "labels": [int(label) for label in chart.labels],
                "samples_learnt": sum(component.count for component in chart.components),
                "held_out_samples": int(inside.sum()),
                "curvature_statistic_inside": float(own[inside].mean()) if inside.any() else None,
                "curvature_statistic_outside": float(curvature[~inside, number].mean()) if (~inside).any() else None,
            }
        )
    values: dict[str, Any] = {"charts": charts}
    pictures = {"inspect_charts": _map(z.numpy(), own.numpy(), home.numpy(), experience.numpy())}
    if isinstance(learner, TrainedNDMStrategy):
        values["scalar_curvature"] = _scalar_curvature(learner, x)
        found = _interpret(learner, stream, home, settings.geometric, run.seed)
        for number, one in found.items():
            flat = torch.nonzero(home == number)[one.values["flat_samples"], 0].tolist()
            values |= {
                f"chart_{number + 1}_{key}": value for key, value in (one.values | {"flat_samples": flat}).items()
            }
        if found:
            pictures |= geometry_pictures({f"chart {number + 1}": one for number, one in found.items()})
    return Result(values=values, pictures=pictures)


def _interpret(
    learner: TrainedNDMStrategy, stream: Stream, home: torch.Tensor, weight: float, seed: int
) -> dict[int, Interpretation]:
    """Ask the network of each chart about the samples routed to it; a chart with few of them is left out."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.cat(column) for column in zip(*stream.tests, strict=True))
    # On the CPU and in double precision: small curvatures are to be ranked, and not every device has doubles.
    model = learner.model.to("cpu", torch.float64)
    train_x, train_y = stream.slice(0, len(stream))
    learnt_at = model.route(train_x)
    found = {}
    for number, network in enumerate(model.networks):
        here, learnt = home == number, learnt_at == number
        if here.sum() >= 10 and learnt.sum() >= 5:
            held_out = model.scaling(x[here].double()), y[here]
            trained_on = model.scaling(train_x[learnt].double()), train_y[learnt]
            found[number] = interpret(network, *held_out, *trained_on, generator, weight=weight)
    return found


@torch.no_grad()
def _scalar_curvature(learner: TrainedNDMStrategy, x: torch.Tensor) -> list[dict[str, Any]]:
    """Return mean and standard deviation of the learned metrics' scalar curvature, by chart and layer."""
    x = x.to(learner.device)
    learner.model.to(learner.device)
    home, z = learner.model.route(x), learner.model.scaling(x)
    rows = []
    for number in home.unique().tolist():
        _, geometries = learner.model.networks[number](z[home == number])
        for layer, geometry in enumerate(geometries):
            r = geometry.curvature
            rows.append(
                {"chart": number + 1, "layer": layer, "mean": float(r.mean()), "sd": float(r.std(correction=0))}
            )
    return rows


def _map(z: np.ndarray, curvature: np.ndarray, home: np.ndarray, experience: np.ndarray) -> Picture:
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, middle = figure.subplots(1, 2)
    second = z[:, 1] if z.shape[1] > 1 else np.zeros(len(z))
    bound = float(np.quantile(np.abs(curvature), 0.95)) or 1.0
    drawn = left.scatter(z[:, 0], second, c=curvature, cmap="coolwarm", vmin=-bound, vmax=bound, s=8)
    left.set(xlabel="first principal coordinate", ylabel="second", title="curvature in the nearest chart")
    figure.colorbar(drawn, ax=left, label="curvature statistic", extend="both")
    table = np.zeros((home.max() + 1, experience.max() + 1))
    np.add.at(table, (home, experience), 1)
    shares = table / table.sum(0, keepdims=True)
    middle.grid(False)
    middle.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        middle.text(column, row, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.6 else "white")
    middle.set(xlabel="true experience", ylabel="chart", title="share of test samples routed to each chart")
    middle.set_xticks(range(shares.shape[1]), [str(number + 1) for number in range(shares.shape[1])])
    middle.set_yticks(range(shares.shape[0]), [str(number + 1) for number in range(shares.shape[0])])
    return Picture(
        figure,
        "Held-out samples in the embedding, coloured by their curvature statistic in the chart they are routed to "
        "(zero on average on a chart's own data, positive at its boundary and beyond), and which chart serves which "
        "experience.",
    )
