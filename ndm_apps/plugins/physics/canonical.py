"""Brings laws to a canonical basis: of all combinations of their terms that are conserved, the simplest to write.

A search returns the first formulas that pass, such as the mixture of two energies. What is conserved is a space; here
its simplest vectors are taken one after the other, as long as they are independent as functions. Products of laws are
laws, too: to the space belong those that have terms in common with the laws found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Evaluated, Formula, Term
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.kinds import Kinds, kinds
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.products import expanded, monomial, products
from ndm_apps.plugins.physics.search import PROBES, Found
from ndm_apps.plugins.physics.simplicity import EQUAL_EXACT, EQUAL_NOISY, cost, symbols, units
from ndm_apps.plugins.physics.special_vectors import determined, of_one_size
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import polished, spanned_by

Array = NDArray[np.float64]

#: Part of a vector, in units of the terms', that is no product of laws.
NEW = 0.05
#: Most formulas of one space that are fitted, and most of all that are tested.
MOST_FITTED, MOST_TESTED = 40, 60


def canonical(found: Sequence[Found], pooled: Trajectories) -> list[Found]:
    """Return as many laws as were found, in the simplest form.

    Parameters
    ----------
    found
        What was found, functionally independent.
    pooled
        The trajectories that fit and choose.

    Returns
    -------
    list of Found
        Those of one level and kind together, simplest first. Where fewer independent ones pass than were found, those
        found.
    """
    groups: dict[tuple[bool, Mean], list[Found]] = {}
    for one in found:
        groups.setdefault((one.level.exact, one.mean), []).append(one)
    chosen: list[Found] = []
    for own in groups.values():
        simplest = _simplest(own, [one.formula for one in chosen], pooled)
        chosen += simplest if len(simplest) == len(own) else own
    return chosen


def combined(samples: Samples, ties: Array) -> Samples:
    """Return the samples of combinations of terms, ``ties`` of shape ``(terms, combinations)``."""
    slopes = []
    for numbers, slope in samples.terms.slopes:
        present = np.flatnonzero((ties[numbers] != 0.0).any(axis=0))
        slopes.append((present, slope @ ties[np.ix_(numbers, present)]))
    terms = Evaluated(samples.terms.features @ ties, tuple(slopes))
    return Samples(terms, samples.values, samples.time, samples.starts)


@final
@dataclass(frozen=True)
class _Candidate:
    """Some terms of a dictionary, with equal coefficients (``ties``) or not, and how simple they are to write."""

    samples: Samples
    dictionary: Dictionary
    support: NDArray[np.intp]
    vector: Array
    ties: Array | None
    cost: tuple[float, ...]


@final
@dataclass(frozen=True)
class _Measure:
    """What the simplicity of formulas is measured by."""

    level: Level
    mean: Mean
    kinds: Kinds
    atoms: int

    def cost(self, dictionary: Dictionary, vector: Array, free: Problem | None, samples: int) -> tuple[float, ...]:
        return cost(dictionary, vector, free, self.level, samples, self.atoms, self.kinds)


def _simplest(own: Sequence[Found], known: Sequence[Formula], pooled: Trajectories) -> list[Found]:
    level, mean = own[0].level, own[0].mean
    atoms = len({atom for one in own for atom in one.formula.dictionary.atoms})
    measure = _Measure(level, mean, kinds(pooled, level.sigma), atoms)
    laws = [one.formula for one in own]
    others = list(products(laws)) if mean == "each" else []
    parts = [*_components([*laws, *others]), *_bilinear(laws)]
    candidates = [one for part in parts for one in _candidates(part, others, measure, pooled)]
    candidates.sort(key=lambda one: one.cost)
    chosen: list[Found] = []
    probes = pooled.values[np.linspace(0, len(pooled.values) - 1, PROBES).astype(int)]
    for one in candidates[:MOST_TESTED]:
        if len(chosen) == len(own):
            break
        spanned = spanned_by([*known, *(other.formula for other in chosen)], probes, level.spreads)
        defined = one.dictionary.valid(probes, level.sigma)
        gradient = Formula(one.dictionary, one.vector).gradient(probes[defined]) * level.spreads
        if novelty(gradient, spanned[defined], typical=True) <= level.independence:
            continue
        fitted = _passing(one.samples.of(one.support), one.vector, one.ties, level, mean)
        if fitted is not None:
            law = replace(
                own[0], formula=Formula(one.dictionary, fitted), tier=_tier(own, one.dictionary), ties=one.ties
            )
            chosen.append(_exponential(law, pooled))
    return chosen


def _tier(own: Sequence[Found], dictionary: Dictionary) -> str:
    """Return the tier of the law that has most of a formula's terms."""
    terms = set(dictionary.terms)
    return max(own, key=lambda one: len(terms & set(one.formula.dictionary.terms))).tier


def _exponential(law: Found, pooled: Trajectories) -> Found:
    """Return a sum of logarithms as the product that it is the logarithm of, if that passes the tests of a law, too."""
    product = monomial(law.formula)
    if product is not None and law.mean == "each":
        samples = evaluate(product.dictionary, pooled, law.level.sigma, noisy=not law.level.exact)
        if _passing(samples, np.ones(1), None, law.level, law.mean) is not None:
            return replace(law, formula=product, ties=None)
    return law


def _passing(samples: Samples, start: Array, ties: Array | None, level: Level, mean: Mean) -> Array | None:
    """Return the fitted coefficients of some terms if they pass the tests of a law."""
    if ties is not None:
        samples, start = combined(samples, ties), np.linalg.pinv(ties) @ start
    vector = polished(samples, start, level.sigma, mean, exact=level.exact)
    tested = crossed(samples, vector, level.sigma, mean, exact=level.exact)
    if level.failures(tested, len(samples.starts), len(vector), samples.size, mean):
        return None
    return vector if ties is None else ties @ vector


def _components(laws: Sequence[Formula]) -> list[list[Formula]]:
    """Return laws in groups that share terms, directly or by others."""
    parts: list[tuple[set[Term], list[Formula]]] = []
    for one in laws:
        terms, members = set(expanded(one.dictionary).terms), [one]
        rest = []
        for part in parts:
            if part[0] & terms:
                terms, members = terms | part[0], part[1] + members
            else:
                rest.append(part)
        parts = [*rest, (terms, members)]
    return [members for _, members in parts]


def _bilinear(laws: Sequence[Formula]) -> list[list[Formula]]:
    """Return pairs of laws without a common term whose sum may be shorter: products of two of the same factors."""
    found = []
    for one, other in combinations(laws, 2):
        terms = [set(law.dictionary.terms) for law in (one, other)]
        products_of_two = all(len(term) == 2 for law in terms for term in law)
        if products_of_two and not terms[0] & terms[1] and set(one.dictionary.atoms) == set(other.dictionary.atoms):
            found.append([one, other])
    return found


def _candidates(
    laws: Sequence[Formula], others: Sequence[Formula], measure: _Measure, pooled: Trajectories
) -> Iterator[_Candidate]:
    """Yield the formulas of some laws' terms that may be simplest, and these laws themselves, but no sums of others."""
    union = Dictionary(
        laws[0].dictionary.columns, tuple(dict.fromkeys(term for one in laws for term in one.dictionary.terms))
    )
    for dictionary in dict.fromkeys((union, expanded(union))):
        try:
            samples = evaluate(dictionary, pooled, measure.level.sigma, noisy=not measure.level.exact)
        except ValueError:
            continue
        yield from _of(dictionary, samples, laws, others, measure)


def _of(
    dictionary: Dictionary, samples: Samples, laws: Sequence[Formula], others: Sequence[Formula], measure: _Measure
) -> Iterator[_Candidate]:
    level = measure.level
    known = _vectors_of(laws, dictionary)
    whole, space, limit = _conserved(samples, known, measure)
    scale = samples.terms.features.std(axis=0)
    depending = np.linalg.qr(scale[:, None] * _vectors_of(others, dictionary))[0]
    found: dict[bytes, tuple[int, Array, bool]] = {}
    for vectors, tied in determined(space, known, scale):
        scaled = vectors * scale
        rest = scaled - scaled @ depending @ depending.T
        new = np.linalg.norm(rest, axis=1) > NEW * np.linalg.norm(scaled, axis=1)
        vectors, importance = vectors[new], np.abs(scaled[new])
        vectors = np.where(importance > level.floor * importance.max(axis=1, keepdims=True), vectors, 0.0)
        if tied:
            equal = EQUAL_EXACT if level.exact else EQUAL_NOISY
            vectors = of_one_size(vectors, units(dictionary), equal)
        for number in np.unique(vectors if tied else vectors != 0.0, axis=0, return_index=True)[1].tolist():
            vector = vectors[number]
            key = vector.tobytes() if tied else (vector != 0.0).tobytes()
            if key not in found:
                found[key] = (symbols(dictionary.terms, np.sign(vector)), vector, tied)
    for _, vector, tied in sorted(found.values(), key=lambda one: one[0])[:MOST_FITTED]:
        support = np.flatnonzero(vector)
        part, vector, free = dictionary.of(support), vector[support], None
        if not level.exact and not tied:
            among = whole.of(support)
            eigenvalues, fitted = among.solve()
            if len(eigenvalues) == 1 or eigenvalues[1] >= limit:
                vector, free = fitted[:, 0], among
        ties = vector[:, None] if tied else None
        yield _Candidate(samples, part, support, vector, ties, measure.cost(part, vector, free, samples.size))


def _vectors_of(formulas: Sequence[Formula], dictionary: Dictionary) -> Array:
    """Return the formulas that a dictionary has all terms of, as vectors, ``(terms, formulas)``."""
    places = {term: n for n, term in enumerate(dictionary.terms)}
    known = [one for one in formulas if set(one.dictionary.terms) <= set(places)]
    vectors = np.zeros((len(dictionary), len(known)))
    for n, one in enumerate(known):
        vectors[[places[term] for term in one.dictionary.terms], n] = one.coefficients
    return vectors


def _conserved(samples: Samples, known: Array, measure: _Measure) -> tuple[Problem, Array, float]:
    """Return the eigenproblem, the combinations of terms that are conserved, and the limit of their eigenvalues."""
    level, vectors = measure.level, known
    weights = np.ones(samples.size)
    limit = level.kept
    if not level.exact:
        limit = level.distance_limit(samples.size, samples.terms.features.shape[1], samples.size)
    for _ in range(2):
        if vectors.shape[1]:
            weights = sampson_weights(samples, vectors, level.sigma)
        whole = problem(samples, level.sigma, weights, measure.mean, exact=level.exact)
        eigenvalues, basis = whole.solve()
        if not vectors.shape[1]:
            vectors = basis[:, :1]
    return whole, basis[:, eigenvalues < limit], limit
