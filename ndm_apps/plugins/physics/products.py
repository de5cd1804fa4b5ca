"""Functions of laws that are laws again, as formulas: their products, and exponentials of sums of logarithms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, Term

#: Longest product that is written out.
MOST_TERMS = 40
#: Logarithms whose coefficients are this near to each other, relatively, may be those of a product.
EQUAL = 0.02


def ordered(term: Term) -> Term:
    """Return the factors of a term in one order, whatever the order they were multiplied in."""
    return tuple(sorted(term, key=lambda atom: (atom.special, atom.columns, atom.kind, atom.power)))


def expanded(dictionary: Dictionary) -> Dictionary:
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


def products(laws: Sequence[Formula]) -> Iterator[Formula]:
    """Yield the products of laws, written out, that are of no higher degree than the laws and share terms with one.

    With these, a law is known up to their multiples: an energy up to the square of a momentum.

    Examples
    --------
    >>> from ndm_apps.plugins.physics.dictionary import polynomials
    >>> terms = polynomials(["p", "q"], [], 2)
    >>> momentum = Formula(terms.of(np.array([0, 1])), np.array([1.0, 2.0]))
    >>> energy = Formula(terms.of(np.array([3])), np.array([1.0]))
    >>> [one.coefficients.tolist() for one in products([momentum, energy])]
    [[1.0, 4.0, 4.0]]
    """
    degrees = [max(map(len, law.dictionary.terms)) for law in laws]
    highest = max(degrees, default=0)
    known = {ordered(term): term for law in laws for term in expanded(law.dictionary).terms}
    known |= {ordered(term): term for law in laws for term in law.dictionary.terms}
    for many in range(2, highest + 1):
        for chosen in combinations_with_replacement(range(len(laws)), many):
            if sum(degrees[n] for n in chosen) > highest:
                continue
            found: dict[Term, float] = {(): 1.0}
            for n in chosen:
                found = _times(found, laws[n])
            if len(found) <= MOST_TERMS and not known.keys().isdisjoint(found):
                terms = tuple(known.get(term, term) for term in found)
                yield Formula(Dictionary(laws[0].dictionary.columns, terms), np.array(list(found.values())))


def _times(values: Mapping[Term, float], law: Formula) -> dict[Term, float]:
    found: dict[Term, float] = {}
    for first, value in values.items():
        for second, factor in zip(law.dictionary.terms, law.coefficients.tolist(), strict=True):
            term = ordered((*first, *second))
            found[term] = found.get(term, 0.0) + value * factor
    return found


def monomial(law: Formula) -> Formula | None:
    """Return the product of columns whose logarithms a law is the sum of; None if it is no such sum.

    Examples
    --------
    >>> logarithms = Dictionary(("x", "y"), ((Atom("log", (0,)),), (Atom("log", (1,)),)))
    >>> monomial(Formula(logarithms, np.array([2.0, 2.0]))).dictionary.terms[0] == (
    ...     Atom("column", (0,)), Atom("column", (1,)))
    True
    """
    sizes = law.coefficients / law.coefficients[np.argmin(np.abs(law.coefficients))]
    powers = np.round(sizes).astype(int)
    logarithms = all(len(term) == 1 and term[0].kind == "log" for term in law.dictionary.terms)
    if not logarithms or (powers < 1).any() or (np.abs(sizes - powers) > EQUAL * sizes).any():
        return None
    factors = zip((term[0].columns for term in law.dictionary.terms), powers.tolist(), strict=True)
    term = tuple(Atom("column", column) for column, power in factors for _ in range(power))
    return Formula(Dictionary(law.dictionary.columns, (ordered(term),)), np.ones(1))
