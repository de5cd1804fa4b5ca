"""Figures of a planning run, from plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.planning.dynamics import Array

#: Grid points along each side of a map.
POINTS = 200
Field = Callable[[Array], Array]


def value_map(value: Field, box: Array, names: Sequence[str], paths: Sequence[Array], at: Array) -> Picture:
    """Draw the cost to go over the first two coordinates, and plans.

    Parameters
    ----------
    value
        States (..., n) to (...).
    box
        (n, 2).
    names
        Of the coordinates.
    paths
        Plans (nodes, n).
    at
        Values of the other coordinates, (n,).
    """
    figure, axes = _axes()
    first, second, values = _sampled(value, np.stack([_side(box, paths, k) for k in (0, 1)]), at)
    finite = values[np.isfinite(values)]
    most = np.quantile(finite, 0.98) if finite.size else 1.0
    drawn = axes.contourf(first, second, np.clip(values, None, most), levels=24, cmap="viridis")
    figure.colorbar(drawn, ax=axes, label="cost to go")
    _plans(axes, paths)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    rest = "" if len(box) == 2 else " The other coordinates are those of the goal."
    return Picture(figure, f"The cost to go, as the planner knows it, with plans to its minimum.{rest}")


def metric_map(
    scale: Field,
    box: Array,
    names: Sequence[str],
    paths: Sequence[Array],
    truth: Callable[[Array], NDArray[np.bool_]] | None = None,
) -> Picture:
    """Draw the metric that moves have taught, the true walls, and geodesics.

    Parameters
    ----------
    scale
        Length of a unit step in the metric: points (..., 2) to (...).
    box
        (2, 2).
    names
        Of the coordinates.
    paths
        Geodesics (nodes, 2).
    truth
        Whether points (..., 2) are free, or None.
    """
    figure, axes = _axes()
    first, second, values = _sampled(scale, box, box.mean(1))
    drawn = axes.pcolormesh(first, second, np.log10(values), cmap="bone_r", shading="nearest", rasterized=True)
    figure.colorbar(drawn, ax=axes, label="log10 of the length of a unit step")
    if truth is not None:
        grid = np.stack(np.meshgrid(first, second), axis=-1)
        axes.contour(first, second, truth(grid).astype(float), levels=[0.5], colors="C3", linewidths=1)
    _plans(axes, paths)
    axes.set_aspect("equal")
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    outline = "" if truth is None else " Red: where the walls are, which the metric was not told."
    return Picture(figure, f"The metric of refused moves, dark where no way leads, and its geodesics.{outline}")


def current_map(flow: Field, box: Array, names: Sequence[str], paths: Sequence[Array]) -> Picture:
    """Draw a current and the fastest ways in it.

    Parameters
    ----------
    flow
        Points (..., 2) to (..., 2).
    box
        (2, 2).
    names
        Of the coordinates.
    paths
        (nodes, 2).
    """
    figure, axes = _axes()
    first, second = (np.linspace(*side, 15) for side in box)
    grid = np.stack(np.meshgrid(first, second), axis=-1)
    arrows = flow(grid)
    axes.quiver(grid[..., 0], grid[..., 1], arrows[..., 0], arrows[..., 1], color="0.6", width=0.003)
    _plans(axes, paths)
    for path in paths:
        axes.plot(*path[[0, -1]].T, color="0.3", linewidth=0.8, linestyle=":")
    axes.set_aspect("equal")
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    return Picture(figure, "The learned current (arrows) and the fastest ways in it; dotted: the straight lines.")


def phase_portrait(
    field: Field, box: Array, names: Sequence[str], plan: Array, driven: Array, pair: tuple[int, int], at: Array
) -> Picture:
    """Draw the motion without control in a plane of two coordinates, a plan, and what happened.

    Parameters
    ----------
    field
        Change of the state in a step without control, (..., n) to (..., n).
    box
        (n, 2).
    names
        Of the coordinates.
    plan, driven
        States (nodes, n) of the plan and of the episode.
    pair
        The two coordinates.
    at
        Values of the others, (n,).
    """
    figure, axes = _axes()
    i, j = pair
    sides = [_side(box, (plan, driven), k) for k in pair]
    first, second = (np.linspace(low, high, 40) for low, high in sides)
    states = np.broadcast_to(at, (40, 40, len(box))).copy()
    states[..., i], states[..., j] = np.meshgrid(first, second)
    change = field(states)
    along, across = change[..., i], change[..., j]
    axes.streamplot(first, second, along, across, color="0.75", linewidth=0.6, density=1.3, arrowsize=0.7)
    axes.plot(plan[:, i], plan[:, j], "C0--", linewidth=1.5, label="plan at the start")
    axes.plot(driven[:, i], driven[:, j], "C1", linewidth=1.5, label="what happened")
    axes.plot(*driven[0, [i, j]], "ko", markersize=5)
    axes.plot(*driven[-1, [i, j]], "k*", markersize=9)
    axes.legend(fontsize="small")
    axes.set_xlim(sides[0])
    axes.set_ylim(sides[1])
    axes.set_xlabel(names[i])
    axes.set_ylabel(names[j])
    return Picture(figure, "Free motion (grey), the plan at the start and the episode, from the dot to the star.")


def learning_curve(steps: Sequence[int], returns: Array, references: Mapping[str, float]) -> Picture:
    """Draw the return after so many steps in the environment.

    Parameters
    ----------
    steps
        In the environment.
    returns
        Of the evaluation episodes, (points, episodes).
    references
        Names and returns of what it is compared with.
    """
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, returns.mean(1), "o-", color="C0", label="mean of the episodes")
    axes.fill_between(steps, returns.min(1), returns.max(1), color="C0", alpha=0.15, linewidth=0, label="worst to best")
    for number, (name, level) in enumerate(references.items()):
        axes.axhline(level, color=f"C{number + 1}", linestyle="--", linewidth=1, label=name)
    axes.set_xlabel("steps in the environment")
    axes.set_ylabel("return")
    axes.legend(fontsize="small")
    return Picture(figure, "Return of the evaluation episodes against the experience that the model was learnt from.")


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    return figure, figure.add_subplot()


def _side(box: Array, paths: Sequence[Array], k: int) -> tuple[float, float]:
    """Return the range of a coordinate in the box and on paths, which may turn an angle further."""
    values = np.concatenate([box[k], *(path[:, k] for path in paths)])
    return float(values.min()), float(values.max())


def _sampled(function: Field, box: Array, at: Array) -> tuple[Array, Array, Array]:
    """Return a grid of the first two coordinates, and a function on it."""
    first, second = (np.linspace(*side, POINTS) for side in box[:2])
    states = np.broadcast_to(at, (POINTS, POINTS, len(at))).copy()
    states[..., 0], states[..., 1] = np.meshgrid(first, second)
    return first, second, function(states.reshape(-1, len(at))).reshape(POINTS, POINTS)


def _plans(axes: Axes, paths: Sequence[Array]) -> None:
    for number, path in enumerate(paths):
        colour = f"C{number % 9}"
        axes.plot(path[:, 0], path[:, 1], color=colour, linewidth=1.6)
        axes.plot(*path[0, :2], "o", color=colour, markersize=5)
        axes.plot(*path[-1, :2], "*", color=colour, markersize=10, markeredgecolor="white", markeredgewidth=0.6)
