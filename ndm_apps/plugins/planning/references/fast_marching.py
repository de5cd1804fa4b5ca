"""Shortest ways among obstacles, by the fast marching method of scikit-fmm."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.formulas import wrapped

#: Grid points a cell of a maze; what is found is about 0.2 % too long.
RESOLUTION = 160
#: Grid points of each angle of a torus.
TORUS = 1080


def maze_length(walls: NDArray[np.bool_], start: Array, goal: Array, radius: float, inflated: float = 0.0) -> float:
    """Return the length of the shortest way to a disc in a maze of unit cells.

    Parameters
    ----------
    walls
        (rows, columns); a point (x, y) is in row floor(y), column floor(x).
    start, goal
        Points (2,).
    radius
        Of the disc around the goal.
    inflated
        Walls are thicker by this: the radius of what moves.

    References
    ----------
    Sethian (1996), A fast marching level set method for monotonically advancing fronts, PNAS 93.
    """
    fine = np.kron(walls, np.ones((RESOLUTION, RESOLUTION), dtype=bool))
    if inflated:
        from scipy.ndimage import distance_transform_edt

        fine = distance_transform_edt(~fine) <= inflated * RESOLUTION
    rows, columns = (np.arange(count) / RESOLUTION + 0.5 / RESOLUTION for count in fine.shape)
    gap = np.hypot(columns - goal[0], rows[:, None] - goal[1])
    times = _marched(gap, radius, fine, 1.0 / RESOLUTION, periodic=False)
    return _at(times, start[::-1] * RESOLUTION - 0.5, periodic=False)


def torus_length(blocked: NDArray[np.bool_], start: Array, goal: Array, radius: float) -> float:
    """Return the length of the shortest way to a disc on the torus of two angles.

    Parameters
    ----------
    blocked
        Obstacles at the angles of :func:`torus_axis`, (points, points).
    start, goal, radius
        As of :func:`maze_length`.
    """
    axis = torus_axis(len(blocked))
    gap = np.hypot(wrapped(axis[:, None] - goal[0]), wrapped(axis - goal[1]))
    spacing = 2 * np.pi / len(blocked)
    times = _marched(gap, radius, blocked, spacing, periodic=True)
    return _at(times, (start + np.pi) / spacing - 0.5, periodic=True)


def torus_axis(points: int = TORUS) -> Array:
    """Return the grid's angles in [-pi, pi)."""
    return (np.arange(points) + 0.5) * 2 * np.pi / points - np.pi


def _marched(gap: Array, radius: float, blocked: NDArray[np.bool_], spacing: float, *, periodic: bool) -> Array:
    """Return the least length of the way to a disc from each grid point; infinite where there is none.

    Within the largest disc around the goal that no wall meets the way is straight: the march begins at its edge, where
    the front is less curved than a small disc's and the grid's error less.

    Parameters
    ----------
    gap
        Distances of the grid points from the goal.
    radius
        Of the disc.
    blocked, spacing, periodic
        Obstacles, the grid's spacing, and whether it closes on itself.
    """
    # On a torus, straight ways are the shortest within half a turn.
    clear = max(radius, min(gap[blocked].min(initial=np.inf) - spacing, np.pi if periodic else np.inf))
    if not (gap > clear).any():
        return np.maximum(gap - radius, 0.0)
    masked = np.ma.MaskedArray(gap - clear, blocked)
    times = scikit_fmm().travel_time(masked, np.ones_like(gap), dx=spacing, periodic=(periodic, periodic))
    times = np.ma.filled(times, np.inf) + clear - radius
    return np.where((gap <= clear) & ~blocked, np.maximum(gap - radius, 0.0), times)


def _at(times: Array, place: Array, *, periodic: bool) -> float:
    """Return the time at a place in grid units: bilinear, of those of its four neighbours that can be reached."""
    corner = np.floor(place).astype(int)
    share = place - corner
    total = weight = 0.0
    for i in (0, 1):
        for j in (0, 1):
            at = corner + np.array([i, j])
            at = at % times.shape if periodic else np.clip(at, 0, np.array(times.shape) - 1)
            time = times[tuple(at)]
            if np.isfinite(time):
                part = abs(1 - i - share[0]) * abs(1 - j - share[1]) + 1e-12
                total, weight = total + part * time, weight + part
    return float(total / weight) if weight else np.inf


def scikit_fmm() -> ModuleType:
    """Import scikit-fmm; a ValueError names the extra that installs it."""
    try:
        import skfmm
    except ImportError:
        raise ValueError(
            "score.optimum: fast_marching needs scikit-fmm (pip install 'ndm_apps[bench]'); null does without"
        ) from None
    return skfmm
