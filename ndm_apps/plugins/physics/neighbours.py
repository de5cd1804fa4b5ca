r"""Fits coefficients by each sample's neighbours in time, so that no model of the noise's size biases them.

What is conserved, :math:`v \cdot \theta`, varies along a trajectory by noise only, and noise at one time knows nothing
of the features :math:`Z` at the times before and after. Features within trajectories, :math:`\Theta`, are replaced by
what these instruments explain of them, and v is the first vector of

.. math:: \Theta^T P_Z \Theta\, v = \mu\, N v, \qquad P_Z = Z (Z^T Z)^{-1} Z^T,

with N the covariance of noise in the features (limited-information maximum likelihood of Anderson and Rubin 1949). In
:math:`\Theta^T \Theta\, v = \lambda N v` all of the noise of n samples is weighed against N, so that an N that is off
by some percent moves v; here only the part of it that falls in the span of the instruments, k of n. With
:math:`\sigma^2 = \lambda` at v, :math:`n (\mu(v) - \mu) / \sigma^2` is chi-squared for true coefficients, with as many
degrees of freedom as there are ratios.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, centred

Array = NDArray[np.float64]

#: Added to the squares of instruments, of which some are combinations of others.
_RIDGE = 1e-10


@final
class Neighbours:
    """Features with their neighbours in time, trajectory by trajectory.

    Parameters
    ----------
    samples
        The terms that are fitted.
    weights
        Weight of each sample: 1 over the squared length of the law's gradient.
    sigma
        Noise of each column.
    mean
        What is taken off: see :mod:`~ndm_apps.plugins.physics.leaf`.
    """

    def __init__(self, samples: Samples, weights: Array, sigma: Array, mean: Mean) -> None:
        rows = np.sqrt(weights)[:, None] * centred(samples, samples.terms.features, weights, mean)
        together = np.diff(samples.owner) == 0
        before, after = np.zeros_like(rows), np.zeros_like(rows)
        before[1:][together], after[:-1][together] = rows[:-1][together], rows[1:][together]
        parts = samples.starts[1:]
        whole = list(zip(np.split(np.hstack([before, after]), parts), np.split(rows, parts), strict=True))
        self.samples = samples.size
        self.trajectories = len(samples.starts)
        self._squares = np.array([own.T @ own for _, own in whole])
        self._shared = np.array([near.T @ own for near, own in whole])
        self._instruments = np.array([near.T @ near for near, _ in whole])
        terms = rows.shape[1]
        self._noise = np.zeros((self.trajectories, terms, terms))
        for (numbers, slope), noise in zip(samples.terms.slopes, sigma, strict=True):
            if len(numbers):
                products = noise**2 * weights[:, None, None] * slope[:, :, None] * slope[:, None, :]
                self._noise[:, numbers[:, None], numbers] += np.add.reduceat(products, samples.starts, axis=0)

    def problem(self, trajectories: NDArray[np.intp] | None = None) -> Problem:
        """Return the eigenproblem of all trajectories, or of some, which may occur more than once."""
        chosen = np.arange(self.trajectories) if trajectories is None else trajectories
        squares, shared = self._instruments[chosen].sum(axis=0), self._shared[chosen].sum(axis=0)
        scale = 1.0 / np.sqrt(np.maximum(np.diag(squares), np.finfo(float).tiny))
        lower = np.linalg.cholesky(scale[:, None] * squares * scale + _RIDGE * np.eye(len(scale)))
        return Problem(solve_triangular(lower, scale[:, None] * shared, lower=True), self._noise[chosen].sum(axis=0))

    def fit(self) -> Array:
        """Return the coefficients."""
        return self.problem().solve()[1][:, 0]

    def bootstrap(self, replicates: int, rng: np.random.Generator) -> Array:
        """Return the coefficients, up to scale, of trajectories drawn with replacement, ``(replicates, terms)``."""
        drawn = rng.integers(self.trajectories, size=(replicates, self.trajectories))
        return np.array([self.problem(one).solve()[1][:, 0] for one in drawn])

    def loss(self, vector: Array, best: Array) -> float:
        """Return twice the log-likelihood that coefficients lose to the best."""
        whole = self.problem()
        noise = float(best @ self._squares.sum(axis=0) @ best) / float(best @ whole.metric @ best)
        own, least = (float(((whole.root @ one) ** 2).sum() / (one @ whole.metric @ one)) for one in (vector, best))
        return self.samples * (own - least) / max(noise, np.finfo(float).tiny)
