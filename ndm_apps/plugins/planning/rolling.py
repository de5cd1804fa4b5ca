"""A point mass among walls, pushed by the controls: geodesics of its positions, and the speed at which to take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.profile import Timed, timed
from ndm_apps.plugins.planning.quickest import Mass, quickest
from ndm_apps.plugins.planning.refused import BEHIND, Places, RefusedMetric, trimmed_least_squares
from ndm_apps.plugins.planning.roadmap import Roadmap
from ndm_apps.plugins.planning.taut import resampled, taut

#: The unit of the metric in longest moves.
UNIT = 2.0
#: A step has met a wall where its velocity is off by more than this share of what a step of force does.
OFF = 0.2
#: Above this share of the largest speed an environment may have clipped, and nothing is missing.
CLIPPED = 0.95
#: Units that plans keep from walls, and nodes of a path beyond the edge of the goal where they end.
MARGIN, ENTER = 0.2, 4
#: Share of the force that a plan uses; the rest is for keeping to it, with gains per squared second and per second.
SHARE, STIFFNESS, DAMPING = 0.9, 150.0, 22.0
#: Units off the plan at which another one is made.
LOST = 1.0


@dataclass(frozen=True)
class RollingModel:
    r"""Free motion, :math:`v' = A v + B u,\; x' = x + \tau v'`, and the metric of what is in its way.

    Attributes
    ----------
    positions, velocities
        Indices of the columns.
    decay, push
        A and B, (n, n).
    step
        tau.
    most
        Largest speed along each axis, (n,); infinite where none is known.
    least
        The least missing velocity that tells a wall.
    metric
        Of positions, from the steps that did not obey: the velocity that is missing is across the wall.
    """

    positions: tuple[int, ...]
    velocities: tuple[int, ...]
    decay: Array
    push: Array
    step: float
    most: Array
    least: float
    metric: RefusedMetric

    @classmethod
    def fit(
        cls, seen: Transitions, positions: tuple[int, ...], velocities: tuple[int, ...], most: Array
    ) -> RollingModel:
        """Fit to transitions; ``most`` is the largest speed along each axis, (n,)."""
        x, v = seen.x[:, positions], seen.x[:, velocities]
        after, speed = seen.y[:, positions], seen.y[:, velocities]
        free = (np.abs(speed) <= CLIPPED * most).all(-1)
        features = np.concatenate((v, seen.u), axis=1)
        coefficients, _ = trimmed_least_squares(features[free], speed[free])
        rate, _ = trimmed_least_squares(speed.reshape(-1, 1), (after - x).reshape(-1, 1))
        decay, push = coefficients[: x.shape[1]].T, coefficients[x.shape[1] :].T
        missing = missing_velocity(features @ coefficients, speed, most)
        size = np.linalg.norm(missing, axis=-1)
        least = OFF * float(np.linalg.norm(seen.u @ push.T, axis=-1).max())
        refused = size > least
        unit = UNIT * float(np.linalg.norm(after - x, axis=-1).max())
        walls = after[refused] + BEHIND * unit * missing[refused] / size[refused, None]
        metric = RefusedMetric(Places(np.concatenate((x[~refused], after[~refused]))), Places(walls), unit)
        return cls(positions, velocities, decay, push, float(rate[0, 0]), most, least, metric)


def missing_velocity(expected: Array, found: Array, most: Array) -> Array:
    """Return how much slower than expected a motion is, (..., n), where it was not clipped at the largest speed."""
    return np.where(np.abs(found) > CLIPPED * most, 0.0, expected - found)


class RollingController:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` that follows geodesics as fast as the force allows.

    Parameters
    ----------
    model
        Of the motion and the walls.
    problem
        Where to go; the controls' bounds.
    roadmap
        Of the model's metric, if there is one already.
    """

    def __init__(self, model: RollingModel, problem: Problem, roadmap: Roadmap | None = None) -> None:
        self.model, self.problem = model, problem
        self._roadmap = roadmap or Roadmap(model.metric)
        self._inverse = np.linalg.inv(model.push)
        bound = np.minimum(problem.high, -problem.low)
        self._bound = SHARE * bound
        self._force = np.abs(model.push) @ self._bound / model.step

    def start(self, x: Array) -> None:
        """Plan the way."""
        self.roadmap = self._roadmap.copy()
        self.expected = x[list(self.model.velocities)]
        self._plan(x[list(self.model.positions)], self.expected)

    def control(self, x: Array) -> Array:
        """Return the force that keeps to the plan."""
        model = self.model
        at, v = x[list(model.positions)], x[list(model.velocities)]
        missing = missing_velocity(self.expected, v, model.most)
        if np.linalg.norm(missing) > model.least:
            self.roadmap.update(self.roadmap.metric.with_refusal(at, missing), at)
        if self.time >= len(self.controls) or np.linalg.norm(self.path[self.time] - at) > LOST * model.metric.unit:
            self._plan(at, v)
        here, now = self.path[self.time], self._speed(self.time, v)
        u = self.controls[self.time] + self._inverse @ (model.step * (STIFFNESS * (here - at) + DAMPING * (now - v)))
        self.time += 1
        u = np.clip(u, self.problem.low, self.problem.high)
        self.expected = model.decay @ v + model.push @ u
        return u

    def _speed(self, time: int, v: Array) -> Array:
        """Return the planned velocity at a step."""
        return v if time == 0 else (self.path[time] - self.path[time - 1]) / self.model.step

    def _plan(self, at: Array, v: Array) -> None:
        """Find the quickest motion near the geodesic, to where it enters the goal."""
        model, metric = self.model, self.roadmap.metric
        path = taut(metric, self.roadmap.ways(at, self.problem.goal[list(model.positions)]))
        path = resampled(path, 400)
        states = np.tile(self.problem.goal, (len(path), 1))
        states[:, model.positions] = path
        inside = self.problem.reached(states)
        path = path[: max(int(inside.argmax()) + ENTER, 2)] if inside.any() else path
        pace = self._timed(path, v)
        steps = max(int(np.ceil(pace.times[-1] / model.step)), 2)
        guess = np.stack([pace.at(time)[0] for time in np.linspace(0.0, pace.times[-1], steps + 1)])
        mass = Mass(model.decay, model.push, model.step, self._bound, model.most)

        def depth(x: Array) -> tuple[Array, Array]:
            value, slope = metric.depth(x)
            return value + MARGIN, slope

        self.path, self.controls = quickest(mass, depth, guess, v)
        self.time = 0

    def _timed(self, path: Array, v: Array) -> Timed:
        unit = self.model.metric.unit
        first = path[np.linalg.norm(path - path[0], axis=-1) > unit]
        ahead = (first[0] if len(first) else path[-1]) - path[0]
        speed = max(0.0, float(v @ ahead / max(np.linalg.norm(ahead), 1e-12)))
        return timed(path, speed=speed, most=self.model.most, force=self._force, spacing=unit / 5, rounding=unit / 2)
