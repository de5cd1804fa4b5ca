r"""A point in a current: the fastest ways are geodesics of a Randers metric that is learnt from a few moves.

Each move is :math:`x' = x + c(x) + B u` with :math:`|u| \le 1`: at speed 1 in the metric
:math:`h = (B B^T)^{-1}` through a medium that drifts with c, in units of a step. That is Zermelo's navigation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ndm_apps.geometry import Geodesic, geodesic, zermelo
from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem

#: Nodes of a geodesic, ends that are tried, and steps off the way at which another one is sought.
POINTS, ENDS, LOST = 17, 3, 0.5


@dataclass(frozen=True)
class CurrentModel:
    """The drift, a polynomial of degree 2 of positions, and the gain.

    Attributes
    ----------
    drift
        Coefficients of 1, of the coordinates, and of their products, (terms, n).
    gain
        B, (n, n).
    """

    drift: Array
    gain: Array

    @classmethod
    def fit(cls, seen: Transitions) -> CurrentModel:
        """Fit to transitions by least squares."""
        features = np.concatenate((_monomials(torch.as_tensor(seen.x)).numpy(), seen.u), axis=1)
        coefficients = np.linalg.lstsq(features, seen.y - seen.x, rcond=None)[0]
        n = seen.x.shape[1]
        return cls(coefficients[:-n], coefficients[-n:].T)

    def flow(self, x: Tensor) -> Tensor:
        """Return c at points (..., n)."""
        return _monomials(x) @ torch.as_tensor(self.drift)

    def way(self, start: Array, goal: Array, initial: Tensor | None = None) -> Geodesic:
        """Return the fastest way, near an initial one; its length is the number of steps.

        Raises
        ------
        ValueError
            If the current is as fast as the point somewhere on the way.
        """
        h = torch.as_tensor(np.linalg.inv(self.gain @ self.gain.T))
        metric = zermelo(lambda x: h.expand(*x.shape, x.shape[-1]), self.flow)
        return geodesic(metric, torch.as_tensor(start), torch.as_tensor(goal), points=POINTS, initial=initial)


class CurrentController:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` that steers along the fastest way.

    Parameters
    ----------
    model
        Of the current.
    problem
        Where to go.
    """

    def __init__(self, model: CurrentModel, problem: Problem) -> None:
        self.model, self.problem = model, problem
        self._inverse = np.linalg.inv(model.gain)

    def start(self, x: Array) -> None:
        """Plan the way: it enters the goal region where the costate is across the edge."""
        end, initial = self.problem.goal, None
        for _ in range(ENDS):
            way = self.model.way(x, end, initial)
            path, steps = way.points.numpy(), float(way.length)
            arriving = (path[-1] - path[-2]) * (len(path) - 1) / steps - self.model.flow(way.points[-1]).numpy()
            costate = self._inverse.T @ self._inverse @ arriving
            end, initial = self._edge(-costate / np.linalg.norm(costate)), way.points
        self.path, self.steps, self.time = path, steps, 0

    def _edge(self, direction: Array) -> Array:
        """Return the last point of the goal region from its centre in a direction."""
        inside, outside = 0.0, float(np.diff(self.problem.box).max())
        for _ in range(40):
            middle = (inside + outside) / 2
            reached = bool(self.problem.reached(self.problem.goal + middle * direction))
            inside, outside = (middle, outside) if reached else (inside, middle)
        return self.problem.goal + inside * direction

    def control(self, x: Array) -> Array:
        """Return the heading, at full speed, to where the way is a step later."""
        if np.linalg.norm(self._at(self.time) - x) > LOST * np.linalg.norm(self.model.gain, 2):
            self.start(x)
        self.time += 1
        u = self._inverse @ (self._at(self.time) - x - self.model.flow(torch.as_tensor(x)).numpy())
        return u / np.linalg.norm(u)

    def _at(self, time: float) -> Array:
        """Return the point of the way at a time; beyond its end, straight on."""
        place = time / self.steps * (len(self.path) - 1)
        node = min(int(place), len(self.path) - 2)
        return self.path[node] + (place - node) * (self.path[node + 1] - self.path[node])


def _monomials(x: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(x.shape[-1], x.shape[-1])
    return torch.cat((torch.ones_like(x[..., :1]), x, x[..., rows] * x[..., columns]), dim=-1)
