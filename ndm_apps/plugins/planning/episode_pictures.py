"""Pictures of evaluated episodes that any task has: what each cost, and where it went."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.plugins.planning.formulas import wrapped
from ndm_apps.plugins.planning.problem_of import angles_of
from ndm_apps.plugins.planning.schema import PlanningTask

#: Episodes in a portrait, at most.
_SHOWN = 8


def measures(task: PlanningTask, episodes: Sequence[Episode]) -> Picture:
    """Draw the measure of each episode beside the least possible one, where that is known."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot()
    order = np.argsort([episode.measure for episode in episodes])
    place = np.arange(len(episodes))
    for success, marker, label in ((True, "o", "success"), (False, "X", "no success")):
        which = [n for n, at in enumerate(order) if episodes[at].success is success]
        if which:
            axes.plot(which, [episodes[order[n]].measure for n in which], marker, label=label)
    known = [(n, episodes[at].optimum) for n, at in enumerate(order) if episodes[at].optimum is not None]
    if known:
        colour = matplotlib.rcParams["text.color"]
        axes.plot(*zip(*known, strict=True), "_", markersize=12, color=colour, label="least possible")
    what = "steps" if task.score.measure == "steps" else "cost"
    axes.set_xticks(place, [str(episodes[at].seed) for at in order], fontsize=7)
    axes.set_xlabel("seed of the episode")
    axes.set_ylabel(what)
    axes.legend()
    beside = " beside the least possible from the same start" if known else ""
    return Picture(figure, f"The {what} of each episode{beside}, in order.")


def portrait(task: PlanningTask, episodes: Sequence[Episode]) -> Picture:
    """Draw the ways of a few episodes: the first two columns, or the first over time."""
    figure = Figure(figsize=(5.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    columns = task.columns[:2]
    for episode in episodes[:_SHOWN]:
        ways = [broken(episode.states[:, n], n in angles_of(task)) for n in range(len(columns))]
        if len(columns) == 1:
            ways = [np.arange(len(ways[0])), ways[0]]
        (line,) = axes.plot(*ways, linewidth=1)
        axes.plot(ways[0][0], ways[1][0], "o", markersize=4, color=line.get_color())
    axes.set_xlabel(columns[0] if len(columns) == 2 else "step")
    axes.set_ylabel(columns[-1])
    shown = min(len(episodes), _SHOWN)
    return Picture(figure, f"The ways of {shown} episodes, each from its dot, in {' and '.join(columns)}.")


def broken(values: Array, is_angle: bool) -> Array:
    """Return a column as it is drawn: an angle wrapped, with a gap where it passes half a turn."""
    if not is_angle:
        return values
    values = wrapped(values)
    jumps = np.abs(np.diff(values)) > np.pi
    return np.where(np.append(jumps, False), np.nan, values)
