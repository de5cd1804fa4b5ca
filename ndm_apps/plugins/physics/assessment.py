"""Judges a function on trajectories: how far samples lie from its level sets, and whether the rest looks like noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f as f_distribution

from ndm_apps.plugins.physics.background import Background
from ndm_apps.plugins.physics.leaf import LEAST_GRADIENT, Mean, Samples, centred

Array = NDArray[np.float64]

_MEDIAN_SQUARE = 0.454936423119573  # of a standard normal variable
_CUT = 9.0
_LAGS = (1, 2, 3)
_LARGEST = 1e300  # written instead of an infinite statistic, which JSON cannot hold


@final
@dataclass(frozen=True)
class Assessment:
    """How one function does on trajectories.

    Attributes
    ----------
    distance
        Mean squared leaf distance in units of the noise.
    error
        Its standard error, as it varies between trajectories.
    beyond
        Median of the same by what known laws leave of the noise, over that of normal noise.
    left
        Mean of these squares, each cut at 9: by this, forms of one law are compared, with any known laws in them.
    autocorrelation
        Largest of its residuals at lags 1 to 3, in size.
    f_statistic
        Variation of trajectory means over what the variation within trajectories lets expect, both in units of the
        noise.
    separation
        Median squared distance of a sample's leaf from the middle one, in units of the noise there.
    drift
        Mean within-trajectory standard deviation over the standard deviation of trajectory means.
    samples
        How many there were.
    """

    distance: float
    error: float
    beyond: float
    left: float
    autocorrelation: float
    f_statistic: float
    separation: float
    drift: float
    samples: int


@final
@dataclass(frozen=True)
class Residuals:
    """One function on samples.

    Attributes
    ----------
    value
        Its values.
    distance
        Leaf distances in units of the noise.
    noise
        The noise of its value.
    beyond
        Leaf distances by what known laws leave of the noise; ``distance`` if none are known.
    """

    value: Array
    distance: Array
    noise: Array
    beyond: Array


def residuals(
    samples: Samples, vector: Array, sigma: Array, mean: Mean, behind: Background | None = None
) -> Residuals:  # fmt: skip
    """Return the leaf distance of each sample, also beyond known laws ``behind``."""
    value = samples.terms.features @ vector
    gradient = samples.terms.gradients(vector[:, None])[..., 0] * sigma
    squared = _clipped((gradient**2).sum(axis=1))
    rest = centred(samples, value[:, None], 1.0 / squared, mean)[:, 0]
    noise = np.sqrt(squared)
    beyond = rest / noise
    if behind is not None:
        left, unexplained = behind.removed(rest, gradient)
        beyond = left / np.sqrt(_clipped(unexplained))
    return Residuals(value, rest / noise, noise, beyond)


def _clipped(squared: Array) -> Array:
    return np.maximum(squared, LEAST_GRADIENT * np.median(squared) + np.finfo(float).tiny)


def assess(
    samples: Samples, vector: Array, sigma: Array, mean: Mean = "each", behind: Background | None = None
) -> Assessment:
    """Measure how well the combination ``vector`` of the dictionary is conserved (or what else ``mean`` says)."""
    return assessed(samples, residuals(samples, vector, sigma, mean, behind), mean)


def assessed(samples: Samples, one: Residuals, mean: Mean = "each") -> Assessment:
    """Return the figures of a function."""
    value, residual, noise = one.value, one.distance, one.noise
    groups = {"all": 1, "each": len(samples.starts), "line": 2 * len(samples.starts)}[mean]
    means = samples.sums(value) / samples.lengths
    deviations = np.sqrt(samples.sums((value - samples.spread(means)) ** 2) / samples.lengths)
    # By the noise there: where it is large, as of 1/r near 0, a few samples would outweigh all others.
    weights = samples.sums(1.0 / noise**2)
    leaves = samples.sums(value / noise**2) / weights
    between = float((weights * (leaves - np.average(leaves, weights=weights)) ** 2).sum()) / max(len(leaves) - 1, 1)
    within = float(samples.sums(((value - samples.spread(leaves)) / noise) ** 2).sum()) / samples.size
    power = max(float((residual**2).mean()), np.finfo(float).tiny)
    each = samples.sums(residual**2) / samples.lengths
    error = float(each.std() / np.sqrt(max(len(each) - 1, 1)))
    owner = samples.owner
    correlations = [0.0]
    for lag in _LAGS:
        together = owner[lag:] == owner[:-lag]
        if together.any():
            correlations.append(abs(float((residual[lag:] * residual[:-lag])[together].mean())) / power)
    return Assessment(
        distance=float((residual**2).sum() / max(residual.size - groups, 1)),
        error=error,
        beyond=float(np.median(one.beyond**2)) / _MEDIAN_SQUARE,
        left=float(np.minimum(one.beyond**2, _CUT).mean()),
        autocorrelation=max(correlations),
        f_statistic=_ratio(between, within),
        separation=float(np.median((samples.spread(leaves - np.median(leaves)) / noise) ** 2)),
        drift=_ratio(float(deviations.mean()), float(means.std())),
        samples=value.size,
    )


def drift(values: Array, starts: NDArray[np.intp]) -> float:
    """Return the mean within-trajectory standard deviation over the standard deviation of trajectory means.

    Examples
    --------
    >>> drift(np.array([1.0, 1.2, 3.0, 3.2]), np.array([0, 2]))
    0.1...
    """
    lengths = np.diff(starts, append=len(values))
    means = np.add.reduceat(values, starts) / lengths
    rest = values - np.repeat(means, lengths)
    return _ratio(float(np.sqrt(np.add.reduceat(rest**2, starts) / lengths).mean()), float(means.std()))


def _ratio(above: float, below: float) -> float:
    return min(above / below, _LARGEST) if below > 0 else (_LARGEST if above > 0 else 0.0)


def least_f(wanted: float, trajectories: int, samples: int, luck: float) -> float:
    """Return the F to be passed: ``wanted``, or what chance exceeds with probability ``luck`` if that is more."""
    return max(wanted, float(f_distribution.isf(luck, max(trajectories - 1, 1), max(samples - trajectories, 1))))
