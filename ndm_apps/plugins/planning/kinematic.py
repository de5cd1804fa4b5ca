"""A point whose position the controls move directly, among walls: geodesics of the metric from refused moves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.refused import RefusedMetric, metric_of, trimmed_least_squares
from ndm_apps.plugins.planning.roadmap import Roadmap
from ndm_apps.plugins.planning.taut import resampled, taut

#: Shares of the longest move that are tried, and the most that s may be along one.
MOVES, CLEAR = np.array([1.0, 0.7, 0.4, 0.2]), 2.0
#: A move that falls short by more than this share of the longest one has met a wall.
SHORT = 0.02
#: Length of a move along a wall, and the cosine from which two directions count as the same.
ALONG, SAME = 0.2, 0.9
#: Refusals within one longest move from which on walls are raised, and how much higher they become at most.
INSISTED, HIGHEST = 3, 4.0
#: Spacing of the nodes of a path that is followed, in longest moves.
FINE = 0.05


@dataclass(frozen=True)
class KinematicModel:
    r"""What moves obey where nothing is in the way, :math:`x' = x + c + B u`, and the metric of what is in the way.

    Attributes
    ----------
    drift, gain
        c, (n,), and B, (n, n).
    metric
        From the moves that did not obey.
    """

    drift: Array
    gain: Array
    metric: RefusedMetric

    @classmethod
    def fit(cls, seen: Transitions, angles: tuple[int, ...] = ()) -> KinematicModel:
        """Fit to transitions, angles in x' unwrapped."""
        moved = seen.y - seen.x
        features = np.column_stack((seen.u, np.ones(len(moved))))
        coefficients, _ = trimmed_least_squares(features, moved)
        metric = metric_of(seen.x, features @ coefficients, moved, angles=angles, tolerance=SHORT)
        return cls(coefficients[-1], coefficients[:-1].T, metric)


class KinematicController:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` that walks along geodesics.

    A move that a wall refuses is one more fact: the metric learns it, and the way from there is sought anew. Where the
    way insists on a direction that was refused at the same place, as at a corner that is sharper than what is known of
    it, the point moves along the wall instead. What is learnt in an episode is forgotten at the start of the next.

    Parameters
    ----------
    model
        Of the moves and walls.
    problem
        Where to go; the controls' bounds.
    roadmap
        Of the model's metric, if there is one already.
    """

    def __init__(self, model: KinematicModel, problem: Problem, roadmap: Roadmap | None = None) -> None:
        self.model, self.problem = model, problem
        self._inverse = np.linalg.inv(model.gain)
        self._roadmap = roadmap or Roadmap(model.metric)
        compass = np.array(list(product((-1.0, 0.0, 1.0), repeat=len(model.drift))))
        compass = compass[compass.any(-1)]
        self._compass = compass / np.linalg.norm(compass, axis=-1, keepdims=True)

    def start(self, x: Array) -> None:
        """Plan the way."""
        self.roadmap = self._roadmap.copy()
        self.at, self.expected = x, x
        self.refused: list[tuple[Array, Array]] = []
        self._plan()

    def control(self, x: Array) -> Array:
        """Return the control of the longest clear move to the path ahead."""
        metric = self.roadmap.metric
        self.at = self.at + metric.short(x - self.at)
        missing = metric.short(self.expected - self.at)
        if np.linalg.norm(missing) > SHORT * metric.unit:
            self._learn(missing)
            self._plan()
        move = self._turned(self._ahead() - self.at)
        u = self._inverse @ (move - self.model.drift)
        u /= max(1.0, float((u / np.where(u > 0, self.problem.high, self.problem.low)).max()))
        self.expected = self.at + self.model.drift + self.model.gain @ u
        return u

    def _learn(self, missing: Array) -> None:
        """Take in that a move was refused; where many have been, walls count for more, until another way is shorter."""
        metric = self.roadmap.metric
        near = sum(np.linalg.norm(metric.short(place - self.at)) <= metric.unit for place, _ in self.refused)
        if near >= INSISTED and metric.height < HIGHEST * self.model.metric.height:
            self.roadmap = self.roadmap.steeper(2.0)
        self.roadmap.update(self.roadmap.metric.with_refusal(self.at, missing), self.at)
        self.refused.append((self.at, missing / np.linalg.norm(missing)))

    def _plan(self) -> None:
        goal = self.at + self.roadmap.metric.short(self.problem.goal - self.at)
        path = taut(self.roadmap.metric, self.roadmap.ways(self.at, goal))
        spacing = FINE * self.roadmap.metric.unit
        self.path = resampled(path, 2 + int(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum() / spacing))
        self.along = np.concatenate(([0.0], np.linalg.norm(np.diff(self.path, axis=0), axis=-1).cumsum()))
        self.done = 0.0

    def _ahead(self) -> Array:
        """Return the point on the path to move to."""
        metric = self.roadmap.metric
        near = np.abs(self.along - self.done) <= 2 * metric.unit
        nodes = np.flatnonzero(near)
        nearest = nodes[np.linalg.norm(self.path[nodes] - self.at, axis=-1).argmin()]
        self.done = max(self.done, self.along[nearest])
        places = self.done + MOVES * metric.unit
        targets = np.stack([np.interp(places, self.along, column) for column in self.path.T], axis=-1)
        gap = targets - self.at
        targets = self.at + gap / np.maximum(np.linalg.norm(gap, axis=-1, keepdims=True) / metric.unit, 1.0)
        chords = self.at + np.array([0.35, 0.7, 1.0])[:, None, None] * (targets - self.at)
        clear = metric.scale(chords).max(0) <= CLEAR
        return targets[clear.argmax() if clear.any() else -1]

    def _turned(self, move: Array) -> Array:
        """Return a move, or where its direction was refused at this place, the nearest that was not."""
        unit = self.model.metric.unit
        here = [way for place, way in self.refused if np.linalg.norm(place - self.at) <= SHORT * unit]
        if not here or (np.array(here) @ move).max() < SAME * np.linalg.norm(move):
            return move
        tried = (self._compass @ np.array(here).T).max(-1) >= SAME
        return ALONG * unit * self._compass[np.where(tried, -np.inf, self._compass @ move).argmax()]
