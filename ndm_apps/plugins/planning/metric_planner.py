"""Geodesics of a plain metric, as paths: the planner where there is nothing to steer but the point itself."""

from __future__ import annotations

import numpy as np
import torch

from ndm_apps.geometry import geodesic
from ndm_apps.geometry.finsler import Finsler
from ndm_apps.geometry.metric import Metric
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.path import Path


class MetricPlanner:
    """Plan on a Riemannian metric, or a Randers metric of drift, between any two points.

    Parameters
    ----------
    metric
        As :func:`ndm_apps.geometry.geodesic` takes it: ``(..., n) -> (..., n, n)`` in PyTorch, or a ``Randers``.
    points
        Points of a path, both ends included.

    Examples
    --------
    >>> planner = MetricPlanner(lambda x: torch.eye(2, dtype=x.dtype).expand(*x.shape[:-1], 2, 2), points=5)
    >>> path = planner.plan(np.zeros(2), np.array([4.0, 3.0]))
    >>> round(path.cost, 6), path.converged, path.states[2]
    (5.0, True, array([2. , 1.5]))
    """

    def __init__(self, metric: Metric | Finsler, points: int = 65) -> None:
        self.metric, self.points = metric, points

    def plan(self, start: Array, goal: Array) -> Path:
        """Return the geodesic between two points (n,): its cost is its length, its controls are its chords.

        Raises
        ------
        ValueError
            The ends are no points, or the metric is none there.
        """
        for name, end in (("start", start), ("goal", goal)):
            if np.ndim(end) != 1 or np.shape(end) != np.shape(start) or not np.isfinite(end).all():
                raise ValueError(f"{name} must be a vector of finite numbers, as many as of the start, got {end!r}")
        ends = (torch.as_tensor(np.asarray(end, dtype=np.float64)) for end in (start, goal))
        with torch.no_grad():
            found = geodesic(self.metric, *ends, points=self.points)
        states = found.points.numpy()
        converged = bool(found.converged)
        return Path(states, np.diff(states, axis=0), float(found.length), True, converged)
