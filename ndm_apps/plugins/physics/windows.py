r"""Fewer samples with less noise: cubics in windows, read where their errors are independent and least biased.

A polynomial of degree 3 is fitted to each window of a trajectory; windows do not overlap. What it says are four
independent numbers: its values at the Gauss nodes :math:`\tau_i` of the window's own times :math:`t_s`,

.. math::
    \sum_s P_k(t_s)\, t_s\, P_l(t_s) = \sum_i U_{ki} \tau_i U_{li}, \qquad
    x(\tau_i) = \frac{\sum_{ks} U_{ki} P_k(t_s)\, x_s}{\sum_{ks} U_{ki} P_k(t_s)},

with :math:`P_0 \dots P_3` orthonormal on the window: in the basis that makes time diagonal (Golub and Welsch 1969),
errors of different nodes do not correlate, however irregular the times. The four together know as much as the fit, and
the next power of time in the motion is no error of theirs, since :math:`P_4` vanishes there. The noise falls with the
root of a quarter of the window's length, and its effects to second order, which bias laws and hide them, with the
square of that.

The window is the longest at which what :math:`P_5` and :math:`P_6` explain beyond it is noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.noise import unwrapped
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Values that are read of a window: those of a cubic.
NODES = 4
#: Orders of polynomials that show what the nodes leave out; of order ``NODES`` they leave nothing.
ABOVE = (5, 6)
#: Lengths of windows that are tried.
SIZES = (7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 100)
#: Windows in most trajectories.
WINDOWS = 8
#: Motion that is left out adds at most this to the variance of the noise, beside so many standard errors of the test.
LEFT_OUT, CERTAIN = 0.05, 3.0


@final
@dataclass(frozen=True)
class Averaged:
    """Trajectories with fewer samples.

    Attributes
    ----------
    data
        At the nodes; angles are continuous in time.
    sigma
        The noise of each column, in the root mean square over nodes.
    window
        Samples in a window; 1 if these are the samples themselves.
    """

    data: Trajectories
    sigma: Array
    window: int


def averaged(data: Trajectories, sigma: Array) -> Averaged:
    """Return the trajectories in the longest windows in which cubics leave out noise only.

    Parameters
    ----------
    data
        Measured trajectories.
    sigma
        Noise of each column.

    Examples
    --------
    >>> t = np.linspace(0, 10, 400)
    >>> noisy = np.sin(t) + 0.05 * np.random.default_rng(0).standard_normal(t.shape)
    >>> found = averaged(Trajectories(("x",), frozenset(), t, noisy[:, None], np.array([0])), np.array([0.05]))
    >>> error = found.data.values[:, 0] - np.sin(found.data.time)
    >>> bool(found.window >= 32 and found.sigma[0] < 0.02 and abs(error.std() / found.sigma[0] - 1) < 0.3)
    True
    """
    values = unwrapped(data)
    best = Averaged(data, sigma, 1)
    for size in SIZES:
        if size * WINDOWS > np.median(data.lengths):
            break
        nodes, left = _at_nodes(data, values, sigma, size)
        if (left > LEFT_OUT).any():
            break
        best = nodes
    return best


def _at_nodes(data: Trajectories, values: Array, sigma: Array, size: int) -> tuple[Averaged, Array]:
    """Return the values at nodes, and by how much motion left out adds to the variance of each column's noise."""
    first, sizes, owner = _windows(data, size)
    order, times, found, inflations, rests = [], [], [], [], []
    for length in np.unique(sizes).tolist():
        among = np.flatnonzero(sizes == length)
        rows = first[among][:, None] + np.arange(length)
        time, value, inflation, rest = _gauss(data.time[rows], values[rows])
        order.append(np.repeat(among, time.shape[1]))
        times.append(time.ravel())
        found.append(value.reshape(-1, values.shape[1]))
        inflations.append(inflation.ravel())
        rests.append(rest)
    order_of = np.argsort(np.concatenate(order), kind="stable")
    owners = owner[np.concatenate(order)[order_of]]
    thinned = Trajectories(
        state=data.state,
        angles=data.angles,
        time=np.concatenate(times)[order_of],
        values=np.concatenate(found)[order_of],
        starts=np.searchsorted(owners, np.arange(len(data))),
    )
    rest = np.concatenate(rests)
    if len(rest) == 0:
        return Averaged(thinned, sigma, size), np.full(len(sigma), np.inf)
    # In units of the noise of the four values together.
    power = (rest**2).sum(axis=1).mean(axis=0) / np.maximum(sigma**2, np.finfo(float).tiny)
    error = np.sqrt(2.0 * len(ABOVE) / len(rest))
    left = (power - len(ABOVE) - CERTAIN * error) / NODES
    return Averaged(thinned, sigma * np.sqrt(np.concatenate(inflations).mean()), size), left


def _windows(data: Trajectories, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the first sample, the length and the trajectory of windows of ``size`` samples or a few more."""
    first, sizes, owner = [], [], []
    for number, (start, length) in enumerate(zip(data.starts.tolist(), data.lengths.tolist(), strict=True)):
        cuts = np.linspace(0, length, max(1, length // size) + 1).astype(np.intp)
        first.append(start + cuts[:-1])
        sizes.append(np.diff(cuts))
        owner.append(np.full(len(cuts) - 1, number))
    return np.concatenate(first), np.concatenate(sizes), np.concatenate(owner)


def _gauss(time: Array, values: Array) -> tuple[Array, Array, Array, Array]:
    """Return times and values at nodes, the variance there for noise of variance 1, and coefficients above.

    Parameters
    ----------
    time
        Shape ``(windows, samples)``.
    values
        Shape ``(windows, samples, columns)``.
    """
    samples = time.shape[1]
    middle = time.mean(axis=1, keepdims=True)
    half = np.maximum(np.abs(time - middle).max(axis=1, keepdims=True), np.finfo(float).tiny)
    place = (time - middle) / half
    orders = min(max(ABOVE) + 1, samples)
    basis, _ = np.linalg.qr(place[:, :, None] ** np.arange(orders))
    coefficients = basis.transpose(0, 2, 1) @ values
    low = basis[:, :, : min(NODES, samples)]
    nodes, turn = np.linalg.eigh(low.transpose(0, 2, 1) @ (place[:, :, None] * low))
    # Those of a constant 1: the roots of the weights of the Gauss rule.
    roots = np.einsum("nki,nsk->ni", turn, low)
    at_nodes = turn.transpose(0, 2, 1) @ coefficients[:, : low.shape[2]]
    above = coefficients[:, list(ABOVE)] if samples > max(ABOVE) else np.empty((0, len(ABOVE), values.shape[2]))
    return middle + half * nodes, at_nodes / roots[:, :, None], 1.0 / roots**2, above
