"""Figures of learned geometries, shared by the plugins whose networks have one.

``geometry_pictures({"chart 1": found, ...})`` draws what :func:`ndm_apps.engine.interpretation.interpret` found, a row
for each name, and returns ``{"geometry_slice": Picture, ...}`` for the ``pictures`` of a
:class:`~ndm_apps.plugins.base.Result`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ndm_apps.engine.interpretation import Interpretation, Slice
from ndm_apps.plugins.base import Picture

ROWS = 6
_GEODESIC, _STRAIGHT = "C0", "C1"


def geometry_pictures(found: Mapping[str, Interpretation]) -> dict[str, Picture]:
    """Draw slices, samples, interpolations and layers of one or several networks, the first six at most.

    Parameters
    ----------
    found
        Interpretations by name, at least one; the name stands at the left of its row.
    """
    shown = dict(list(found.items())[:ROWS])
    pictures = {"geometry_slice": _slices(shown), "geometry_samples": _samples(shown)}
    joined = {name: one for name, one in shown.items() if one.interpolations is not None}
    if joined:
        pictures["geometry_paths"] = _paths(joined)
    pictures["geometry_layers"] = _layers(shown)
    return pictures


def _slices(found: Mapping[str, Interpretation]) -> Picture:
    figure, grid = _grid(found, 2, 2.6)
    for (name, one), (left, right) in zip(found.items(), grid, strict=True):
        plane = one.slice
        bound = float(np.quantile(_array(plane.curvature.abs()), 0.98)) or 1.0
        _map(left, plane, plane.curvature, "coolwarm", (-bound, bound), "R")
        _map(right, plane, plane.log_volume, "viridis", (None, None), "log volume element")
        left.set_ylabel(_row(name, "second component"))
    for axes in grid[-1]:
        axes.set_xlabel("first principal component")
    grid[0][0].set_title("scalar curvature")
    grid[0][1].set_title("volume element")
    shares = ", ".join(f"{one.slice.explained:.0%}" for one in found.values())
    return Picture(
        figure,
        "Curvature and volume element on the plane of the chart in which the held-out samples (dots, projected) spread "
        f"most; it holds {shares} of their variance. Lines are where the predicted class changes on the plane.",
    )


def _map(
    axes: Axes, plane: Slice, values: Tensor, colours: str, limits: tuple[float | None, float | None], label: str
) -> None:
    first, second = _array(plane.first), _array(plane.second)
    axes.grid(False)
    image = axes.imshow(
        _array(values),
        extent=(first[0], first[-1], second[0], second[-1]),
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
    )
    logits = _array(plane.logits)
    for number in np.unique(logits.argmax(-1)):
        lead = logits[..., number] - np.delete(logits, number, axis=-1).max(-1)
        if lead.min() < 0:
            axes.contour(first, second, lead, levels=[0.0], colors="black", linewidths=0.8)
    axes.scatter(*_array(plane.samples).T, s=6, color="white", edgecolors="black", linewidths=0.4)
    axes.figure.colorbar(image, ax=axes, label=label, extend="both" if limits[0] is not None else "neither")


def _samples(found: Mapping[str, Interpretation]) -> Picture:
    figure, grid = _grid(found, 2, 2.3)
    for (name, one), (left, right) in zip(found.items(), grid, strict=True):
        # Zero has no place on a logarithmic axis.
        margin, curvature = _array(one.samples.margin), np.maximum(_array(one.samples.curvature.abs()), 1e-12)
        flat = _array(one.samples.flat)
        left.scatter(margin[~flat], curvature[~flat], s=9, color="0.55", linewidths=0)
        left.scatter(margin[flat], curvature[flat], s=12, color=_GEODESIC, linewidths=0)
        left.set_yscale("log")
        rank, p = one.values["boundary_curvature_rank"], one.values["boundary_curvature_rank_p"]
        left.set_title(f"rank correlation {rank:+.2f}, p = {p:.2g}, n = {len(margin)}")
        left.set_ylabel(_row(name, "|R|"))
        sizes = [stability.size for stability in one.stability]
        right.semilogx(sizes, [stability.rank for stability in one.stability], "o-", label="rank correlation of |R|")
        kept = [stability.kept for stability in one.stability]
        errors = np.array([[k.value - k.low for k in kept], [k.high - k.value for k in kept]])
        right.errorbar(sizes, [k.value for k in kept], errors, fmt="s--", capsize=2, label="flat samples still flat")
        right.set_ylim(-0.05, 1.05)
        right.set_xticks(sizes, [f"{size:g}" for size in sizes])
        right.minorticks_off()
    grid[0][1].legend(fontsize="small", loc="lower left")
    grid[-1][0].set_xlabel("margin (logit of the first class less the second)")
    grid[-1][1].set_xlabel("input noise / standard deviation of the inputs")
    return Picture(
        figure,
        "Left: absolute curvature of held-out samples against the classifier's margin, 0 at the decision boundary; the "
        "tenth with the least is called flat (blue). Right: what noise added to the inputs leaves of the ranking.",
    )


def _paths(found: Mapping[str, Interpretation]) -> Picture:
    figure, grid = _grid(found, 4, 2.3)
    for (name, one), (left, distance, curvature, volume) in zip(found.items(), grid, strict=True):
        joined = one.interpolations
        assert joined is not None
        for line, colour, dashes, label in (
            (joined.geodesic, _GEODESIC, "-", "geodesic"),
            (joined.straight, _STRAIGHT, "--", "straight"),
        ):
            time = np.linspace(0, 1, line.start.shape[1])
            left.plot(time, _array(line.end).mean(0), dashes, color=colour, label=f"end, {label}")
            left.plot(time, _array(line.other).mean(0), dashes, color=colour, alpha=0.5, label=f"others, {label}")
            _band(distance, _array(line.nearest), colour, dashes, label)
        _band(curvature, _array(joined.curvature), _GEODESIC, "-", "geodesic")
        _band(volume, _array(joined.log_volume), _GEODESIC, "-", "geodesic")
        left.set_ylim(-0.03, 1.03)
        left.set_ylabel(_row(name, "mean probability"))
    titles = ("class", "distance to training data", "scalar curvature", "log volume element")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
        axes.legend(fontsize="x-small")
    for axes in grid[-1]:
        axes.set_xlabel("time along the curve")
    pairs = ", ".join(str(len(one.interpolations.pairs)) for one in found.values() if one.interpolations is not None)
    return Picture(
        figure,
        f"Geodesics and straight lines of the chart between pairs of held-out samples of different classes ({pairs} "
        "pairs): probability of the end's class and of classes of neither end; distance to the nearest training sample "
        "in units of what is usual among these; curvature and volume element. Bands hold 80 % of the pairs.",
    )


def _band(axes: Axes, values: np.ndarray, colour: str, dashes: str, label: str) -> None:
    time = np.linspace(0, 1, values.shape[1])
    low, median, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(time, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(time, median, dashes, color=colour, label=label)


def _layers(found: Mapping[str, Interpretation]) -> Picture:
    figure, grid = _grid(found, 2, 1.9)
    for (name, one), (left, right) in zip(found.items(), grid, strict=True):
        errors = _array(one.layers.consecutive)
        for number, error in enumerate(errors):  # one layer has nothing to disagree with
            lowest, low, median, high, highest = np.quantile(error, [0.05, 0.25, 0.5, 0.75, 0.95])
            left.hlines(number, lowest, highest, color=_GEODESIC, linewidth=1.5)
            left.hlines(number, low, high, color=_GEODESIC, linewidth=6)
            left.plot(median, number, "o", color="white", markeredgecolor=_GEODESIC)
        left.set_yticks(range(len(errors)), [f"{number + 1} and {number + 2}" for number in range(len(errors))])
        left.set_ylim(max(len(errors), 1) - 0.5, -0.5)
        left.set_xlim(left=0)
        left.set_ylabel(_row(name, "layers"))
        right.hist(np.log10(_array(one.layers.condition)), bins=20, color=_GEODESIC)
        right.set_ylabel("samples")
    grid[0][0].set_title("disagreement of consecutive metrics")
    grid[0][1].set_title("metric pulled back to the input")
    grid[-1][0].set_xlabel("relative error of squared lengths")
    grid[-1][1].set_xlabel("log10 of the condition number")
    return Picture(
        figure,
        "Left: how far each layer's metric and that of the next, pulled back to it, are apart (root mean square over "
        "the principal directions; median, half and nine tenths of the held-out samples). Right: how unequally the "
        "last layer's metric stretches the directions of the input.",
    )


def _grid(found: Mapping[str, Interpretation], columns: int, height: float) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(2.9 * columns + 1.0, 0.5 + height * len(found)), layout="constrained")
    return figure, figure.subplots(len(found), columns, squeeze=False).tolist()


def _row(name: str, label: str) -> str:
    return f"{name}\n{label}" if name else label


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
