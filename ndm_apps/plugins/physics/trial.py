"""Fits formulas of given terms, and tests them on trajectories that took no part in the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, Residuals, assess, assessed, residuals
from ndm_apps.plugins.physics.background import Background, background
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.sparse import Support
from ndm_apps.plugins.physics.swap import improved, information
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Times the weights of samples are adapted to one formula.
POLISHED = 3
#: A formula that misses the limit of the distance by no more than this factor is fitted with weights of its own.
NEAR = 1.5
#: ... and is not tested if it exceeds that in the fit by more than this.
HOPELESS = 2.0
#: What is constant over all data changes by the noise to second order by less than this part of that to first.
CURVED = 0.2


@final
@dataclass(frozen=True)
class Held:
    """Trajectories that formulas are tested on, and the problem of those that they are then fitted to."""

    fitting: Problem
    testing: Samples
    behind: Background | None = None

    def knowing(self, known: Sequence[Formula], level: Level, mean: Mean) -> Held:
        """Return the same with known laws in the background; at no noise, they hide nothing."""
        if level.exact:
            return self
        return replace(self, behind=background(self.testing, known, level.sigma, mean, noisy=True))


@final
@dataclass(frozen=True)
class Grounds:
    """What a search rests on: the samples of one dictionary, and which of them fit and test.

    Attributes
    ----------
    dictionary
        The dictionary.
    fitting
        Its samples on the trajectories that are fitted.
    choosing
        ... and on those that choose; None if each trajectory is left out in turn instead.
    pooled
        All of these trajectories.
    probes
        Samples at which gradients are compared, ``(probes, columns)``.
    """

    dictionary: Dictionary
    fitting: Samples
    choosing: Samples | None
    pooled: Trajectories
    probes: Array

    def held(self, whole: Problem, sigma: Array, weights: Array, mean: Mean) -> list[Held]:
        """Return what formulas are tested on."""
        if self.choosing is not None:
            return [Held(whole, self.choosing)]
        folds = []
        for number in range(len(self.fitting.starts)):
            rest = np.delete(np.arange(len(self.fitting.starts)), number)
            others, chosen = self.fitting.take(rest), self.fitting.rows(rest)
            folds.append(Held(problem(others, sigma, weights[chosen], mean), self.fitting.take(np.array([number]))))
        return folds


def gradients_at(dictionary: Dictionary, probes: Array, vectors: Array, spreads: Array) -> Array:
    """Return gradients in units of the columns' spreads, ``(probes, columns, vectors)``."""
    with np.errstate(all="ignore"):
        return dictionary.evaluate(probes).gradients(vectors) * spreads[:, None]


def spanned_by(known: Sequence[Formula], probes: Array, spreads: Array) -> Array:
    """Return the gradients of known formulas in units of the columns' spreads, ``(probes, columns, known)``."""
    found = [formula.gradient(probes) * spreads for formula in known]
    stacked = np.stack(found, axis=-1) if found else np.empty((len(probes), len(spreads), 0))
    return np.where(np.isfinite(stacked), stacked, 0.0)


def curvature(dictionary: Dictionary, vector: Array, values: Array, sigma: Array) -> float:
    r"""Return how much noise changes a function to second order, beside to first order (median over samples).

    .. math:: \tfrac12 |\sum_j \sigma_j^2 \partial_j^2 H| \; / \; |\nabla H|_\Sigma
    """
    with np.errstate(all="ignore"):
        plain = dictionary.evaluate(values)
        second = (plain.features - dictionary.evaluate(values, sigma).features) @ vector
        first = np.linalg.norm(plain.gradients(vector[:, None])[..., 0] * sigma, axis=1)
        ratio = np.abs(second) / np.maximum(first, np.finfo(float).tiny)
    return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else np.inf


def polished(samples: Samples, vector: Array, sigma: Array, mean: Mean, *, exact: bool) -> Array:
    """Fit the coefficients again with the weights that suit this very function."""
    for _ in range(POLISHED):
        weights = sampson_weights(samples, vector[:, None], sigma)
        vector = problem(samples, sigma, weights, mean, exact=exact).solve()[1][:, 0]
    return vector


@final
@dataclass(frozen=True)
class Passing:
    """Terms that passed, their coefficients, and the criterion by which forms of one law are compared."""

    support: Support
    vector: Array
    criterion: float


@final
@dataclass(frozen=True)
class Trial:
    """Fits formulas of given terms, and tests them on trajectories that took no part in the fit."""

    grounds: Grounds
    held: Sequence[Held]
    level: Level
    mean: Mean
    whole: Problem
    known: Sequence[Formula]
    spanned: Array

    def fit(self, support: Support) -> tuple[Array, float]:
        """Return the coefficients of some terms, and the squared leaf distance that they fit with."""
        eigenvalues, vectors = self.whole.of(support).solve()
        return vectors[:, 0], float(eigenvalues[0])

    def outcome(self, support: Support, vector: Array) -> Assessment:
        """Return the figures on trajectories that are left out of the fit, or of ``vector`` if there is one set."""
        if len(self.held) == 1:
            only = self.held[0]
            return assess(only.testing.of(support), vector, self.level.sigma, self.mean, only.behind)
        parts = []
        for fold in self.held:
            own = fold.fitting.of(support).solve()[1][:, 0]
            own = own * np.sign(own @ (self.whole.of(support).metric @ vector) or 1.0)
            one = residuals(fold.testing.of(support), own, self.level.sigma, self.mean, fold.behind)
            parts.append(np.stack([one.value, one.distance, one.noise, one.beyond]))
        return assessed(self.grounds.fitting, Residuals(*np.concatenate(parts, axis=1)), self.mean)

    def passes(self, support: Support) -> Array | None:
        """Return the importance of each term if the formula passes and is new, else None."""
        if not self.level.exact and len(support) > self.level.most_terms(self.mean):
            return None
        vector, fitted = self.fit(support)
        # What does not even fit is not tested on other trajectories.
        if fitted > HOPELESS * self.level.distance_limit(self.grounds.fitting.size, 0, self.grounds.fitting.size):
            return None
        tested = self.outcome(support, vector)
        limit = self.level.distance_limit(tested.samples, len(support), self.grounds.fitting.size, tested.error)
        if tested.distance > limit:
            if self.level.exact or len(self.held) > 1 or tested.distance > NEAR * limit:
                return None
            vector = polished(self.grounds.fitting.of(support), vector, self.level.sigma, self.mean, exact=False)
            tested = self.outcome(support, vector)
        trajectories = sum(len(fold.testing.starts) for fold in self.held)
        if not self._sound(support, vector, tested, trajectories):
            return None
        return vector * self.grounds.fitting.terms.features[:, support].std(axis=0)

    def confirmed(self, support: Support) -> Passing | None:
        """Return the formula with the terms exchanged and fitted as suits best, if it passes on all trajectories."""
        exact = self.level.exact
        for terms in [support] if exact else self._variants(support):
            data = self.grounds.pooled
            samples = evaluate(self.grounds.dictionary.of(terms), data, self.level.sigma, noisy=not exact)
            sigma = self.level.sigma
            vector = polished(samples, self.fit(terms)[0], sigma, self.mean, exact=exact)
            behind = None if exact else background(samples, self.known, sigma, self.mean, noisy=True)
            tested = crossed(samples, vector, sigma, self.mean, behind, exact=exact)
            if self._sound(terms, vector, tested, len(samples.starts)):
                criterion = len(terms) if exact else information(tested.left, len(terms), tested.samples)
                return Passing(terms, vector, criterion)
        return None

    def _variants(self, support: Support) -> list[Support]:
        better = improved(support, self.whole, self.grounds.fitting.size)
        return [support] if np.array_equal(better, support) else [better, support]

    def _sound(self, support: Support, vector: Array, tested: Assessment, trajectories: int) -> bool:
        if self.level.failures(tested, trajectories, len(support), self.grounds.fitting.size, self.mean):
            return False
        dictionary = self.grounds.dictionary.of(support)
        if self.mean == "all" and not self.level.exact:
            # Near a zero of its gradient, any function is constant.
            if curvature(dictionary, vector, self.grounds.probes, self.level.sigma) > CURVED:
                return False
        gradient = gradients_at(dictionary, self.grounds.probes, vector[:, None], self.level.spreads)[..., 0]
        return novelty(gradient, self.spanned, typical=True) > self.level.independence
