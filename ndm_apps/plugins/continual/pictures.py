"""Figures of a continual-learning run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.continual.stream import Stream


def accuracy_matrix(matrix: Sequence[Sequence[float]], stops: Sequence[int]) -> Picture:
    """Draw the accuracy on each test set (columns) at each stop (rows)."""
    values = np.asarray(matrix)
    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(False)
    image = axes.imshow(values, vmin=0.0, vmax=1.0, cmap="viridis", aspect="auto")
    if values.size <= 144:
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="black" if value > 0.6 else "white")
    axes.set_xlabel("test set of experience")
    axes.set_ylabel("evaluated after samples")
    axes.set_xticks(range(values.shape[1]), [str(number + 1) for number in range(values.shape[1])])
    axes.set_yticks(range(len(stops)), [str(stop) for stop in stops])
    figure.colorbar(image, label="accuracy")
    return Picture(figure, "Accuracy on the test set of each experience (columns) as the stream goes on (rows).")


def timeline(
    stream: Stream,
    matrix: Sequence[Sequence[float]],
    alarms: Sequence[int] | None,
    wealth: Sequence[tuple[int, float]],
) -> Picture:
    """Draw accuracy over the stream and, if shifts were watched for, the martingale's wealth with its alarms."""
    figure = Figure(figsize=(7.5, 4.6 if wealth else 3.0), layout="constrained")
    upper, *lower = figure.subplots(2 if wealth else 1, sharex=True, squeeze=False)[:, 0]
    values = np.asarray(matrix)
    for number in range(values.shape[1]):
        known = slice(stream.starts[number], None)
        upper.plot(stream.stops[known], values[known, number], marker="o", label=str(number + 1))
    upper.set_ylim(-0.03, 1.03)
    upper.set_ylabel("accuracy")
    if values.shape[1] <= 10:
        upper.legend(title="test set", ncols=5, fontsize="small", loc="lower left")
    for axes in (upper, *lower):
        for shift in stream.shifts:
            axes.axvline(shift, color="0.6", linewidth=1, linestyle=":")
    caption = "Accuracy on each test set from when it was first trained on; dotted lines are the true shifts"
    if lower:
        lower[0].semilogy(*zip(*wealth, strict=True), color="0.35", linewidth=1, drawstyle="steps")
        for alarm in alarms or ():
            lower[0].axvline(alarm, color="#D55E00", linewidth=1.5)
        lower[0].set_ylabel("peak wealth")
        caption += "; orange lines are the alarms, raised when the martingale's wealth (below) passes its threshold"
    (lower[0] if lower else upper).set_xlabel("samples seen")
    return Picture(figure, caption + ".")
