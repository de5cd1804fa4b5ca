"""How long a formula is to write: the description length by which forms of the same laws are compared."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log2

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, Term
from ndm_apps.plugins.physics.forms import name
from ndm_apps.plugins.physics.formula import simplest_between
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.leaf import Problem
from ndm_apps.plugins.physics.level import Level

Array = NDArray[np.float64]
Groups = NDArray[np.intp]

#: Coefficients at no noise that are this near to each other, relatively, are equal.
EQUAL_EXACT = 1e-6
#: ... and in noise, where no fit tells what may be equal.
EQUAL_NOISY = 0.02
#: Bits that a formula of unknown form costs where positions and momenta are known: energies are likelier than others.
UNKNOWN = 10.0


def is_square(term: Term) -> bool:
    """Return whether a term is the square of a column or of a difference, of which one writes the half."""
    if len(term) == 1:
        return term[0].kind == "difference" and term[0].power == 2.0
    return len(term) == 2 and term[0] == term[1]


def units(dictionary: Dictionary) -> Array:
    """Return what the coefficient of each term is measured in: the half of squares, 1 of others."""
    return np.array([0.5 if is_square(term) else 1.0 for term in dictionary.terms])


def equal_sizes(vector: Array, free: Problem | None, level: Level, samples: int) -> Groups:
    r"""Return for each coefficient the number of its size, ascending; sizes that may be equal have one number.

    Where the eigenproblem is given, the two neighbours that cost least are made equal as long as Schwarz's criterion
    falls,

    .. math:: n \lambda / \lambda_0 + k \log n,

    with :math:`\lambda` the mean squared leaf distance of n samples, :math:`\lambda_0` that of the free fit, and k the
    number of sizes. Else these are the sizes that agree to :data:`EQUAL_EXACT` or :data:`EQUAL_NOISY`.

    Parameters
    ----------
    vector
        Coefficients.
    free
        The eigenproblem that they were fitted by in noise; None if they come from elsewhere.
    level
        The noise.
    samples
        n.
    """
    order = np.argsort(np.abs(vector), kind="stable")
    groups = np.empty(len(vector), dtype=np.intp)
    if free is None:
        sizes, equal = np.abs(vector)[order], EQUAL_EXACT if level.exact else EQUAL_NOISY
        groups[order] = np.concatenate([[0], np.cumsum(np.diff(sizes) > equal * sizes[1:])])
        return groups
    groups[order] = np.arange(len(vector))
    unforced = least = float(free.solve()[0][0])
    while groups.max() > 0:
        merged = [groups - (groups > one) for one in range(groups.max())]
        costs = [float(free.restricted(ties(vector, one)).solve()[0][0]) for one in merged]
        best = int(np.argmin(costs))
        if samples * (costs[best] - least) > log(samples) * unforced:
            break
        groups, least = merged[best], costs[best]
    return groups


def ties(vector: Array, groups: Groups) -> Array:
    """Return the combinations of terms whose coefficients are of one size, in the signs of a vector."""
    found = np.zeros((len(vector), int(groups.max()) + 1))
    found[np.arange(len(vector)), groups] = np.sign(vector)
    return found


def fewest_sizes(
    dictionary: Dictionary, vector: Array, free: Problem | None, level: Level, samples: int
) -> tuple[Array, Groups]:
    """Return :func:`equal_sizes` in the unit that makes more of them equal: of each term 1, or of squares the half.

    Returns
    -------
    The unit of each term, and the number of the size of each coefficient in it.
    """
    found = []
    for unit in (units(dictionary), np.ones(len(vector))):
        part = None if free is None else free.restricted(np.diag(unit))
        found.append((unit, equal_sizes(vector / unit, part, level, samples)))
    return min(found, key=lambda one: int(one[1].max()))


def symbols(terms: Sequence[Term], signed: Array) -> int:
    """Return how many columns a sum is written with, where sums that occur in products of two factors are collected.

    Powers other than 1 count as a column.

    Parameters
    ----------
    terms
        Products of atoms.
    signed
        Their coefficients, equal ones exactly so; what is 0 is not there.

    Examples
    --------
    >>> from ndm_apps.plugins.physics.dictionary import polynomials
    >>> four = polynomials(["a", "b", "p", "q"], [], 2)
    >>> products = four.of(np.array([6, 7, 9, 10]))  # a p, a q, b p, b q
    >>> symbols(products.terms, np.ones(4)), symbols(products.terms, np.array([1.0, 1.0, 1.0, 2.0]))
    (4, 8)
    """
    present = [(term, value) for term, value in zip(terms, signed.tolist(), strict=True) if value]
    atoms = list(dict.fromkeys(atom for term, _ in present if len(term) == 2 for atom in term))
    matrix = np.zeros((len(atoms), len(atoms)))
    total = sum(_length(atom) for term, _ in present if len(term) != 2 for atom in term)
    for term, value in present:
        if len(term) == 2:
            one, other = (atoms.index(atom) for atom in term)
            matrix[one, other] += value / 2.0
            matrix[other, one] += value / 2.0
    if not atoms:
        return total
    # Atoms with the same row, but for its sign, occur in the same sum.
    leading = np.argmax(matrix != 0.0, axis=1)
    rows = matrix * np.sign(matrix[np.arange(len(atoms)), leading])[:, None]
    _, first, sums = np.unique(np.round(rows, 12), axis=0, return_index=True, return_inverse=True)
    lengths = np.bincount(sums.reshape(-1), weights=[_length(atom) for atom in atoms])
    for one in range(len(first)):
        for other in range(one, len(first)):
            if matrix[first[one], first[other]] != 0.0:
                total += int(lengths[one]) + (1 if one == other else int(lengths[other]))
    return total


def _length(atom: Atom) -> int:
    return len(atom.columns) + (atom.power != 1.0)


def cost(
    dictionary: Dictionary, vector: Array, free: Problem | None, level: Level, samples: int, atoms: int, kinds: Kinds
) -> tuple[float, ...]:
    r"""Return how long a formula is to write: in bits, then its fractions, its degree.

    Each of its :func:`symbols` is one of some atoms, :math:`\log_2` of these, and each size of coefficients beside the
    first is a number fitted, :math:`\frac12 \log_2 n` (Rissanen's description length); squares are measured by their
    halves if that makes more coefficients equal. An energy or a momentum is likelier to be meant than what has no name,
    by :data:`UNKNOWN`.

    Parameters
    ----------
    dictionary, vector
        The formula.
    free
        See :func:`equal_sizes`.
    level
        The noise.
    samples
        n.
    atoms
        Number of atoms that a symbol may be.
    kinds
        Which columns are positions and momenta, for the names of forms.
    """
    unit, groups = fewest_sizes(dictionary, vector, free, level, samples)
    numbers = int(groups.max())
    sizes = np.array([np.abs(vector / unit)[groups == n].mean() for n in range(numbers + 1)])[groups]
    length = symbols(dictionary.terms, np.sign(vector) * sizes * unit)
    bits = length * log2(atoms + 1) + numbers * 0.5 * log2(samples)
    near = EQUAL_EXACT if level.exact else EQUAL_NOISY
    fractions = 0.0
    for value in sizes / sizes.max():
        simplest = simplest_between(float(value) * (1.0 - near), float(value) * (1.0 + near))
        fractions += log2(simplest.numerator * simplest.denominator)
    if kinds.pairs and name(Formula(dictionary, vector), kinds) is None:
        bits += UNKNOWN
    others = sum(not is_square(term) for term in dictionary.terms)
    degree = sum(len(term) for term in dictionary.terms)
    return round(bits, 6), round(fractions, 6), float(degree), float(others)
