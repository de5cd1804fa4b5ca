"""The least energy with which Gymnasium's mountain car gets to the top in time."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.linalg import solveh_banded

from ndm_apps.plugins.planning.dynamics import Array

_POWER, _GRAVITY, _TOP, _SPEED, _WALL = 0.0015, 0.0025, 0.45, 0.07, -1.2
#: Weight of a path's way behind the wall, by which it is kept before it.
_STIFFNESS = 1e3
#: Paths that are polished.
_TRIED = 12


@lru_cache(maxsize=1024)
def least_energy(start: float, steps: int) -> float:
    r"""Return 0.1 times the least sum of squared forces that lead from rest to the top within so many steps.

    A path of positions tells its forces,

    .. math:: u_k = (x_{k+1} - 2 x_k + x_{k-1} + 0.0025 \cos 3 x_k) / 0.0015,

    and their squares are minimised by Gauss-Newton steps from paths on which the force is proportional to the speed:
    of several strengths, and so numbers of swings and lengths. Of the longest, the best is taken: it is feasible, and
    so its energy is an upper bound of the least.

    Parameters
    ----------
    start
        Position at the start, at rest.
    steps
        Of the episode.

    Examples
    --------
    >>> round(100 - least_energy(-0.5, 500), 1)
    99.3
    """
    best = np.inf
    for path in sorted(_pumped(start, steps), key=len)[-_TRIED:]:
        path = _polished(path)
        forces = _forces(path)
        if np.abs(forces).max() <= 1.0 and np.abs(np.diff(path)).max() < _SPEED and path.min() > _WALL:
            best = min(best, 0.1 * float(forces @ forces))
    return best


def _pumped(start: float, steps: int) -> list[Array]:
    """Return paths from rest to the top, the force proportional to the speed, one of each length up to steps."""
    found = {}
    for strength in np.geomspace(0.1, 40.0, 500):
        x, v, path = start, 0.0, [start]
        while x < _TOP and len(path) <= steps:
            v += _POWER * min(max(strength * (v + 1e-3), -1.0), 1.0) - _GRAVITY * math.cos(3 * x)
            x = max(x + v, _WALL)
            v = 0.0 if x == _WALL else v
            path.append(x)
        if x >= _TOP:
            found[len(path)] = np.array([*path[:-1], _TOP])
    return list(found.values())


def _forces(path: Array) -> Array:
    before = np.concatenate([path[:1], path[:-2]])  # at rest: the step before the first did not move
    return (path[1:] - 2 * path[:-1] + before + _GRAVITY * np.cos(3 * path[:-1])) / _POWER


def _polished(path: Array) -> Array:
    """Return the path, its ends fixed, on which the squares of forces are least, before the wall."""
    residuals, damping = _residuals(path), 1e-2
    for _ in range(300):
        banded, gradient = _normal_equations(path, *residuals)
        banded[2] += damping / _POWER**2
        moved = path.copy()
        moved[1:-1] -= solveh_banded(banded, gradient)
        tried = _residuals(moved)
        before, after = (sum(float(part @ part) for part in parts) for parts in (residuals, tried))
        if after < before:
            path, residuals, damping = moved, tried, damping * 0.2
            if before - after < 1e-9 * before:
                break
        else:
            damping *= 8.0
            if damping > 1e8:
                break
    return path


def _residuals(path: Array) -> tuple[Array, Array]:
    """Return forces (N,), and how far inner points are behind the wall, weighted, (N - 1,)."""
    return _forces(path), _STIFFNESS * np.maximum(_WALL + 1e-3 - path[1:-1], 0.0)


def _normal_equations(path: Array, forces: Array, behind: Array) -> tuple[Array, Array]:
    """Return J^T J as upper bands (3, N - 1) and J^T r, J the derivative of the residuals r by the inner points.

    Force k depends on x_{k-1}, x_k and x_{k+1} with the factors 1, c_k and 1, over 0.0015.
    """
    inner = len(path) - 2
    middle = -2.0 - 3 * _GRAVITY * np.sin(3 * path[:-1])
    middle[0] += 1.0
    c = middle[1:]  # of x_j in force j, j = 1 ... N - 1
    last = np.ones(inner)
    last[-1] = 0.0  # no force follows the last but one's
    gradient = (forces[:-1] + c * forces[1:]).copy()
    gradient[:-1] += forces[2:]
    banded = np.zeros((3, inner))
    banded[2] = 1.0 + c**2 + last
    banded[1, 1:] = c[:-1] + c[1:]
    banded[0, 2:] = 1.0
    banded /= _POWER**2
    banded[2] += _STIFFNESS**2 * (behind > 0.0)
    return banded, gradient / _POWER - _STIFFNESS * behind
