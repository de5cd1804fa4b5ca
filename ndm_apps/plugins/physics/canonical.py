"""Brings laws to a canonical basis: of all combinations of their terms that are conserved, the simplest to write.

A search returns the first formulas that pass, such as the mixture of two energies. What is conserved is a space; here
its simplest vectors are taken one after the other, as long as they are independent as functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, log2
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Evaluated, Formula, Term
from ndm_apps.plugins.physics.formula import simplest_between
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.search import PROBES, Found
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import polished, spanned_by

Array = NDArray[np.float64]

#: Most vectors that are compared; of larger spaces, the laws stay as they are.
MOST_VECTORS = 6000
#: ... and most that are fitted and tested.
MOST_TESTED = 60
#: Coefficients this near to each other, relatively, may be equal.
EQUAL_EXACT, EQUAL_NOISY = 1e-6, 0.02


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
    """Terms of a dictionary, tied or not, and how simple they are: less is simpler."""

    dictionary: Dictionary
    support: NDArray[np.intp]
    vector: Array
    ties: Array | None
    cost: tuple[float, ...]


def _simplest(own: Sequence[Found], known: Sequence[Formula], pooled: Trajectories) -> list[Found]:
    level, mean = own[0].level, own[0].mean
    terms = len({term for one in own for term in one.formula.dictionary.terms})
    candidates = [candidate for part in _components(own) for candidate in _candidates(part, pooled, terms)]
    candidates.sort(key=lambda one: one.cost)
    chosen: list[Found] = []
    probes = pooled.values[np.linspace(0, len(pooled.values) - 1, PROBES).astype(int)]
    for one in candidates[:MOST_TESTED]:
        if len(chosen) == len(own):
            break
        dictionary = one.dictionary.of(one.support)
        spanned = spanned_by([*known, *(other.formula for other in chosen)], probes, level.spreads)
        defined = dictionary.valid(probes, level.sigma)
        gradient = Formula(dictionary, one.vector).gradient(probes[defined]) * level.spreads
        if novelty(gradient, spanned[defined], typical=True) <= level.independence:
            continue
        fitted = _passing(dictionary, one, level, mean, pooled)
        if fitted is not None:
            formula = Formula(dictionary, fitted)
            chosen.append(replace(own[0], formula=formula, tier=_tier(own, dictionary), ties=one.ties))
    return chosen


def _tier(own: Sequence[Found], dictionary: Dictionary) -> str:
    """Return the tier of the law that has most of a formula's terms."""
    terms = set(dictionary.terms)
    return max(own, key=lambda one: len(terms & set(one.formula.dictionary.terms))).tier


def _passing(
    dictionary: Dictionary, one: _Candidate, level: Level, mean: Mean, pooled: Trajectories
) -> Array | None:  # fmt: skip
    """Return the fitted coefficients of a candidate if it passes the tests of a law."""
    samples = evaluate(dictionary, pooled, level.sigma, noisy=not level.exact)
    start = one.vector
    if one.ties is not None:
        samples, start = combined(samples, one.ties), np.linalg.pinv(one.ties) @ start
    vector = polished(samples, start, level.sigma, mean, exact=level.exact)
    tested = crossed(samples, vector, level.sigma, mean, exact=level.exact)
    if level.failures(tested, len(samples.starts), len(vector), samples.size, mean):
        return None
    return vector if one.ties is None else one.ties @ vector


def _components(own: Sequence[Found]) -> list[list[Found]]:
    """Return the laws in groups that share terms, directly or by others."""
    parts: list[tuple[set[Term], list[Found]]] = []
    for one in own:
        terms, members = set(_expanded(one.formula.dictionary).terms), [one]
        rest = []
        for part in parts:
            if part[0] & terms:
                terms, members = terms | part[0], part[1] + members
            else:
                rest.append(part)
        parts = [*rest, (terms, members)]
    return [members for _, members in parts]


def _expanded(dictionary: Dictionary) -> Dictionary:
    """Return a dictionary with whole powers of differences written out as polynomials."""
    terms: list[Term] = []
    for term in dictionary.terms:
        atom = term[0]
        if len(term) == 1 and atom.kind == "difference" and atom.power > 0 and atom.power.is_integer():
            one, other = (Atom("column", (column,)) for column in sorted(atom.columns))
            degree = int(atom.power)
            terms += [(one,) * (degree - n) + (other,) * n for n in range(degree + 1)]
        else:
            terms.append(term)
    return Dictionary(dictionary.columns, tuple(dict.fromkeys(terms)))


def _candidates(own: Sequence[Found], pooled: Trajectories, terms: int) -> Iterator[_Candidate]:
    """Yield the formulas of some laws' terms that may be simplest, and these laws themselves.

    ``terms`` is the number of terms of all laws.
    """
    columns = own[0].formula.dictionary.columns
    union = Dictionary(columns, tuple(dict.fromkeys(term for one in own for term in one.formula.dictionary.terms)))
    size = len(pooled.values)
    for one in own:
        part, vector = one.formula.dictionary, one.formula.coefficients
        yield _Candidate(part, np.arange(len(part)), vector, None, _cost(part, vector, one.level, size, terms))
    for dictionary in dict.fromkeys((union, _expanded(union))):
        yield from _of(dictionary, own, pooled, terms)


def _of(dictionary: Dictionary, own: Sequence[Found], pooled: Trajectories, terms: int) -> Iterator[_Candidate]:
    level, mean = own[0].level, own[0].mean
    try:
        samples = evaluate(dictionary, pooled, level.sigma, noisy=not level.exact)
    except ValueError:
        return
    space = _conserved(samples, own, dictionary, level, mean)
    scale = samples.terms.features.std(axis=0)
    seen: set[tuple[int, ...]] = set()
    for minimal in (True, False):
        for vector in _vectors(space, scale, ties=not minimal):
            importance = np.abs(vector) * scale
            support = np.flatnonzero(importance > level.floor * importance.max())
            key = tuple(support.tolist())
            if key in seen:
                continue
            if minimal:
                seen.add(key)
            part = dictionary.of(support)
            ties = None if minimal else _ties(vector[support], level)
            if minimal or (ties is not None and ties.shape[1] == 1):
                cost = _cost(part, vector[support], level, samples.size, terms)
                yield _Candidate(dictionary, support, vector[support], ties, cost)
                seen.add(key)


def _conserved(samples: Samples, own: Sequence[Found], dictionary: Dictionary, level: Level, mean: Mean) -> Array:
    """Return the combinations of terms that are conserved as well as the laws found."""
    places = {term: n for n, term in enumerate(dictionary.terms)}
    known = [one for one in own if set(one.formula.dictionary.terms) <= set(places)]
    weights = np.ones(samples.size)
    vectors = np.zeros((len(dictionary), len(known)))
    for n, one in enumerate(known):
        vectors[[places[term] for term in one.formula.dictionary.terms], n] = one.formula.coefficients
    limit = level.kept if level.exact else level.distance_limit(samples.size, len(dictionary), samples.size)
    for _ in range(2):
        if vectors.shape[1]:
            weights = sampson_weights(samples, vectors, level.sigma)
        whole: Problem = problem(samples, level.sigma, weights, mean, exact=level.exact)
        eigenvalues, basis = whole.solve()
        if not vectors.shape[1]:
            vectors = basis[:, : len(own)]
    return basis[:, eigenvalues < limit]


def _vectors(space: Array, scale: Array, *, ties: bool) -> Iterator[Array]:
    """Yield the vectors of a space some of whose entries are 0 or, with ``ties``, equal: enough to determine one."""
    terms, size = space.shape
    if size == 0 or (size == 1 and ties):
        return
    conditions = [space[n] * scale[n] for n in range(terms)]
    if ties:
        for one, other in combinations(range(terms), 2):
            unit = np.sqrt(scale[one] * scale[other])
            conditions += [(space[one] - space[other]) * unit, (space[one] + space[other]) * unit]
    if comb(len(conditions), size - 1) > MOST_VECTORS:
        return
    # In an orthonormal basis, so that no condition is lost in rounding.
    _, triangle = np.linalg.qr(scale[:, None] * space)
    inverse = np.linalg.pinv(triangle)
    rows = np.array(conditions) @ inverse
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    for chosen in combinations(range(len(rows)), size - 1):
        _, sizes, right = np.linalg.svd(rows[list(chosen)])
        if size == 1 or sizes[-1] > 1e-6:
            vector = space @ (inverse @ right[-1])
            yield vector / np.abs(vector).max()


def _ties(vector: Array, level: Level) -> Array | None:
    """Return the signs of the entries of each size, ``(entries, sizes)``; None if no two are of one size."""
    groups = _sizes(vector, level)
    ties = np.zeros((len(vector), groups.max() + 1))
    ties[np.arange(len(vector)), groups] = np.sign(vector)
    return None if ties.shape[1] == len(vector) else ties


def _sizes(vector: Array, level: Level) -> NDArray[np.intp]:
    """Return the number of the size of each entry, where sizes that may be equal are."""
    equal = EQUAL_EXACT if level.exact else EQUAL_NOISY
    sizes = np.abs(vector)
    order = np.argsort(sizes, kind="stable")
    jumps = np.diff(sizes[order]) > equal * sizes[order][1:]
    groups = np.empty(len(vector), dtype=np.intp)
    groups[order] = np.concatenate([[0], np.cumsum(jumps)])
    return groups


def _cost(dictionary: Dictionary, vector: Array, level: Level, samples: int, terms: int) -> tuple[float, ...]:
    r"""Return how long a formula is to write: in bits, then its fractions, its degree, and what it has besides squares.

    Each term is one of ``terms``, :math:`\log_2` of these, and each size of coefficients beside the first is a number
    fitted, :math:`\frac12 \log_2 n` (Rissanen's description length).
    """
    groups = _sizes(vector, level)
    bits = len(vector) * log2(terms + 1) + groups.max() * 0.5 * log2(samples)
    equal = EQUAL_EXACT if level.exact else EQUAL_NOISY
    fractions = 0.0
    for value in np.abs(vector) / np.abs(vector).max():
        near = simplest_between(float(value) * (1.0 - equal), float(value) * (1.0 + equal))
        fractions += log2(near.numerator * near.denominator)
    others = sum(len(term) != 2 or term[0] != term[1] for term in dictionary.terms)
    degree = sum(len(term) for term in dictionary.terms)
    return round(bits, 6), round(fractions, 6), float(degree), float(others)
