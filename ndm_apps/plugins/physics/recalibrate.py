r"""How noisy columns are, judged from what a law leaves: motion that is fast for the sampling is taken for noise.

Along a trajectory, a conserved H changes by the noise only: its squared leaf distance at a sample is

.. math:: \frac{(H - \bar H)^2}{\sum_j \sigma_j^2 (\partial_j H)^2} \approx
    \sum_j f_j x_j, \qquad x_j = \frac{\sigma_j^2 (\partial_j H)^2}{\sum_k \sigma_k^2 (\partial_k H)^2},

if the variance of the noise of column j is :math:`f_j \sigma_j^2`. A regression gives the :math:`f_j`. What is not
quite conserved only adds to the left side, so that they are too large rather than too small.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from ndm_apps.plugins.physics.assessment import residuals
from ndm_apps.plugins.physics.leaf import Mean, evaluate
from ndm_apps.plugins.physics.level import EXACT_NOISE, Level
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import CURVED, curvature, polished

Array = NDArray[np.float64]

#: The noise is recalibrated if a law's squared leaf distance, which should be 1, is less than this.
TOO_SMALL = 0.7
#: Columns differ from the mean by no more than this factor: by how much, a law's gradient may not tell.
FACTOR = 5.0
ROUNDS = 5
_EACH: Mean = "each"


def recalibrated(one: Found, data: Trajectories) -> Level:
    """Return the level of a law with the noise of its columns as the law shows it, if that is clearly less.

    Parameters
    ----------
    one
        A law found in noise.
    data
        The trajectories that fit and choose.
    """
    level, vector, dictionary = one.level, one.formula.coefficients, one.formula.dictionary
    probes = data.values[:: -(-len(data.values) // 300)]
    for _ in range(ROUNDS):
        samples = evaluate(dictionary, data, level.sigma, noisy=True)
        vector = polished(samples, vector, level.sigma, _EACH, exact=False)
        squares = residuals(samples, vector, level.sigma, _EACH).distance ** 2
        mean = float(squares.mean())
        if mean > TOO_SMALL or curvature(dictionary, vector, probes, level.sigma) > CURVED:
            break
        gradients = (samples.terms.gradients(vector[:, None])[..., 0] * level.sigma) ** 2
        own = np.flatnonzero(gradients.any(axis=0))
        shares = gradients[:, own] / np.maximum(gradients.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        # Where columns cannot be told apart, they share the mean.
        rows = np.concatenate([shares, np.sqrt(2.0) * np.eye(len(own))])
        wanted = np.concatenate([squares, np.full(len(own), np.sqrt(2.0) * mean)])
        factors = lsq_linear(rows, wanted, (mean / FACTOR, min(FACTOR * mean, 1.0))).x
        sigma = level.sigma.copy()
        sigma[own] = np.maximum(sigma[own] * np.sqrt(factors), EXACT_NOISE * level.spreads[own])
        level = replace(level, sigma=sigma)
    return level
