"""Searches one dictionary at one level of noise for functions that are conserved, or constant over all data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.independence import new_directions
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, problem, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.sparse import LEVERAGES, SIZES, shortest, sparse_vectors, supports
from ndm_apps.plugins.physics.trial import Grounds, Passing, Trial, gradients_at, spanned_by

Array = NDArray[np.float64]

#: Times the weights of samples are adapted to the functions they find.
REWEIGHTED = 2
#: Of what is independent of known laws, so many directions are starts of the search for sparse vectors.
DIRECTIONS = 4
#: Formulas that are tried, at most, each time a dictionary is searched.
CANDIDATES = (DIRECTIONS + LEVERAGES) * len(SIZES)
#: Samples at which gradients are compared.
PROBES = 300


@final
@dataclass(frozen=True)
class Found:
    """A formula found, and how: with which tier, at which level, of which kind.

    ``criterion`` is less for the better of two formulas of one law. ``ties``, ``(terms, numbers)``, makes coefficients
    of few numbers, where the terms hold several laws and some are to be equal in size.
    """

    formula: Formula
    level: Level
    mean: Mean
    tier: str
    criterion: float
    ties: Array | None = None


@final
@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one search, ascending, with the formula of the least of them."""

    tier: str
    exact: bool
    mean: Mean
    eigenvalues: Array
    least: Formula


def null_space(samples: Samples, level: Level, mean: Mean) -> tuple[Problem, Array, Array, Array]:
    """Return the eigenproblem with Sampson's weights, these weights, its eigenvalues and vectors."""
    weights = np.ones(samples.size)
    whole = problem(samples, level.sigma, weights, mean, exact=level.exact)
    eigenvalues, vectors = whole.solve()
    for _ in range(REWEIGHTED):
        kept = vectors[:, eigenvalues < level.kept]
        if kept.shape[1] == 0:
            break
        weights = sampson_weights(samples, kept, level.sigma)
        whole = problem(samples, level.sigma, weights, mean, exact=level.exact)
        eigenvalues, vectors = whole.solve()
    return whole, weights, eigenvalues, vectors


@final
class Search:
    """The search of one dictionary for functions of one kind; what does not depend on known laws is computed once.

    Parameters
    ----------
    grounds
        The dictionary and its samples.
    level
        What counts as conserved.
    tier
        Name of the dictionary, for the record.
    mean
        What to look for: see :mod:`~ndm_apps.plugins.physics.leaf`.
    """

    def __init__(self, grounds: Grounds, level: Level, tier: str, mean: Mean) -> None:
        self.level, self.tier, self.mean = level, tier, mean
        self.whole, weights, eigenvalues, vectors = null_space(grounds.fitting, level, mean)
        self.spectrum = Spectrum(tier, level.exact, mean, eigenvalues, Formula(grounds.dictionary, vectors[:, 0]))
        self.space = vectors[:, eigenvalues < level.kept]
        if self.space.shape[1] and grounds.choosing is not None:
            self.space = _kept_on(grounds.choosing, self.space, level, mean)
        self.grounds = grounds if self.space.shape[1] else None
        self.held = [] if self.grounds is None else grounds.held(self.whole, level.sigma, weights, mean)

    def all(self, known: Sequence[Formula], room: int, expired: Callable[[], bool]) -> list[Found]:
        """Return up to ``room`` functions that are independent of the known ones and of each other."""
        found: list[Found] = []
        while len(found) < room and not expired():
            new = self.next([*known, *(one.formula for one in found)], expired)
            if new is None:
                break
            found.append(new)
        return found

    def next(self, known: Sequence[Formula], expired: Callable[[], bool]) -> Found | None:
        """Return the first function found that is independent of the known ones."""
        if self.grounds is None:
            return None
        grounds, level = self.grounds, self.level
        spanned = spanned_by(known, grounds.probes, level.spreads)
        own = gradients_at(grounds.dictionary, grounds.probes, self.space, level.spreads)
        directions = new_directions(own, spanned, level.new)
        if directions.shape[1] == 0:
            return None
        scale = grounds.fitting.terms.features.std(axis=0)
        held = [one.knowing(known, level, self.mean) for one in self.held]
        trial = Trial(grounds, held, level, self.mean, self.whole, known, spanned)
        candidates = sparse_vectors(scale[:, None] * self.space, directions[:, :DIRECTIONS], level.floor)
        passing = _first_passing(trial, candidates, expired)
        if passing is None:
            return None
        formula = Formula(grounds.dictionary.of(passing.support), passing.vector)
        return Found(formula, level, self.mean, self.tier, passing.criterion)


def _kept_on(choosing: Samples, space: Array, level: Level, mean: Mean) -> Array:
    """Rotate a space to its eigenvectors on other trajectories, and leave out what fitted the first ones only."""
    weights = sampson_weights(choosing, space, level.sigma)
    eigenvalues, rotation = problem(choosing, level.sigma, weights, mean, exact=level.exact).restricted(space).solve()
    return space @ rotation[:, eigenvalues < level.chosen]


def _first_passing(trial: Trial, candidates: Sequence[Array], expired: Callable[[], bool]) -> Passing | None:
    floor = trial.level.floor
    best: Passing | None = None
    for vector in candidates:
        present = int((np.abs(vector) > floor * np.abs(vector).max()).sum())
        if expired() or (best is not None and present >= len(best.support)):
            break
        for support in supports(vector):
            if best is not None and len(support) >= len(best.support):
                break
            # In noise, terms are left out and exchanged when the formula is confirmed.
            shorter = shortest(support, trial.passes) if trial.level.exact else trial.passes(support)
            if shorter is not None:
                fitted = trial.confirmed(shorter[0] if trial.level.exact else support)
                if fitted is not None and (best is None or fitted.criterion < best.criterion):
                    best = fitted
                break
    return best
