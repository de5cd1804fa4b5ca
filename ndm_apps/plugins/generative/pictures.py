"""Figures of a generative run, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ndm_apps.plugins.base import Picture

Array = NDArray[np.floating]
#: Rows and columns of a panel of samples, and pixels between two images.
SIDE, GAP = 7, 1
_DOUBT = "C1"


def strips(pairs: Sequence[Mapping[str, tuple[Array, Array]]], low: float, drawn: str) -> Picture:
    """Draw paths as rows of images, pair below pair.

    Parameters
    ----------
    pairs
        For each pair, by the name of the path: images (columns, channels, height, width), and the judge's confidence
        in each (columns,).
    low
        Confidence below which an image is framed.
    drawn
        How the pairs were chosen, for the caption.
    """
    rows = [(name, *strip) for pair in pairs for name, strip in pair.items()]
    kinds, columns = len(pairs[0]), len(rows[0][1])
    figure = Figure(figsize=(1.5 + 0.52 * columns, 0.56 * len(rows) + 0.12 * len(pairs)), layout="none")
    # One row more between pairs, a quarter as high.
    heights = ([1.0] * kinds + [0.25]) * len(pairs)
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, left=1.5 / figure.get_figwidth(), right=1, top=1, bottom=0, hspace=0.03
    )
    for number, (name, images, confidence) in enumerate(rows):
        axes = figure.add_subplot(grid[number + number // kinds])
        _montage(axes, images, columns)
        height, width = (size + GAP for size in images.shape[-2:])
        for place in np.flatnonzero(confidence < low):
            frame = Rectangle((place * width - 0.5, -0.5), width, height, fill=False, color=_DOUBT, linewidth=1.6)
            frame.set_clip_on(False)
            axes.add_patch(frame)
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=8)
    return Picture(
        figure,
        f"Paths between test images at equal distances as the judge sees them; framed: the judge is less than "
        f"{low:.0%} sure of any class. {drawn}",
    )


def profiles(confidence: Mapping[str, Array], nearest: Mapping[str, Array]) -> Picture:
    """Draw the judge's confidence and the distance to real images along paths, means over pairs.

    Parameters
    ----------
    confidence, nearest
        By path, (pairs, points).
    """
    figure = Figure(figsize=(9.4, 3.0), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, values, label in zip(
        panels, (confidence, nearest), ("judge's confidence", "distance to the nearest real image"), strict=True
    ):
        for number, (name, own) in enumerate(values.items()):
            mean, error = own.mean(0), own.std(0) / np.sqrt(len(own))
            along = np.linspace(0, 1, len(mean))
            axes.plot(along, mean, color=f"C{number}", label=name)
            axes.fill_between(along, mean - error, mean + error, color=f"C{number}", alpha=0.2, linewidth=0)
        axes.set_xlabel("share of the way in the judge's features")
        axes.set_ylabel(label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    return Picture(
        figure,
        "Along paths between images of two classes: mean over the pairs, with its standard error. Left, more is "
        "better; right, less (in pixels, root of the sum of squares).",
    )


def sample_grid(samples: Mapping[str, Array], titles: Mapping[str, str]) -> Picture:
    """Draw samples drawn in several ways, a panel each.

    Parameters
    ----------
    samples
        By way, images (n, channels, height, width); the first 49 are shown.
    titles
        Of the panels, by way.
    """
    across = min(3, len(samples))
    down = -(-len(samples) // across)
    figure = Figure(figsize=(2.6 * across, 3.0 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(samples) :]:
        axes.set_axis_off()
    for axes, (name, images) in zip(panels, samples.items(), strict=False):
        _montage(axes, images[: SIDE**2], SIDE)
        axes.set_title(fill(titles[name], 40), fontsize=8)
    return Picture(figure, "The first 49 samples of each way to draw them, unselected, with its Fréchet distance.")


def class_means(means: Mapping[str, Array], averaged: int, restless: int) -> Picture:
    """Draw the mean of each class, in several ways.

    Parameters
    ----------
    means
        By way, images (classes, channels, height, width).
    averaged
        Images of each class that the means are of, at most.
    restless
        Geodesic means that the solver had not come to rest at.
    """
    columns = max(len(images) for images in means.values())
    figure = Figure(figsize=(1.9 + 0.6 * columns, 0.66 * len(means)), layout="none")
    left = 1.9 / figure.get_figwidth()
    rows = figure.subplots(len(means), 1, squeeze=False, gridspec_kw={"left": left, "right": 1, "top": 1, "bottom": 0})
    for axes, (name, images) in zip(rows[:, 0], means.items(), strict=True):
        _montage(axes, images, columns)
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=8)
    return Picture(
        figure,
        f"The average of the first {averaged} test images of each class: the image at the point of least sum of "
        "squared geodesic distances to their codes, that at the mean of their codes, and the mean of their pixels."
        + (f" The solver had not come to rest at {restless} of the geodesic means." if restless else ""),
    )


def trust_bars(auroc: Mapping[str, Mapping[str, float | None]], meanings: Mapping[str, str], of: str) -> Picture:
    """Draw how well each score tells bad images.

    Parameters
    ----------
    auroc
        By score, then by target ("low", "far"), or None where it is not known.
    meanings
        Of the scores.
    of
        Which images, for the caption.
    """
    names = list(auroc)
    figure = Figure(figsize=(7.2, 0.9 + 0.27 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0.5, color="0.5", linewidth=1)
    for number, (target, label) in enumerate((("low", "of low confidence"), ("far", "far from real images"))):
        known = [(place, auroc[name].get(target)) for place, name in enumerate(names)]
        axes.plot(
            [value for _, value in known if value is not None],
            [place for place, value in known if value is not None],
            "os"[number],
            color=f"C{number}",
            label=label,
        )
    axes.set_yticks(range(len(names)), [meanings.get(name, name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("AUROC (0.5: tells nothing)")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    return Picture(
        figure,
        f"How well each score tells {of} that the judge takes for bad: of less confidence than the threshold, or among "
        "the fifth farthest from real ones in its features. The sign of each score was fixed before.",
    )


def _montage(axes: Axes, images: Array, columns: int) -> None:
    """Show images (n, channels, height, width) side by side, with so many in a row."""
    # What is empty is white: 0 where ink is 1, as grey images are shown, and 1 in colour.
    empty = float(images.shape[1] == 3)
    images = np.pad(images, [(0, 0), (0, 0), (0, GAP), (0, GAP)], constant_values=empty)
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    tiles = np.full((rows * columns, height, width, channels), empty)
    tiles[:count] = np.moveaxis(images, 1, -1)
    whole = tiles.reshape(rows, columns, height, width, channels).swapaxes(1, 2).reshape(rows * height, -1, channels)
    axes.imshow(whole if channels == 3 else whole[..., 0], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
