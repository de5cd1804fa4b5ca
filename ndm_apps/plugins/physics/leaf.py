r"""How far samples lie from the level sets (leaves) of a function: the one objective of fitting and judging.

Trajectory i lies on one leaf of a conserved H. To first order (Sampson 1982), sample j lies off it by

.. math:: \delta_j^2 = (H(x_j) - \bar H_i)^2 / (\nabla H^T \Sigma \nabla H)

in units of the measurement noise with covariance Sigma. Its mean is 1 for a conserved quantity and grows with the
square of signal to noise for any other; neither the scale of H nor a function of H changes it.

For :math:`H = v \cdot \theta(x)`, the ratio of the means of numerator and denominator (Taubin 1991) is least for the
first vectors of the generalised eigenproblem :math:`W v = \lambda N v`, with W the covariance of the dictionary
:math:`\theta` within trajectories and :math:`N = E[J \Sigma J^T]`.

The mean that is taken off tells what is looked for: the mean of each trajectory for laws, that of all data for
constraints, a straight line in time along each trajectory for what grows at a constant rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.engine.slow import least_change
from ndm_apps.plugins.physics.dictionary import Dictionary, Evaluated
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]
#: What is taken off: the mean of each trajectory, of all data, or a line in time along each trajectory.
Mean = Literal["each", "all", "line"]

#: Samples near a critical point of H count as if its squared gradient were this part of the median at least.
LEAST_GRADIENT = 0.05
#: Fewest samples of a trajectory that are of use.
_FEWEST = 4


@final
@dataclass(frozen=True)
class Samples:
    """A dictionary and its derivatives on the samples of some trajectories at which it is defined.

    Attributes
    ----------
    terms
        The dictionary there.
    values
        The samples themselves, ``(samples, columns)``.
    time, starts
        As in :class:`~ndm_apps.plugins.physics.trajectories.Trajectories`.
    """

    terms: Evaluated
    values: Array
    time: Array
    starts: NDArray[np.intp]

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.time)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """Samples of each trajectory."""
        return np.diff(self.starts, append=self.size)

    @property
    def owner(self) -> NDArray[np.intp]:
        """Number of the trajectory of each sample."""
        return np.repeat(np.arange(len(self.starts)), self.lengths)

    def rows(self, trajectories: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the numbers of the samples of some trajectories."""
        ends = self.starts + self.lengths
        return np.concatenate([np.arange(self.starts[n], ends[n]) for n in trajectories.tolist()])

    def take(self, trajectories: NDArray[np.intp]) -> Samples:
        """Return those of some trajectories."""
        rows = self.rows(trajectories)
        slopes = tuple((terms, slope[rows]) for terms, slope in self.terms.slopes)
        starts = np.concatenate([[0], np.cumsum(self.lengths[trajectories])[:-1]]).astype(np.intp)
        return Samples(Evaluated(self.terms.features[rows], slopes), self.values[rows], self.time[rows], starts)

    def of(self, support: NDArray[np.intp]) -> Samples:
        """Return those of some terms of the dictionary."""
        place = np.full(self.terms.features.shape[1], -1, dtype=np.intp)
        place[support] = np.arange(len(support))
        slopes = []
        for terms, slope in self.terms.slopes:
            among = place[terms] >= 0
            slopes.append((place[terms[among]], slope[:, among]))
        return Samples(Evaluated(self.terms.features[:, support], tuple(slopes)), self.values, self.time, self.starts)

    def squared_gradient(self, vectors: Array, sigma: Array) -> Array:
        """Return the squared length of gradients in the noise metric, ``(samples, vectors)``."""
        total = np.zeros((self.size, vectors.shape[1]))
        for noise, (terms, slope) in zip(sigma, self.terms.slopes, strict=True):
            if len(terms):
                total += (noise * (slope @ vectors[terms])) ** 2
        return total

    def sums(self, values: Array) -> Array:
        """Return sums over each trajectory."""
        return np.add.reduceat(values, self.starts, axis=0)

    def spread(self, per_trajectory: Array) -> Array:
        """Return one row for each sample from one for each trajectory."""
        return np.repeat(per_trajectory, self.lengths, axis=0)


def evaluate(dictionary: Dictionary, data: Trajectories, sigma: Array, *, noisy: bool) -> Samples:
    """Evaluate a dictionary on trajectories; samples at which a factor is not defined are left out.

    Raises
    ------
    ValueError
        Hardly any trajectory has samples left.
    """
    good = dictionary.valid(data.values, sigma)
    counts = np.add.reduceat(good.astype(int), data.starts)
    kept = counts >= _FEWEST
    if kept.sum() < 1:
        raise ValueError("the dictionary is defined at hardly any sample")
    good &= np.repeat(kept, data.lengths)
    starts = np.concatenate([[0], np.cumsum(counts[kept])[:-1]]).astype(np.intp)
    values = data.values[good]
    return Samples(dictionary.evaluate(values, sigma if noisy else None), values, data.time[good], starts)


def centred(samples: Samples, values: Array, weights: Array, mean: Mean) -> Array:
    """Return values, ``(samples, any)``, less their weighted mean of the kind asked for."""
    weights = weights[:, None]
    if mean == "all":
        return values - (weights * values).sum(axis=0) / weights.sum()
    total = np.maximum(samples.sums(weights), np.finfo(float).tiny)
    rest = values - samples.spread(samples.sums(weights * values) / total)
    if mean == "each":
        return rest
    time = samples.time[:, None]
    time = time - samples.spread(samples.sums(weights * time) / total)
    power = np.maximum(samples.sums(weights * time**2), np.finfo(float).tiny)
    return rest - time * samples.spread(samples.sums(weights * time * rest) / power)


@final
@dataclass(frozen=True)
class Problem:
    """The eigenproblem of some samples: ``root`` is R of W = R'R (kept as a root: squaring would cost half the digits).

    ``metric`` is N.
    """

    root: Array
    metric: Array

    def restricted(self, vectors: Array) -> Problem:
        """Return the problem on the span of vectors."""
        return Problem(self.root @ vectors, vectors.T @ self.metric @ vectors)

    def of(self, support: NDArray[np.intp]) -> Problem:
        """Return the problem on some terms of the dictionary."""
        return Problem(self.root[:, support], self.metric[np.ix_(support, support)])

    def solve(self) -> tuple[Array, Array]:
        """Return the eigenvalues, ascending, and the vectors as columns (v'Nv = 1)."""
        return least_change(self.root, self.metric)


def problem(samples: Samples, sigma: Array, weights: Array, mean: Mean, *, exact: bool = True) -> Problem:
    """Return the eigenproblem of samples with noise ``sigma`` and one weight for each sample.

    Unless ``exact``, its root is that of the squared problem: faster, and as good in noise.
    """
    terms = samples.terms.features.shape[1]
    rows = np.sqrt(weights)[:, None] * centred(samples, samples.terms.features, weights, mean)
    metric = np.zeros((terms, terms))
    for (numbers, slope), noise in zip(samples.terms.slopes, sigma, strict=True):
        if len(numbers):
            metric[np.ix_(numbers, numbers)] += noise**2 * (slope * weights[:, None]).T @ slope
    total = weights.sum()
    # Columns of one length first: their scales may differ by many orders.
    scale = np.sqrt(np.maximum(np.diag(metric), np.finfo(float).tiny))
    if exact:
        root = np.linalg.qr(rows / scale, mode="r") * scale
    else:
        squares, turn = np.linalg.eigh((rows / scale).T @ (rows / scale))
        root = np.sqrt(np.maximum(squares, 0.0))[:, None] * turn.T * scale
    return Problem(root / np.sqrt(total), metric / total)


def sampson_weights(samples: Samples, vectors: Array, sigma: Array) -> Array:
    """Return weights that turn Taubin's ratio of means into Sampson's mean of ratios, for the span of ``vectors``."""
    squared = samples.squared_gradient(vectors, sigma)
    relative = (squared / np.maximum(np.median(squared, axis=0), np.finfo(float).tiny)).mean(axis=-1)
    return 1.0 / np.maximum(relative, LEAST_GRADIENT * max(float(np.median(relative)), np.finfo(float).tiny))
