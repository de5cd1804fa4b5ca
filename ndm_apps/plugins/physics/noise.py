"""How noisy measured trajectories are, judged from the measurements alone."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOWEST_ORDER, HIGHEST_ORDER = 3, 9
#: The estimated variance has this relative standard deviation over the root of the number of samples, as measured on
#: five shipped systems (seeds 1000 to 1029): the estimate itself is off by 1.4 % at 12000 samples.
RELATIVE_ERROR = 3.0
_MEDIAN_OF_NORMAL = 0.6744897501960817  # of the absolute value of a standard normal


def estimate_noise(values: Array, is_angle: list[bool]) -> Array:
    r"""Estimate the standard deviation of white measurement noise in each column.

    .. math:: \hat\sigma_j = \min_{q=3..9} \mathrm{median}|\Delta^q x_j| / (0.6745 \sqrt{\binom{2q}{q}})

    High differences in time remove a smooth motion and keep the noise. Motion that is fast for the sampling interval
    makes the estimate too large.

    Parameters
    ----------
    values
        Shape ``(trajectories, points, columns)``, evenly spaced in time.
    is_angle
        The columns measured modulo 2 pi.

    Examples
    --------
    >>> t = np.linspace(0, 10, 2000)[None, :, None]
    >>> noisy = np.sin(t) + 0.01 * np.random.default_rng(0).standard_normal(t.shape)
    >>> round(float(estimate_noise(noisy, [False])[0]), 3)
    0.01
    """
    smooth = np.where(is_angle, np.unwrap(values, axis=1), values)
    estimates = []
    for order in range(LOWEST_ORDER, min(HIGHEST_ORDER, values.shape[1] - 1) + 1):
        differences = np.abs(np.diff(smooth, n=order, axis=1)).reshape(-1, values.shape[2])
        estimates.append(np.median(differences, axis=0) / (_MEDIAN_OF_NORMAL * np.sqrt(comb(2 * order, order))))
    return np.min(estimates, axis=0)
