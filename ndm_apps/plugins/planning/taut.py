r"""Geodesics of a conformal metric near a first guess: chords, then descent of the energy.

.. math:: E = N \sum_k s(m_k)^2 |x_{k+1} - x_k|^2, \qquad m_k = (x_k + x_{k+1}) / 2

The descent is by the gradient in the Sobolev metric of curves (the inverse of tridiag(-1, 2, -1) applied to the
ordinary one), which moves all of a curve at once.

References
----------
Neuberger, "Sobolev Gradients and Differential Equations", 2nd edition, 2010.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import solveh_banded

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.refused import RefusedMetric

#: Nodes of a relaxed path.
NODES = 100
#: Points of a path between which chords are tried, and how many of them a chord may span.
CORNERS, SPAN = 40, 12
#: Samples of s along a chord, per unit of length.
PER_UNIT = 1.5


def taut(metric: RefusedMetric, ways: list[Array]) -> Array:
    """Return the shortest of the geodesics near some first guesses, (nodes, n).

    A wall is a steep step of s; the descent first meets a gentler one.
    """
    gentle = replace(metric, smooth=3 * metric.smooth)
    found = [relaxed(metric, relaxed(gentle, resampled(shortcut(gentle, way), NODES))) for way in ways]
    return min(found, key=lambda path: length(metric, path))


def length(metric: RefusedMetric, path: Array) -> float:
    """Return the length of a path (nodes, n) in the metric."""
    middle, chord = (path[1:] + path[:-1]) / 2, np.diff(path, axis=0)
    return float((metric.scale(middle) * np.linalg.norm(chord, axis=-1)).sum())


def resampled(path: Array, count: int) -> Array:
    """Return the same path with so many nodes, evenly spaced.

    Examples
    --------
    >>> resampled(np.array([[0.0], [1.0], [4.0]]), 3).ravel().tolist()
    [0.0, 2.0, 4.0]
    """
    along = np.concatenate(([0.0], np.linalg.norm(np.diff(path, axis=0), axis=-1).cumsum()))
    places = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(places, along, column) for column in path.T], axis=-1)


def shortcut(metric: RefusedMetric, path: Array) -> Array:
    """Return the shortest path whose corners are points of a path: the chords between pairs are tried."""
    corners = resampled(path, min(len(path) * 2, CORNERS))
    count = len(corners)
    first, second = np.triu_indices(count, 1)
    first, second = (end[second - first <= SPAN] for end in (first, second))
    gap = np.linalg.norm(corners[second] - corners[first], axis=-1)
    samples = np.maximum(np.ceil(gap * PER_UNIT / metric.unit), 2).astype(int)
    chord = np.repeat(np.arange(len(first)), samples)
    number = np.arange(len(chord)) - np.repeat(samples.cumsum() - samples, samples)
    share = ((number + 0.5) / samples[chord])[:, None]
    s = metric.scale((1 - share) * corners[first][chord] + share * corners[second][chord])
    price = np.full((count, count), np.inf)
    price[first, second] = np.bincount(chord, s) / samples * gap
    best, before = np.zeros(count), np.zeros(count, dtype=int)
    for node in range(1, count):
        through = best[:node] + price[:node, node]
        before[node] = through.argmin()
        best[node] = through[before[node]]
    chain = [count - 1]
    while chain[-1]:
        chain.append(before[chain[-1]])
    return corners[chain[::-1]]


def relaxed(metric: RefusedMetric, path: Array, iterations: int = 60) -> Array:
    """Return a path of less energy near a path (nodes, n), its ends fixed."""
    count = len(path) - 1
    banded = np.stack((np.full(count - 1, -1.0), np.full(count - 1, 2.0))) * 2 * count
    step, (energy, gradient) = 1.0, _energy(metric, path)
    for _ in range(iterations):
        raised = solveh_banded(banded, gradient)
        promise = float((gradient * raised).sum())
        if promise <= 1e-7 * energy:
            break
        while step > 1e-4:
            tried = path.copy()
            tried[1:-1] -= step * raised
            after, slope = _energy(metric, tried)
            if after <= energy - 0.1 * step * promise:
                break
            step /= 3
        else:
            break
        path, energy, gradient, step = tried, after, slope, min(2 * step, 1.0)
    return path


def _energy(metric: RefusedMetric, path: Array) -> tuple[float, Array]:
    """Return the energy, and its gradient by the inner nodes."""
    count = len(path) - 1
    chord = np.diff(path, axis=0)
    s, slope = metric.scale_and_slope((path[1:] + path[:-1]) / 2)
    square = np.square(chord).sum(-1)
    by_middle = (s * square)[:, None] * slope
    by_chord = 2 * (s**2)[:, None] * chord
    return float(count * (s**2 * square).sum()), count * (by_middle[1:] + by_middle[:-1] + by_chord[:-1] - by_chord[1:])
