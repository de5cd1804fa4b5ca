"""Metrics over the steps: those of one run, and those of the groups of a sweep with a band over their seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from ndm_apps.report.panels import COLORS, Line, draw_lines

Array = NDArray[np.float64]
Curves = dict[str, tuple[Array, Array]]

PANELS = 12
GROUPS = COLORS  # lines of a panel that can be told apart
LONGEST = 20_000_000  # bytes of the logs that are read for one page


@dataclass(frozen=True)
class Drawing:
    """Panels of a page, the text beneath them, and what their colours stand for."""

    panels: tuple[Markup, ...]
    caption: str
    legend: tuple[str, ...] = ()


def read_curves(path: Path) -> Curves:
    """Return steps and values of each metric in a ``metrics.jsonl``; damaged lines are left out.

    Where a resumed run has repeated a step, its later value counts.
    """
    if not path.exists():
        return {}
    read: dict[str, dict[float, float]] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                point = json.loads(line)
                value = math.nan if point["value"] is None else float(point["value"])
                read.setdefault(str(point["name"]), {})[float(point["step"])] = value
            except (ValueError, TypeError, KeyError):
                continue
    return {
        name: (np.array(sorted(points)), np.array([points[step] for step in sorted(points)]))
        for name, points in read.items()
    }


def draw_curves(curves: Curves, file: str = "metrics.jsonl") -> Drawing | None:
    """Draw each metric over the steps in a panel of its own; None if no metric has two finite values."""
    drawable = {name: curve for name, curve in curves.items() if np.isfinite(curve[1]).sum() > 1}
    if not drawable:
        return None
    shown = list(drawable)[:PANELS]
    caption = f"Metrics over the steps of the run: {', '.join(shown)}."
    if len(drawable) > len(shown):
        caption += f" {len(drawable) - len(shown)} more are in {file}."
    return Drawing(tuple(draw_lines(name, [Line(*drawable[name])]) for name in shown), caption)


def draw_bands(groups: Mapping[str, Sequence[Path]]) -> Drawing | None:
    """Draw the metrics that groups of runs share: the mean over the seeds, and a band from the least to the greatest.

    Parameters
    ----------
    groups
        Folders of the runs of each group.

    Returns
    -------
    Drawing or None
        None if no metric changes over the steps of any run, or there is too much to read.
    """
    groups = dict(list(groups.items())[:GROUPS])
    logs = [folder / "metrics.jsonl" for folders in groups.values() for folder in folders]
    if sum(log.stat().st_size for log in logs if log.exists()) > LONGEST:
        return None
    lines: dict[str, list[Line]] = {}
    for number, folders in enumerate(groups.values()):
        runs = [read_curves(folder / "metrics.jsonl") for folder in folders]
        for name in dict.fromkeys(name for run in runs for name in run):
            line = _band([run[name] for run in runs if name in run], number)
            if line is not None:
                lines.setdefault(name, []).append(line)
    if not lines:
        return None
    shown = sorted(lines, key=lambda name: -len(lines[name]))[: PANELS // 2]
    used = {line.color for name in shown for line in lines[name]}
    caption = "Metrics over the steps: the mean over the seeds, and a band from the least to the greatest of them."
    return Drawing(
        tuple(draw_lines(name, lines[name]) for name in shown),
        caption,
        tuple(label if number in used else "" for number, label in enumerate(groups)),
    )


def _band(runs: Sequence[tuple[Array, Array]], color: int) -> Line | None:
    """Return mean and range over the steps that all runs span, on straight lines between theirs; None if it is flat."""
    kept = [(steps[np.isfinite(values)], values[np.isfinite(values)]) for steps, values in runs]
    if any(len(steps) < 2 for steps, _ in kept):
        return None
    first, last = max(steps[0] for steps, _ in kept), min(steps[-1] for steps, _ in kept)
    steps = np.unique(np.concatenate([steps for steps, _ in kept]))
    steps = steps[(first <= steps) & (steps <= last)]
    if len(steps) < 2:
        return None
    values = np.array([np.interp(steps, *run) for run in kept])
    if np.ptp(values) == 0:
        return None
    return Line(steps, values.mean(0), color, *((values.min(0), values.max(0)) if len(runs) > 1 else ()))
