"""How noisy measured trajectories are, judged from the measurements alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

LOWEST_ORDER, HIGHEST_ORDER = 3, 20
#: Differences of an order are compared on so many windows of samples at most.
MOST_WINDOWS = 20_000
#: The estimated variance has this relative standard deviation over the root of the number of samples, as measured on
#: five shipped systems (seeds 1000 to 1029): the estimate itself is off by 1.4 % at 12000 samples.
RELATIVE_ERROR = 3.0
_MEDIAN_OF_NORMAL = 0.6744897501960817  # of the absolute value of a standard normal


def estimate_noise(data: Trajectories) -> Array:
    r"""Estimate the standard deviation of white measurement noise in each column.

    .. math:: \hat\sigma_j^{(q)} = \mathrm{median}|w^{(q)} \cdot x_j| / 0.6745, \qquad |w^{(q)}| = 1

    High divided differences in time (weights :math:`w^{(q)}` of :math:`q + 1` samples that cancel every polynomial of
    lower degree, whatever the times) remove a smooth motion and keep the noise. Of the orders 3 to 20, the lowest is
    taken that is within chance of the least: low orders have more windows, and the least of many estimates is too
    small. Motion that is fast for the sampling interval makes the estimate too large.

    Examples
    --------
    >>> t = np.linspace(0, 10, 2000)
    >>> noisy = np.sin(t) + 0.01 * np.random.default_rng(0).standard_normal(t.shape)
    >>> data = Trajectories(("x",), frozenset(), t, noisy[:, None], np.array([0]))
    >>> round(float(estimate_noise(data)[0]), 3)
    0.01
    """
    smooth = unwrapped(data)
    owner = np.repeat(np.arange(len(data)), data.lengths)
    found = []
    for order in range(LOWEST_ORDER, HIGHEST_ORDER + 1):
        if len(smooth) <= order:
            break
        first = np.flatnonzero(owner[order:] == owner[:-order])
        if len(first) == 0:
            break
        first = first[:: -(-len(first) // MOST_WINDOWS)]
        samples = first[:, None] + np.arange(order + 1)
        differences = np.einsum("ns,nsj->nj", _weights(data.time[samples]), smooth[samples])
        found.append(np.median(np.abs(differences), axis=0) / _MEDIAN_OF_NORMAL)
    if not found:
        return np.full(len(data.state), np.nan)
    estimates = np.array(found)
    likely = estimates <= (1.0 + RELATIVE_ERROR / np.sqrt(len(smooth))) * estimates.min(axis=0)
    return np.take_along_axis(estimates, likely.argmax(axis=0)[None], axis=0)[0]


def _weights(times: Array) -> Array:
    """Return unit weights of divided differences, ``(windows, samples)``; windows with equal times are left out."""
    gaps = times[:, :, None] - times[:, None, :]
    samples = times.shape[1]
    # In units of the window's mean interval, so that the products neither overflow nor vanish.
    gaps = gaps / (np.ptp(times, axis=1) / (samples - 1) + np.finfo(float).tiny)[:, None, None]
    gaps[:, np.arange(samples), np.arange(samples)] = 1.0
    weights = 1.0 / np.maximum(np.abs(gaps), 1e-6).prod(axis=2)
    weights[:, 1::2] *= -1.0
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def unwrapped(data: Trajectories) -> Array:
    """Return the values with angles continuous in time, jumps of a turn taken out."""
    values = data.values.copy()
    for start, length in zip(data.starts.tolist(), data.lengths.tolist(), strict=True):
        part = slice(start, start + length)
        values[part, data.is_angle] = np.unwrap(values[part, data.is_angle], axis=0)
    return values
