"""Where near means near: the space in which nodes are neighbours.

Coordinates over their deviation in the box, angles as points of the circle, and the slow functions of the dynamics
(:mod:`ndm_apps.engine.slow`): an average over neighbours then mixes states of about the same energy, and no motion
gains energy by being averaged.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np

from ndm_apps.engine.slow import slow_functions
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import Scales, spread_out

_STATES = 4096  # on which slow functions are found
_DEGREE = 3  # of polynomials in the coordinates of the embedding: v w cos(angle) is in the energy of a linkage
_DEGENERATE = 1e-7


class Embedding:
    """A map from states to a Euclidean space in which neighbours are looked for.

    Parameters
    ----------
    dynamics, problem, scales
        The model, the task and its units.
    slow
        How many slow functions to learn. A motion in n dimensions has n - 1 independent invariants at most.
    generator
        Draws the states and controls on which they are learned.
    """

    def __init__(
        self, dynamics: Dynamics, problem: Problem, scales: Scales, slow: int, generator: np.random.Generator
    ) -> None:
        self._angles = list(dynamics.angles)
        self._lines = [i for i in range(dynamics.states) if i not in dynamics.angles]
        self._middle = problem.box[self._lines].mean(axis=1)
        self._scale = scales.length[self._lines]
        size = 2 * len(self._angles) + len(self._lines)
        self._terms = np.array(list(combinations_with_replacement(range(size + 1), _DEGREE))[1:], dtype=np.intp)
        self._slow: Array | None = None
        #: Rates of change of the slow functions, mean squares per step over their variance.
        self.rates = np.zeros(0)
        if slow:
            x = spread_out(problem.box, _STATES, generator)
            u = generator.uniform(problem.low, problem.high, (len(x), dynamics.controls))
            before, after = self._dictionary(self._plain(x)), self._dictionary(self._plain(dynamics.step(x, u)))
            self.rates, self._slow = slow_functions(before, after, slow, _DEGENERATE)

    def __call__(self, x: Array) -> Array:
        """Return the embedding (..., e) of states (..., n)."""
        plain = self._plain(x)
        if self._slow is None:
            return plain
        return np.concatenate([plain, self._dictionary(plain) @ self._slow], axis=-1)

    def _plain(self, x: Array) -> Array:
        angles = x[..., self._angles]
        lines = (x[..., self._lines] - self._middle) / self._scale
        return np.concatenate([np.sin(angles), np.cos(angles), lines], axis=-1)

    def _dictionary(self, plain: Array) -> Array:
        """Return all monomials up to the degree but the constant, (..., terms)."""
        factors = np.concatenate([np.ones((*plain.shape[:-1], 1)), plain], axis=-1)
        first, second, third = self._terms.T
        return np.asarray(factors[..., first] * factors[..., second] * factors[..., third])
