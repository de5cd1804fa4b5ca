"""Figures of a continual-learning run."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.continual.held_out import HeldOut
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
    alarms: Sequence[int],
    watch: Sequence[Sequence[float]],
    prequential: Sequence[Sequence[int]],
) -> Picture:
    """Draw accuracy over the stream and, if shifts were watched for, the martingale's wealth and the curvature.

    Parameters
    ----------
    stream
        With the true shifts.
    matrix
        Accuracies, stops by test sets.
    alarms
        Sample indices.
    watch
        Rows of position, peak wealth, mean curvature statistic; empty if nothing watched.
    prequential
        Rows of position, samples, those right before they were learnt; empty if not measured.
    """
    heights = [2.0] * (bool(stream.tests) or bool(prequential)) + [1.3, 1.3] * bool(watch)
    figure = Figure(figsize=(7.5, 1.0 + 1.1 * sum(heights)), layout="constrained")
    panels = list(figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axes in panels:
        for shift in stream.shifts:
            axes.axvline(shift, color="0.6", linewidth=1, linestyle=":")
    panels[-1].set_xlabel("samples seen")
    told = []
    if prequential:
        upper, *panels = panels
        # Some two hundred points, whatever the length.
        parts = np.array_split(np.asarray(prequential), min(200, len(prequential)))
        upper.plot(
            [part[-1, 0] for part in parts], [part[:, 2].sum() / part[:, 1].sum() for part in parts], linewidth=1
        )
        upper.set_ylabel("accuracy")
        told.append("accuracy on new samples before they were learnt")
    elif stream.tests:
        upper, *panels = panels
        values = np.asarray(matrix)
        for number in range(values.shape[1]):
            known = slice(stream.starts[number], None)
            upper.plot(stream.stops[known], values[known, number], marker="o", label=str(number + 1))
        lowest = min(values[start:, number].min() for number, start in enumerate(stream.starts))
        upper.set_ylim(lowest - 0.08 * (1.02 - lowest), 1 + 0.02 * (1.02 - lowest))
        upper.set_ylabel("accuracy")
        if values.shape[1] <= 10:
            upper.legend(title="test set", ncols=5, fontsize="small", loc="lower left")
        told.append("accuracy on each test set from when it was first trained on")
    if watch:
        position, wealth, curvature = np.asarray(watch).T
        panels[0].semilogy(position, wealth, color="0.35", linewidth=1, drawstyle="steps")
        panels[0].set_ylabel("peak wealth")
        panels[1].plot(position, curvature, color="#0072B2", linewidth=1)
        panels[1].set_yscale("symlog", linthresh=10.0)
        panels[1].set_ylabel("curvature")
        for alarm in alarms:
            for axes in panels:
                axes.axvline(alarm, color="#D55E00", linewidth=1.5)
        told.append("orange lines are the alarms, raised when the martingale's wealth passes its threshold")
        told.append("below it the mean curvature statistic of new samples in the chart component nearest to them")
    if stream.shifts:
        told.append("dotted lines are the true shifts")
    text = "; ".join(told)
    return Picture(figure, text[0].upper() + text[1:] + ".")


def chart_map(placed: HeldOut) -> Picture:
    """Draw held-out samples in the first two coordinates of the embedding, by curvature, and their charts."""
    z, curvature, home = (part.cpu().numpy() for part in (placed.z, placed.at_home, placed.home))
    experience = placed.experience.numpy()
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    second = z[:, 1] if z.shape[1] > 1 else np.zeros(len(z))
    bound = float(np.quantile(np.abs(curvature), 0.95)) or 1.0
    drawn = left.scatter(z[:, 0], second, c=curvature, cmap="coolwarm", vmin=-bound, vmax=bound, s=8)
    left.set(xlabel="first principal coordinate", ylabel="second", title="curvature in the nearest chart")
    figure.colorbar(drawn, ax=left, label="curvature statistic", extend="both")
    for number in range(home.max() + 1):
        if (home == number).any():
            middle = np.median(z[home == number, 0]), np.median(second[home == number])
            paper = {"boxstyle": "circle", "fc": matplotlib.rcParams["axes.facecolor"], "lw": 0.5}
            left.annotate(str(number + 1), middle, weight="bold", bbox=paper)
    table = np.zeros((home.max() + 1, experience.max() + 1))
    np.add.at(table, (home, experience), 1)
    shares = table / table.sum(0, keepdims=True)
    right.grid(False)
    right.imshow(shares, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    if shares.size <= 144:
        for (row, column), share in np.ndenumerate(shares):
            right.text(column, row, f"{share:.2f}", ha="center", va="center", color="black" if share > 0.6 else "white")
    right.set(xlabel="true experience", ylabel="chart", title="share of test samples routed to each chart")
    right.set_xticks(range(shares.shape[1]), [str(number + 1) for number in range(shares.shape[1])])
    right.set_yticks(range(shares.shape[0]), [str(number + 1) for number in range(shares.shape[0])])
    return Picture(
        figure,
        "Held-out samples in the embedding, coloured by their curvature statistic in the chart they are routed to "
        "(zero on average on its own data, positive at its boundary and beyond), charts numbered at the median of "
        "their samples; and which chart serves which experience.",
    )
