"""How fast a point mass can follow a path: as fast as its force bends and brakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.taut import resampled


@dataclass(frozen=True)
class Timed:
    """A path with the time at which each node is passed.

    Attributes
    ----------
    points, velocities
        (nodes, n).
    times
        (nodes,), from 0.
    """

    points: Array
    velocities: Array
    times: Array

    def at(self, time: float) -> tuple[Array, Array]:
        """Return position and velocity at a time, those of the last node after it."""
        parts = (self.points, self.velocities)
        position, velocity = (np.stack([np.interp(time, self.times, column) for column in part.T]) for part in parts)
        return position, velocity


def timed(path: Array, *, speed: float, most: Array, force: Array, spacing: float, rounding: float) -> Timed:
    r"""Return the fastest way along a path, which does not stop at its end.

    Along a path of curvature :math:`\kappa`, a speed v needs the acceleration :math:`v^2 \kappa` across; what the force
    has left speeds up or brakes:

    .. math:: v v' \le a \sqrt{1 - (v^2 \kappa / a)^2}

    Parameters
    ----------
    path
        (nodes, n).
    speed
        At the start.
    most, force
        Largest speed and acceleration along each axis, (n,).
    spacing
        Of the nodes of the result.
    rounding
        Length over which the path is smoothed before its curvature is taken.

    References
    ----------
    Bobrow, Dubowsky, Gibson, "Time-optimal control of robotic manipulators along specified paths", IJRR 4, 1985.

    Examples
    --------
    >>> line = np.array([[0.0, 0.0], [2.0, 0.0]])
    >>> way = timed(line, speed=0.0, most=np.full(2, 9.0), force=np.ones(2), spacing=0.01, rounding=0.1)
    >>> round(float(way.times[-1]), 2)  # 2 = t^2 / 2
    2.0
    """
    total = float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())
    points = resampled(path, 3 + int(total / spacing))
    points[1:-1] = gaussian_filter1d(points, rounding / spacing, axis=0, mode="nearest")[1:-1]
    steps = np.diff(points, axis=0)
    lengths = np.maximum(np.linalg.norm(steps, axis=-1), 1e-12)
    tangents = steps / lengths[:, None]
    bend = np.zeros(len(points))
    bend[1:-1] = 2 * np.linalg.norm(np.diff(tangents, axis=0), axis=-1) / (lengths[1:] + lengths[:-1])
    tangent = np.concatenate((tangents, tangents[-1:]))
    # The most along a direction is what the first axis to saturate allows.
    along = 1 / np.maximum(np.abs(tangent) / force, 1e-12).max(-1)
    fastest = 1 / np.maximum(np.abs(tangent) / most, 1e-12).max(-1)
    square = np.minimum(force.min() / np.maximum(bend, 1e-9), fastest**2)

    def swept(limit: Array, order: range, side: int) -> None:
        for node in order:
            before = limit[node - side]
            left = 1 - min(before * bend[node - side] / force.min(), 1.0) ** 2
            gain = 2 * along[node - side] * np.sqrt(left) * lengths[min(node, node - side)]
            limit[node] = min(limit[node], before + max(gain, 1e-6))

    square[0] = min(square[0], speed**2)
    swept(square, range(len(points) - 2, -1, -1), -1)
    square[0] = max(square[0], speed**2)
    swept(square, range(1, len(points)), 1)
    v = np.sqrt(square)
    times = np.concatenate(([0.0], (2 * lengths / np.maximum(v[1:] + v[:-1], 1e-6)).cumsum()))
    return Timed(points, v[:, None] * tangent, times)
