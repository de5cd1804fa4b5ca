"""The least cost of Gymnasium's pendulum, by dynamic programming."""

from __future__ import annotations

from functools import cache

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array

_SPEED = 8.0
_STEP = 0.05


@cache
def pendulum_value(steps: int, angles: int = 720, each_way: int = 320) -> Array:
    r"""Return the least cost over an episode of so many steps on a grid, by backward induction.

    .. math:: V_k(\theta, \omega) = \theta^2 + 0.1 \omega^2 + \min_u (0.001 u^2 + V_{k+1}(\theta', \omega'))

    The torques tried change the speed by whole grid cells, so that one linear interpolation serves them all: of V
    along theta, and along omega for what gravity does.

    Parameters
    ----------
    steps
        Of the episode.
    angles
        Grid points of theta on the circle, the first at -pi.
    each_way
        Grid cells of omega from 0 to 8; a multiple of 80, so that torques of 2 move by whole cells.

    Returns
    -------
    Array
        The value at the start, (angles, 2 each_way + 1).

    References
    ----------
    Bertsekas (2017), Dynamic Programming and Optimal Control.
    """
    cell = _SPEED / each_way
    theta = np.arange(angles) * 2 * np.pi / angles - np.pi
    omega = np.arange(-each_way, each_way + 1) * cell
    most = round(0.15 * 2.0 / cell)
    torque = np.arange(-most, most + 1) * cell / 0.15
    # Where along theta the next state is, by the next speed.
    turned = (theta[:, None] + _STEP * omega + np.pi) * angles / (2 * np.pi)
    before, share = np.floor(turned).astype(np.intp), turned % 1.0
    columns = np.arange(len(omega))
    first, second = (((before + n) % angles) * len(omega) + columns for n in (0, 1))
    # Where along omega it is after gravity alone, with room for the torques at either end.
    falling = np.arange(-each_way - most, each_way + most + 1) * cell + 0.75 * np.sin(theta)[:, None]
    place = (np.clip(falling, -_SPEED, _SPEED) + _SPEED) / cell
    below = np.minimum(place.astype(np.intp), len(omega) - 2)
    above_share = place - below
    below += np.arange(angles)[:, None] * len(omega)
    stage = theta[:, None] ** 2 + 0.1 * omega**2
    value = np.zeros_like(stage)
    for _ in range(steps):
        flat = value.ravel()
        moved = ((1 - share) * flat[first] + share * flat[second]).ravel()
        fallen = (1 - above_share) * moved[below] + above_share * moved[below + 1]
        best = np.full_like(stage, np.inf)
        for number, u in enumerate(torque):
            np.minimum(best, fallen[:, number : number + len(omega)] + 0.001 * u**2, out=best)
        value = stage + best
    return value


def least_cost(x: Array, steps: int) -> float:
    """Return the least cost of an episode from a state (theta, omega); an estimate, good to about 0.5 %.

    Examples
    --------
    >>> least_cost(np.zeros(2), 200)
    0.0
    """
    value = pendulum_value(steps)
    angles, speeds = value.shape
    row = (x[0] + np.pi) * angles / (2 * np.pi)
    column = np.clip((x[1] + _SPEED) * (speeds - 1) / (2 * _SPEED), 0.0, speeds - 1.000001)
    i, j, a, b = int(np.floor(row)), int(column), row % 1.0, column % 1.0
    near = value[np.ix_([i % angles, (i + 1) % angles], [j, j + 1])]
    return float(np.array([1 - a, a]) @ near @ np.array([1 - b, b]))
