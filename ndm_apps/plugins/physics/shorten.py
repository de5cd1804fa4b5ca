"""Shortens a noisy law: without the terms that only absorb noise, and with one number for equal coefficients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import residuals
from ndm_apps.plugins.physics.canonical import combined
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.leaf import Samples, evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.simplicity import fewest_sizes, ties
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import polished

Array = NDArray[np.float64]

#: A term stays if it lowers the squared leaf distances by more than this many standard errors over trajectories.
CERTAIN = 3.0


def shortened(one: Found, pooled: Trajectories) -> Found:
    r"""Return a law without the terms that it does as well without, and with equal coefficients where it does as well.

    The gain of a term is what it takes off the sum of squared leaf distances of each trajectory, :math:`g_i`. It is
    left out if what remains passes all tests of a law, and

    .. math:: \sum_i g_i - \log n \le 3 \sqrt{m\, \mathrm{var}(g_i)}

    for n samples of m trajectories: Schwarz's criterion does not ask for it, or does so by no more than chance. A term
    of the law helps on all trajectories; one that makes up for the noise of others (of 1/r near 0) helps on few.

    Which coefficients are equal in size Schwarz's criterion tells
    (:func:`~ndm_apps.plugins.physics.simplicity.fewest_sizes`): they are one number that is fitted.

    Parameters
    ----------
    one
        A law. At no noise, and where coefficients are tied already, it stays as it is.
    pooled
        The trajectories that fit and choose.
    """
    level = one.level
    if level.exact or one.ties is not None:
        return one
    kept = np.arange(len(one.formula.coefficients))
    dictionary = one.formula.dictionary
    samples = evaluate(dictionary, pooled, level.sigma, noisy=True)
    vector = polished(samples, one.formula.coefficients, level.sigma, one.mean, exact=False)
    before = _by_trajectory(samples, vector, one)
    while len(kept) > 1:
        part = samples.of(kept)
        if _ambiguous(part, vector, one):
            break
        for least in np.argsort(np.abs(vector) * part.terms.features.std(axis=0), kind="stable"):
            fewer = np.delete(kept, least)
            rest = samples.of(fewer)
            fitted = polished(rest, np.delete(vector, least), level.sigma, one.mean, exact=False)
            after = _by_trajectory(rest, fitted, one)
            if _spared(after - before, samples.size) and _passes(rest, fitted, one):
                kept, vector, before = fewer, fitted, after
                break
        else:
            break
    if len(kept) < len(dictionary):
        one = replace(one, formula=Formula(dictionary.of(kept), vector))
    return _equalled(one, samples.of(kept), vector)


def _equalled(one: Found, samples: Samples, vector: Array) -> Found:
    if _ambiguous(samples, vector, one):
        return one
    level, dictionary = one.level, one.formula.dictionary
    weights = sampson_weights(samples, vector[:, None], level.sigma)
    free = problem(samples, level.sigma, weights, one.mean, exact=False)
    unit, groups = fewest_sizes(dictionary, vector, free, level, samples.size)
    equal = unit[:, None] * ties(vector, groups)
    if equal.shape[1] == len(vector):
        return one
    tied = combined(samples, equal)
    fitted = polished(tied, np.linalg.pinv(equal) @ vector, level.sigma, one.mean, exact=False)
    if not _passes(tied, fitted, one):
        return one
    return replace(one, formula=Formula(dictionary, equal @ fitted), ties=equal)


def _by_trajectory(samples: Samples, vector: Array, one: Found) -> Array:
    distance = residuals(samples, vector, one.level.sigma, one.mean).distance
    return samples.sums(distance**2)


def _spared(gains: Array, samples: int) -> bool:
    chance = float(np.sqrt(len(gains)) * gains.std(ddof=1)) if len(gains) > 1 else 0.0
    return float(gains.sum()) - float(np.log(samples)) <= CERTAIN * chance


def _passes(samples: Samples, vector: Array, one: Found) -> bool:
    tested = crossed(samples, vector, one.level.sigma, one.mean, exact=False)
    return not one.level.failures(tested, len(samples.starts), len(vector), samples.size, one.mean)


def _ambiguous(samples: Samples, vector: Array, one: Found) -> bool:
    """Return whether the terms hold a second law: leaving one out would choose among them at random."""
    level: Level = one.level
    weights = sampson_weights(samples, vector[:, None], level.sigma)
    eigenvalues = problem(samples, level.sigma, weights, one.mean, exact=False).solve()[0]
    limit = level.distance_limit(samples.size, len(vector), samples.size)
    return bool((eigenvalues < limit).sum() > 1)
