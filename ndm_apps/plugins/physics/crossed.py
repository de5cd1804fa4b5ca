"""Judges a formula's terms on trajectories that its coefficients were not fitted to, each part of them in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, Residuals, assessed, residuals
from ndm_apps.plugins.physics.background import Background
from ndm_apps.plugins.physics.leaf import Mean, Samples, problem, sampson_weights

Array = NDArray[np.float64]

#: Parts that trajectories are split into; fewer trajectories than twice as many are left out one by one.
FOLDS = 5


def crossed(
    samples: Samples, vector: Array, sigma: Array, mean: Mean, behind: Background | None = None, *, exact: bool = True
) -> Assessment:
    """Return the figures of a formula on each part of the trajectories when the others alone fit its coefficients.

    Parameters
    ----------
    samples
        The terms of the formula on some trajectories.
    vector
        Coefficients fitted to all of them; those of each part are brought to their scale and sign.
    sigma
        Noise of each column.
    mean
        See :mod:`~ndm_apps.plugins.physics.leaf`.
    behind
        Known laws.
    exact
        Whether there is no noise.
    """
    many = len(samples.starts)
    folds = np.arange(many) % (FOLDS if many >= 2 * FOLDS else max(many, 1))
    weights = sampson_weights(samples, vector[:, None], sigma)
    parts = np.empty((4, samples.size))
    for fold in range(folds.max() + 1):
        rest, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if len(rest) == 0:
            rest = own
        among, rows = samples.rows(rest), samples.rows(own)
        fitted = problem(samples.take(rest), sigma, weights[among], mean, exact=exact).solve()[1][:, 0]
        fitted = fitted * (fitted @ vector) / (fitted @ fitted)
        left = samples.take(own)
        one = residuals(left, fitted, sigma, mean, None if behind is None else behind.take(rows))
        parts[:, rows] = one.value, one.distance, one.noise, one.beyond
    return assessed(samples, Residuals(*parts), mean)
