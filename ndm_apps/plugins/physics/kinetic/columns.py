"""Tells positions from velocities where the task does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.kinetic.settings import KineticColumns
from ndm_apps.plugins.physics.noise import unwrapped
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Samples over which a column is integrated.
LAG = 10
#: Largest part of the variance of a position's changes that the integral of its velocity may leave.
LEFT = 0.05


def position_columns(data: Trajectories, given: KineticColumns | None = None) -> KineticColumns:
    """Return the columns of positions and velocities: those given, or those that the data show.

    A column is the velocity of another one if its integral is the other's change.

    Raises
    ------
    InputError
        A given column is not there, or the data show no positions with their velocities.
    """
    if given is not None:
        given.check(data.state)
        return given
    changes, integrals = _changes(data)
    left = ((changes[:, :, None] - integrals[:, None, :]) ** 2).mean(axis=0) / changes.var(axis=0)[:, None]
    np.fill_diagonal(left, np.inf)
    positions, velocities = [], []
    for i in range(len(data.state)):
        j = int(np.argmin(left[i]))
        if left[i, j] < LEFT and np.argmin(left[:, j]) == i:
            positions.append(data.state[i])
            velocities.append(data.state[j])
    if not positions:
        raise InputError(
            f"kinetic: no column of {', '.join(data.state)} is the velocity of another one; "
            "the method kinetic needs positions and velocities (task: kinetic: {positions: [...], velocities: [...]})"
        )
    return KineticColumns(positions=tuple(positions), velocities=tuple(velocities))


def _changes(data: Trajectories) -> tuple[Array, Array]:
    """Change of each column over some samples, and its integral over the same time, ``(samples, columns)`` both."""
    values = unwrapped(data)
    changes, integrals = [np.empty((0, len(data.state)))], [np.empty((0, len(data.state)))]
    for start, length in zip(data.starts.tolist(), data.lengths.tolist(), strict=True):
        part, time = values[start : start + length], data.time[start : start + length, None]
        steps = (part[1:] + part[:-1]) / 2 * np.diff(time, axis=0)
        total = np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(steps, axis=0)])
        changes.append(part[LAG:] - part[:-LAG])
        integrals.append(total[LAG:] - total[:-LAG])
    return np.concatenate(changes), np.concatenate(integrals)
