"""Pictures of environments drawn on an array, without a display and without a drawing library."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]


def canvas(height: int, width: int) -> Picture:
    """Return a white picture (height, width, 3)."""
    return np.full((height, width, 3), 255, dtype=np.uint8)


def line(picture: Picture, start: Any, end: Any, radius: float, colour: Colour) -> None:
    """Draw a straight line with round ends; points are (column, row), in pixels.

    Examples
    --------
    >>> picture = canvas(5, 5)
    >>> line(picture, (0, 2), (4, 2), 0.5, (0, 0, 0))
    >>> (picture[:, :, 0] == 0).astype(int).tolist()[2]
    [1, 1, 1, 1, 1]
    """
    a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    lo = np.maximum(np.floor(np.minimum(a, b) - radius), 0).astype(int)
    hi = np.minimum(np.ceil(np.maximum(a, b) + radius) + 1, picture.shape[1::-1]).astype(int)
    if (lo >= hi).any():
        return
    points = np.stack(np.meshgrid(np.arange(lo[0], hi[0]), np.arange(lo[1], hi[1])), axis=-1)
    along = b - a
    share = np.clip(((points - a) @ along) / max(along @ along, 1e-12), 0.0, 1.0)
    near = ((points - a - share[..., None] * along) ** 2).sum(-1) <= radius**2
    picture[lo[1] : hi[1], lo[0] : hi[0]][near] = colour


def disc(picture: Picture, centre: Any, radius: float, colour: Colour) -> None:
    """Draw a filled circle; arguments as of :func:`line`."""
    line(picture, centre, centre, radius, colour)


def polyline(picture: Picture, points: Sequence[Any], radius: float, colour: Colour) -> None:
    """Draw straight lines from point to point; arguments as of :func:`line`."""
    for start, end in pairwise(points):
        line(picture, start, end, radius, colour)
