"""Figures: the shared style, files that are the same for the same content, and the report's own drawings."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ndm_apps.files import write_text
from ndm_apps.plugins.base import Column
from ndm_apps.report.results import label_of, lookup

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#30343b",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.7,
    "xtick.color": "#5a606b",
    "ytick.color": "#5a606b",
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "image.cmap": "viridis",
}
# Text becomes outlines: a figure looks the same whatever fonts the reader has.
SVG_STYLE = {"svg.hashsalt": "ndm", "svg.fonttype": "path"}
POINTS = 400  # drawn of a curve: more than a page's pixels would only make the file large
PANELS = 12


@contextmanager
def style() -> Iterator[None]:
    """Context in which figures are made with the shared style; outside it nothing changes."""
    with matplotlib.rc_context(STYLE):
        yield


def svg_text(figure: Figure) -> str:
    """Return a figure as SVG text: the same figure gives the same text."""
    stream = io.StringIO()
    with matplotlib.rc_context(SVG_STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def save_svg(figure: Figure, path: Path | str) -> Path:
    """Save a figure as SVG, atomically; the same figure gives the same bytes.

    Parameters
    ----------
    figure
        Matplotlib figure.
    path
        File to write; its folder must exist.

    Returns
    -------
    Path
        The file.
    """
    return write_text(Path(path), svg_text(figure))


def read_curves(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return steps and values of each metric in a ``metrics.jsonl``; damaged lines are left out.

    Where a resumed run has repeated a step, its later value counts.
    """
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


def draw_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[Figure, str] | None:
    """Draw each metric over the steps in a panel of its own; None if no metric has two finite values.

    Returns
    -------
    tuple of Figure and str, or None
        The figure and its caption.
    """
    drawable = {name: curve for name, curve in curves.items() if np.isfinite(curve[1]).sum() > 1}
    if not drawable:
        return None
    shown = list(drawable)[:PANELS]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    with style():
        figure = Figure(figsize=(3.0 * columns, 2.1 * rows), layout=_apart())
        for number, name in enumerate(shown):
            steps, values = drawable[name]
            chosen = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.plot(steps[chosen], values[chosen], color=PALETTE[0])
            finite = values[np.isfinite(values)]
            if finite.min() > 0 and finite.max() > 100 * finite.min():
                axes.set_yscale("log")
            axes.set_title(name)
            axes.locator_params(axis="x", nbins=5)
            if number >= len(shown) - columns:
                axes.set_xlabel("step")
    caption = f"Metrics over the steps of the run: {', '.join(shown)}."
    if len(drawable) > len(shown):
        caption += f" {len(drawable) - len(shown)} more are in metrics.jsonl."
    return figure, caption


def draw_comparison(
    results: Sequence[Mapping[str, Any]], columns: Sequence[Column], by: Sequence[str] = ("method",)
) -> tuple[Figure, str] | None:
    """Draw the value of every run by group, with the mean of each group; None if there is nothing to compare.

    Returns
    -------
    tuple of Figure and str, or None
        The figure and its caption.
    """
    labels = [", ".join(label_of(result, key) for key in by) for result in results]
    groups = list(dict.fromkeys(labels))
    values = {
        column: [
            [_number(lookup(run, column.key)) for run, label in zip(results, labels, strict=True) if label == group]
            for group in groups
        ]
        for column in columns
        if column.better
    }
    measured = {column: sum(bool(np.isfinite(found).any()) for found in values[column]) for column in values}
    drawable = [column for column in values if measured[column] > 1][:6]
    if not drawable:
        return None
    across = min(3, len(drawable))
    rows = math.ceil(len(drawable) / across)
    with style():
        figure = Figure(figsize=(3.1 * across, rows * (0.9 + 0.28 * len(groups))), layout=_apart())
        for number, column in enumerate(drawable):
            axes = figure.add_subplot(rows, across, number + 1)
            for place, found in enumerate(values[column]):
                finite = np.array(found)[np.isfinite(found)]
                color = PALETTE[place % len(PALETTE)]
                axes.plot(finite, np.full(len(finite), place), "o", color=color, alpha=0.45, markersize=5, mew=0)
                if len(finite):
                    axes.plot(finite.mean(), place, "|", color=color, markersize=15, mew=2.5)
            axes.set_yticks(range(len(groups)), groups if number % across == 0 else [""] * len(groups))
            axes.set_ylim(len(groups) - 0.5, -0.5)
            axes.locator_params(axis="x", nbins=4)
            axes.set_title(f"{column.heading} ({column.better} is better)")
    return figure, "Each dot is one run, each bar the mean of a row of the table."


def _apart() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (bool, int, float)) else math.nan
