"""Panels: the pages' own small drawings, as SVG that takes its colours from the page, a hundred to a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from ndm_apps.report.axes import Axis, axis_of

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 26, 34  # space around the axes
ROW = 22  # height of a row of dots
POINTS = 400  # drawn of a line: more than a page's pixels would only make the file large
COLORS = 8  # of the page

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A line over the steps of a run: its places, a colour of the page, and a band around it, if it has one."""

    x: Array
    y: Array
    color: int = 0
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True)
class Dots:
    """One row of values: those of the single runs, their mean and an interval around it."""

    label: str
    values: Sequence[float]
    color: int = 0
    interval: tuple[float, float] | None = None


def draw_lines(title: str, lines: Sequence[Line], xlabel: str = "step") -> Markup:
    """Return a panel of lines over a common axis; positive values of several decades get a logarithmic axis."""
    shown = [_thinned(line) for line in lines]
    x = axis_of(np.concatenate([line.x for line in shown]), LEFT, WIDTH - RIGHT)
    heights = [part for line in shown for part in (line.y, line.low, line.high) if part is not None]
    y = axis_of(np.concatenate(heights), HEIGHT - BOTTOM, TOP, may_be_log=True)
    parts = [_frame(x, y, HEIGHT), *_ticks_below(x, HEIGHT), *_ticks_left(y)]
    for line in shown:
        if line.low is not None and line.high is not None:
            there = np.isfinite(y(line.low)) & np.isfinite(y(line.high))
            path = _path(x(line.x[there]), y(line.low[there])), _path(x(line.x[there][::-1]), y(line.high[there][::-1]))
            parts.append(f'<path class="band f{line.color % COLORS}" d="{path[0]}L{path[1][1:]}Z"/>')
    for line in shown:
        parts.append(f'<path class="line s{line.color % COLORS}" d="{_path(x(line.x), y(line.y))}"/>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{escape(xlabel)}</text>')
    return _svg(title, parts, HEIGHT)


def draw_dots(title: str, rows: Sequence[Dots]) -> Markup:
    """Return a panel with a row for each group: its runs as dots, its mean as a bar, an interval as a line."""
    height = TOP + BOTTOM + ROW * len(rows)
    left = min(150, 16 + 6 * max(len(row.label) for row in rows))
    values = [value for row in rows for value in (*row.values, *(row.interval or ()))]
    x = axis_of(np.array(values, dtype=float), left, WIDTH - RIGHT)
    parts = [_frame(x, Axis(0, 1, height - BOTTOM, TOP), height), *_ticks_below(x, height)]
    for number, row in enumerate(rows):
        middle, color = TOP + ROW * (number + 0.5), row.color % COLORS
        label = row.label if len(row.label) <= 24 else row.label[:23] + "…"
        parts.append(f'<text class="tick" x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(label)}</text>')
        finite = np.array([value for value in row.values if np.isfinite(value)])
        if row.interval is not None:
            low, high = x(row.interval)
            parts.append(f'<path class="line s{color}" d="M{low:.1f} {middle}H{high:.1f}"/>')
        parts += [f'<circle class="dot f{color}" cx="{place:.1f}" cy="{middle}" r="3.5"/>' for place in x(finite)]
        if len(finite):
            mean = float(x(finite.mean()))
            parts.append(f'<path class="mean s{color}" d="M{mean:.1f} {middle - 7}v14"/>')
    return _svg(title, parts, height)


def _thinned(line: Line) -> Line:
    chosen = np.unique(np.linspace(0, len(line.x) - 1, min(POINTS, len(line.x))).round().astype(int))
    low, high = (None if side is None else side[chosen] for side in (line.low, line.high))
    return Line(line.x[chosen], line.y[chosen], line.color, low, high)


def _path(x: Array, y: Array) -> str:
    """Return a path through the points; where one has no place, it is interrupted."""
    parts, draw = [], False
    for across, along in zip(x.tolist(), y.tolist(), strict=True):
        finite = np.isfinite(across) and np.isfinite(along)
        if finite:
            parts.append(f"{'L' if draw else 'M'}{across:.1f} {along:.1f}")
        draw = bool(finite)
    return "".join(parts)


def _frame(x: Axis, y: Axis, height: float) -> str:
    return f'<path class="edge" d="M{x.start} {y.stop}V{height - BOTTOM}H{x.stop}"/>'


def _ticks_below(x: Axis, height: float) -> Iterable[str]:
    for value, text in x.ticks():
        place = float(x(value))
        yield f'<path class="grid" d="M{place:.1f} {TOP}V{height - BOTTOM}"/>'
        yield f'<text class="tick" x="{place:.1f}" y="{height - BOTTOM + 14}" text-anchor="middle">{text}</text>'


def _ticks_left(y: Axis) -> Iterable[str]:
    for value, text in y.ticks():
        place = float(y(value))
        yield f'<path class="grid" d="M{LEFT} {place:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{place + 3.5:.1f}" text-anchor="end">{text}</text>'


def _svg(title: str, parts: Sequence[str], height: float) -> Markup:
    label = escape(title)
    heading = f'<text class="title" x="2" y="14">{label}</text>'
    frame = f'<svg class="panel" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{label}">'
    return Markup(f"{frame}{heading}{''.join(parts)}</svg>")
