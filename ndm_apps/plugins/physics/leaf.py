r"""How far samples lie from the level sets (leaves) of a function: the one objective of fitting and judging.

Trajectory i lies on one leaf of a conserved H. To first order (Sampson 1982), sample j lies off it by

.. math:: \delta_j^2 = (H(x_j) - \bar H_i)^2 / (\nabla H^T \Sigma \nabla H)

in units of the measurement noise with covariance Sigma. Its mean is 1 for a conserved quantity and grows with the
square of signal to noise for any other; neither the scale of H nor a function of H changes it.

For :math:`H = v \cdot \theta(x)`, the ratio of the means of numerator and denominator (Taubin 1991) is least for the
first vectors of the generalised eigenproblem :math:`W v = \lambda N v`, with W the covariance of the dictionary
:math:`\theta` within trajectories and :math:`N = E[J \Sigma J^T]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from ndm_apps.plugins.physics.dictionary import Dictionary

Array = NDArray[np.float64]

#: Directions of the dictionary with less of the gradient's variance than this are dropped.
_DEGENERATE = 1e-11
#: Samples near a critical point of H count as if its squared gradient were this part of the median at least.
_LEAST_GRADIENT = 0.05
_LAGS = (1, 2, 3)
_LARGEST = 1e300  # written instead of an infinite statistic, which JSON cannot hold


@final
@dataclass(frozen=True)
class Samples:
    """A dictionary and its derivatives on some trajectories.

    Attributes
    ----------
    features
        Shape ``(trajectories, points, terms)``.
    slopes
        Derivatives by each column, shape ``(columns, trajectories, points, terms)``.
    """

    features: Array
    slopes: Array

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.features.shape[0] * self.features.shape[1]

    def take(self, trajectories: NDArray[np.intp]) -> Samples:
        """Return those of some trajectories."""
        return Samples(self.features[trajectories], self.slopes[:, trajectories])

    def upto(self, terms: int) -> Samples:
        """Return those of the first terms of the dictionary."""
        return Samples(self.features[..., :terms], self.slopes[..., :terms])

    def of(self, support: NDArray[np.intp]) -> Samples:
        """Return those of some terms of the dictionary."""
        return Samples(self.features[..., support], self.slopes[..., support])

    def squared_gradient(self, vectors: Array, sigma: Array) -> Array:
        """Return the squared length of gradients in the noise metric, ``(trajectories, points, vectors)``."""
        return np.einsum("j,jmtk->mtk", sigma**2, (self.slopes @ vectors) ** 2)


def evaluate(dictionary: Dictionary, values: Array) -> Samples:
    """Evaluate a dictionary on trajectories of shape ``(trajectories, points, columns)``."""
    slopes = [dictionary.derivative(values, column) for column in range(values.shape[-1])]
    return Samples(dictionary.features(values), np.stack(slopes))


def centred(values: Array, weights: Array, together: bool) -> Array:
    """Return values less their weighted mean: of each trajectory, or of all ``together``."""
    axes = (0, 1) if together else 1
    weights = weights[..., None]
    return values - (weights * values).sum(axes, keepdims=True) / weights.sum(axes, keepdims=True)


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
        scale = 1.0 / np.sqrt(np.maximum(np.diag(self.metric), np.finfo(float).tiny))
        spread, turn = np.linalg.eigh(scale[:, None] * self.metric * scale)
        kept = spread > _DEGENERATE * spread[-1]
        basis = scale[:, None] * turn[:, kept] / np.sqrt(spread[kept])
        root = self.root @ basis
        if root.shape[0] < root.shape[1]:
            root = np.concatenate([root, np.zeros((root.shape[1] - root.shape[0], root.shape[1]))])
        _, singular, vectors = np.linalg.svd(root, full_matrices=False)
        return singular[::-1] ** 2, basis @ vectors[::-1].T


def problem(samples: Samples, sigma: Array, weights: Array, together: bool) -> Problem:
    """Return the eigenproblem of samples with noise ``sigma`` and one weight for each sample."""
    terms = samples.features.shape[-1]
    rows = np.sqrt(weights)[..., None] * centred(samples.features, weights, together)
    metric = np.zeros((terms, terms))
    for slope, noise in zip(samples.slopes, sigma, strict=True):
        flat = slope.reshape(-1, terms)
        metric += noise**2 * (flat * weights.reshape(-1, 1)).T @ flat
    total = weights.sum()
    return Problem(np.linalg.qr(rows.reshape(-1, terms), mode="r") / np.sqrt(total), metric / total)


def sampson_weights(samples: Samples, vectors: Array, sigma: Array) -> Array:
    """Return weights that turn Taubin's ratio of means into Sampson's mean of ratios, for the span of ``vectors``."""
    squared = samples.squared_gradient(vectors, sigma)
    relative = (squared / np.maximum(np.median(squared, axis=(0, 1)), np.finfo(float).tiny)).mean(axis=-1)
    return 1.0 / np.maximum(relative, _LEAST_GRADIENT * max(float(np.median(relative)), np.finfo(float).tiny))


@final
@dataclass(frozen=True)
class Assessment:
    """How one function does on trajectories.

    Attributes
    ----------
    distance
        Mean squared leaf distance in units of the noise.
    autocorrelation
        Largest of its residuals at lags 1 to 3, in size.
    f_statistic
        Variation of trajectory means over what the variation within trajectories lets expect.
    drift
        Mean within-trajectory standard deviation over the standard deviation of trajectory means.
    samples
        How many there were.
    """

    distance: float
    autocorrelation: float
    f_statistic: float
    drift: float
    samples: int


def assess(samples: Samples, vector: Array, sigma: Array, together: bool = False) -> Assessment:
    """Measure how well the combination ``vector`` of the dictionary is conserved (or constant over all, together)."""
    value = samples.features @ vector
    squared = samples.squared_gradient(vector[:, None], sigma)[..., 0]
    squared = np.maximum(squared, _LEAST_GRADIENT * np.median(squared) + np.finfo(float).tiny)
    residual = centred(value[..., None], 1.0 / squared, together)[..., 0] / np.sqrt(squared)
    groups = 1 if together else len(value)
    within, means = value.var(axis=1), value.mean(axis=1)
    between = means.var(ddof=1) if len(means) > 1 else 0.0
    power = max(float((residual**2).mean()), np.finfo(float).tiny)
    return Assessment(
        distance=float((residual**2).sum() / max(residual.size - groups, 1)),
        autocorrelation=max(abs(float((residual[:, lag:] * residual[:, :-lag]).mean())) / power for lag in _LAGS),
        f_statistic=_ratio(value.shape[1] * between, float(within.mean())),
        drift=drift(value),
        samples=value.size,
    )


def drift(values: Array) -> float:
    """Return the mean within-trajectory standard deviation over the standard deviation of trajectory means.

    Examples
    --------
    >>> drift(np.array([[1.0, 1.2], [3.0, 3.2]]))
    0.1...
    """
    return _ratio(float(values.std(axis=1).mean()), float(values.mean(axis=1).std()))


def _ratio(above: float, below: float) -> float:
    return min(above / below, _LARGEST) if below > 0 else (_LARGEST if above > 0 else 0.0)


def least_f(wanted: float, trajectories: int, samples: int) -> float:
    """Return the F that must be passed: ``wanted``, or what chance exceeds once in a million if that is more."""
    return max(wanted, float(f_distribution.isf(1e-6, max(trajectories - 1, 1), max(samples - trajectories, 1))))
