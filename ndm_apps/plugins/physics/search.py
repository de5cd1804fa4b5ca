"""Searches one dictionary at one level of noise for functions that are conserved, or constant over all data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.independence import new_directions, novelty
from ndm_apps.plugins.physics.leaf import Assessment, Problem, Samples, assess, least_f, problem, sampson_weights
from ndm_apps.plugins.physics.noise import RELATIVE_ERROR
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.sparse import Support, shortest, sparse_vectors, supports

Array = NDArray[np.float64]

#: Noise that is taken as given where none is found, in units of a column's standard deviation.
EXACT_NOISE = 1e-6
#: Eigenvalues below these are looked at: at no noise (integration errors count), and in noise.
KEPT_EXACT, KEPT_NOISY = 25.0, 1.6
#: ... and below these on the trajectories that choose.
CHOSEN_EXACT, CHOSEN_NOISY = 25.0, 2.0
#: Entries below this part of the largest do not count in a formula.
FLOOR_EXACT, FLOOR_NOISY = 1e-6, 0.02
#: Parts of gradients outside the span of what is known that are worth a search.
NEW_EXACT, NEW_NOISY = 1e-5, 0.02
INDEPENDENT_EXACT = 1e-3
#: An independent formula's gradient must leave the span by this many times the noise at least.
INDEPENDENT_PER_NOISE = 3.0
REWEIGHTED = 2
PROBES = 300


@final
@dataclass(frozen=True)
class Level:
    """What counts as conserved.

    Attributes
    ----------
    sigma
        Noise of each column.
    exact
        Whether there is none.
    estimated_from
        Number of samples that the noise was estimated from.
    settings
        Tolerances.
    """

    sigma: Array
    exact: bool
    estimated_from: int
    settings: SpectralSettings

    @property
    def kept(self) -> float:
        """Largest eigenvalue that is looked at."""
        return KEPT_EXACT if self.exact else KEPT_NOISY

    @property
    def independence(self) -> float:
        """Least novelty of a formula."""
        if self.exact:
            return INDEPENDENT_EXACT
        return max(self.settings.independence, INDEPENDENT_PER_NOISE * float(np.median(self.sigma)))

    def distance_limit(self, samples: int, terms: int, fitted: int) -> float:
        """Largest mean squared leaf distance of what is conserved."""
        if self.exact:
            return KEPT_EXACT
        chance = float(np.sqrt(2.0 / samples + RELATIVE_ERROR**2 / self.estimated_from))
        return 1.0 + 3.0 * chance + self.settings.distance + 2.0 * terms / fitted

    def failures(self, found: Assessment, trajectories: int, terms: int, fitted: int, together: bool) -> list[str]:
        """Return the tests that a function does not pass, in words."""
        failed = []
        if found.distance > (limit := self.distance_limit(found.samples, terms, fitted)):
            failed.append(f"leaf distance {found.distance:.3g} > {limit:.3g}")
        if self.exact and not together and found.drift > self.settings.exact_drift:
            failed.append(f"drift {found.drift:.3g} > {self.settings.exact_drift:.3g}")
        if not self.exact:
            limit = self.settings.whiteness + 4.0 / float(np.sqrt(found.samples))
            if found.autocorrelation > limit:
                failed.append(f"residuals correlate in time: {found.autocorrelation:.3g} > {limit:.3g}")
        if not together:
            limit = least_f(self.settings.f_statistic, trajectories, found.samples)
            if found.f_statistic < limit:
                failed.append(f"trajectories do not differ: F {found.f_statistic:.3g} < {limit:.3g}")
        return failed


@final
@dataclass(frozen=True)
class Found:
    """A function found: terms of the dictionary, their coefficients, and how.

    ``together`` marks what is constant over all data.
    """

    support: Support
    coefficients: Array
    level: Level
    together: bool
    degree: int

    def vector(self, terms: int) -> Array:
        """Return the coefficients of all terms."""
        vector = np.zeros(terms)
        vector[self.support] = self.coefficients
        return vector


@final
@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one search, ascending, with the vector of the least of them."""

    degree: int
    exact: bool
    together: bool
    eigenvalues: Array
    best: Array


def gradients(samples: Samples, vectors: Array, probes: NDArray[np.intp]) -> Array:
    """Return gradients at some samples, ``(probes, columns, vectors)``."""
    columns, _, _, terms = samples.slopes.shape
    slopes = samples.slopes.reshape(columns, -1, terms)[:, probes]
    return (slopes @ vectors).transpose(1, 0, 2)


def search(
    fitting: Samples,
    choosing: Samples,
    level: Level,
    known: Sequence[Found],
    *,
    degree: int,
    together: bool,
    room: int,
    probes: NDArray[np.intp],
) -> tuple[list[Found], Spectrum]:
    """Find up to ``room`` functions that are independent of the known ones and of each other.

    Parameters
    ----------
    fitting, choosing
        The dictionary on the trajectories that coefficients are fitted to, and on those that choose the terms.
    level
        What counts as conserved.
    known
        What was found before.
    degree
        Degree of the dictionary, for the record.
    together
        Search for what is constant over all data, instead of along each trajectory.
    room
        Most that can be found.
    probes
        Numbers of fitted samples at which gradients are compared.
    """
    whole, eigenvalues, space = _null_space(fitting, level, together)
    spectrum = Spectrum(degree, level.exact, together, eigenvalues, space[:, 0])
    space = space[:, eigenvalues < level.kept]
    if space.shape[1] == 0 or room <= 0:
        return [], spectrum
    space = _kept_on(choosing, space, level, together)
    found: list[Found] = []
    terms = fitting.features.shape[-1]
    while space.shape[1] and len(found) < room:
        before = np.stack([one.vector(terms) for one in (*known, *found)], axis=1) if known or found else None
        spanned = np.empty((len(probes), len(fitting.slopes), 0))
        if before is not None:
            spanned = gradients(fitting, before, probes)
        directions = new_directions(gradients(fitting, space, probes), spanned, NEW_EXACT if level.exact else NEW_NOISY)
        if directions.shape[1] == 0:
            break
        trial = _Trial(fitting, choosing, level, together, whole, spanned, probes)
        support = _first_passing(trial, space, directions, fitting.features.reshape(-1, terms).std(axis=0))
        if support is None:
            break
        found.append(Found(support, trial.fit(support), level, together, degree))
    return found, spectrum


def _null_space(samples: Samples, level: Level, together: bool) -> tuple[Problem, Array, Array]:
    weights = np.ones(samples.features.shape[:2])
    whole = problem(samples, level.sigma, weights, together)
    eigenvalues, vectors = whole.solve()
    for _ in range(REWEIGHTED):
        kept = vectors[:, eigenvalues < level.kept]
        if kept.shape[1] == 0:
            break
        weights = sampson_weights(samples, kept, level.sigma)
        whole = problem(samples, level.sigma, weights, together)
        eigenvalues, vectors = whole.solve()
    return whole, eigenvalues, vectors


def _kept_on(choosing: Samples, space: Array, level: Level, together: bool) -> Array:
    """Rotate a space to its eigenvectors on other trajectories, and leave out what fitted the first ones only."""
    weights = sampson_weights(choosing, space, level.sigma)
    eigenvalues, rotation = problem(choosing, level.sigma, weights, together).restricted(space).solve()
    return space @ rotation[:, eigenvalues < (CHOSEN_EXACT if level.exact else CHOSEN_NOISY)]


@final
@dataclass(frozen=True)
class _Trial:
    """Fits formulas of given terms, and tests them on the trajectories that choose."""

    fitting: Samples
    choosing: Samples
    level: Level
    together: bool
    whole: Problem
    spanned: Array
    probes: NDArray[np.intp]

    def fit(self, support: Support) -> Array:
        _, vectors = self.whole.of(support).solve()
        return vectors[:, 0]

    def passes(self, support: Support) -> Array | None:
        """Return the importance of each term if the formula passes and is new, else None."""
        vector = self.fit(support)
        chosen = self.choosing.of(support)
        outcome = assess(chosen, vector, self.level.sigma, self.together)
        trajectories = len(chosen.features)
        if self.level.failures(outcome, trajectories, len(support), self.fitting.size, self.together):
            return None
        gradient = gradients(self.fitting.of(support), vector[:, None], self.probes)[..., 0]
        if novelty(gradient, self.spanned) <= self.level.independence:
            return None
        return vector * chosen.features.reshape(-1, len(support)).std(axis=0)


def _first_passing(trial: _Trial, space: Array, directions: Array, scale: Array) -> Support | None:
    floor = FLOOR_EXACT if trial.level.exact else FLOOR_NOISY
    best: Support | None = None
    for vector in sparse_vectors(scale[:, None] * space, directions, floor):
        present = int((np.abs(vector) > floor * np.abs(vector).max()).sum())
        if best is not None and present >= len(best):
            break
        for support in supports(vector):
            if best is not None and len(support) >= len(best):
                break
            shorter = shortest(support, trial.passes)
            if shorter is not None:
                if best is None or len(shorter[0]) < len(best):
                    best = shorter[0]
                break
    return best
