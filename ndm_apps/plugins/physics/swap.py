"""Improves a formula term by term: in noise, the terms that a sparse vector shows first need not be the right ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.leaf import Problem
from ndm_apps.plugins.physics.sparse import Support

Array = NDArray[np.float64]

#: Of formulas up to this long, two terms are tried to be replaced by one.
SHORT = 10
#: Longer formulas are left as they are.
LONGEST = 24
#: Terms are added only if the criterion falls by so much more: functions of known laws would fit the noise.
ADDED = 30.0
ROUNDS = 6
_RIDGE = 1e-10


def information(distance: float, terms: int, samples: int) -> float:
    r"""Return Schwarz's criterion of a formula, up to a constant: :math:`n \lambda + k \log n`.

    Parameters
    ----------
    distance
        Mean squared leaf distance in units of the noise.
    terms
        k.
    samples
        n.
    """
    return samples * distance + terms * float(np.log(samples))


def improved(support: Support, whole: Problem, samples: int) -> Support:
    """Leave terms out, exchange and add them, for as long as Schwarz's criterion decreases.

    Parameters
    ----------
    support
        Terms to begin with.
    whole
        The eigenproblem of the whole dictionary.
    samples
        How many samples there are.
    """
    covariance = whole.root.T @ whole.root
    scale = 1.0 / np.sqrt(np.maximum(np.diag(whole.metric), np.finfo(float).tiny))
    covariance, metric = scale[:, None] * covariance * scale, scale[:, None] * whole.metric * scale
    best = _criterion(support[None], covariance, metric, samples)[0]
    for _ in range(ROUNDS if len(support) <= LONGEST else 0):
        support, best = _pruned(support, best, covariance, metric, samples)
        trials = [_neighbours(support, len(scale), fewer) for fewer in ((1, 2) if len(support) <= SHORT else (1,))]
        found, lowest = None, best
        for group in (*trials, _more(support, len(scale))):
            if group.size:
                criteria = _criterion(group, covariance, metric, samples)
                criteria = criteria + (ADDED if group.shape[1] > len(support) else 0.0)
                n = int(np.argmin(criteria))
                if criteria[n] < lowest - 1e-9:
                    found, lowest = group[n], criteria[n]
        if found is None:
            break
        support = np.sort(found)
        best = _criterion(support[None], covariance, metric, samples)[0]
    return support


def _pruned(support: Support, best: float, covariance: Array, metric: Array, samples: int) -> tuple[Support, float]:
    """Leave terms out one by one for as long as the criterion decreases."""
    while len(support) > 1:
        fewer = np.array([np.delete(support, n) for n in range(len(support))])
        criteria = _criterion(fewer, covariance, metric, samples)
        n = int(np.argmin(criteria))
        if criteria[n] >= best - 1e-9:
            break
        support, best = fewer[n], criteria[n]
    return support, best


def _criterion(supports: NDArray[np.intp], covariance: Array, metric: Array, samples: int) -> Array:
    size = supports.shape[1]
    rows, columns = supports[:, :, None], supports[:, None, :]
    factor = np.linalg.inv(np.linalg.cholesky(metric[rows, columns] + _RIDGE * np.eye(size)))
    least = np.linalg.eigvalsh(factor @ covariance[rows, columns] @ factor.transpose(0, 2, 1))[:, 0]
    return samples * least + size * np.log(samples)


def _others(support: Support, terms: int) -> NDArray[np.intp]:
    return np.setdiff1d(np.arange(terms), support)


def _neighbours(support: Support, terms: int, fewer: int) -> NDArray[np.intp]:
    """Return the supports with some terms left out and one other added."""
    if len(support) < fewer:
        return np.empty((0, 0), dtype=np.intp)
    kept = np.array([np.delete(support, out) for out in map(list, combinations(range(len(support)), fewer))])
    others = _others(support, terms)
    return np.concatenate([np.repeat(kept, len(others), axis=0), np.tile(others, len(kept))[:, None]], axis=1)


def _more(support: Support, terms: int) -> NDArray[np.intp]:
    others = _others(support, terms)
    return np.concatenate([np.tile(support, (len(others), 1)), others[:, None]], axis=1)
