"""The dictionary: monomials in the columns, and in sine and cosine of those that are angles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Atom:
    """A factor of monomials: a column itself (``function`` is ""), or ``sin`` or ``cos`` of it."""

    column: int
    function: str = ""

    @property
    def highest(self) -> int | None:
        """Highest exponent: one for a cosine, because its square is one less the square of the sine."""
        return 1 if self.function == "cos" else None

    def evaluate(self, values: Array) -> tuple[Array, Array]:
        """Return its value and its derivative by its column."""
        if self.function == "sin":
            return np.sin(values), np.cos(values)
        if self.function == "cos":
            return np.cos(values), -np.sin(values)
        return values, np.ones_like(values)


@final
@dataclass(frozen=True)
class Dictionary:
    """Monomials of degree 1 to ``degree``, in the order of their degrees.

    Attributes
    ----------
    columns
        Names of the columns.
    atoms
        The factors.
    exponents
        One row for each monomial, one exponent for each atom.
    """

    columns: tuple[str, ...]
    atoms: tuple[Atom, ...]
    exponents: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.exponents)

    def terms_of(self, degree: int) -> int:
        """Return the number of monomials up to a degree: the first so many."""
        return sum(sum(row) <= degree for row in self.exponents)

    def features(self, values: Array) -> Array:
        """Return the monomials, ``(..., columns) -> (..., terms)``.

        Examples
        --------
        >>> polynomials(["q", "p"], [], 2).features(np.array([2.0, 3.0])).tolist()
        [2.0, 3.0, 4.0, 6.0, 9.0]
        """
        return self._product(values, None)

    def derivative(self, values: Array, column: int) -> Array:
        """Return the derivatives of the monomials by one column, ``(..., columns) -> (..., terms)``."""
        total = np.zeros((*values.shape[:-1], len(self)))
        for n, atom in enumerate(self.atoms):
            if atom.column == column:
                total += self._product(values, n)
        return total

    def jacobian(self, values: Array) -> Array:
        """Return the derivatives by all columns, ``(..., columns) -> (..., terms, columns)``."""
        return np.stack([self.derivative(values, column) for column in range(len(self.columns))], axis=-1)

    def _product(self, values: Array, differentiated: int | None) -> Array:
        exponents = np.array(self.exponents, dtype=int).reshape(len(self), len(self.atoms))
        product = np.ones((*values.shape[:-1], len(self)))
        for n, atom in enumerate(self.atoms):
            base, slope = atom.evaluate(values[..., atom.column])
            powers = np.stack([base**k for k in range(int(exponents[:, n].max(initial=0)) + 1)], axis=-1)
            if n == differentiated:
                slopes = np.zeros_like(powers)
                for k in range(1, powers.shape[-1]):
                    slopes[..., k] = k * powers[..., k - 1] * slope
                powers = slopes
            product *= powers[..., exponents[:, n]]
        return product


def polynomials(columns: Sequence[str], angles: Sequence[str] | frozenset[str], degree: int) -> Dictionary:
    """Return the dictionary of all monomials up to a degree; the constant is left out, it is conserved anyway.

    Examples
    --------
    >>> len(polynomials(["x", "y"], [], 3)), len(polynomials(["angle"], ["angle"], 2))
    (9, 4)
    """
    atoms: list[Atom] = []
    for n, column in enumerate(columns):
        atoms += [Atom(n, "sin"), Atom(n, "cos")] if column in angles else [Atom(n)]
    rows = [row for total in range(1, degree + 1) for row in _exponents(atoms, total)]
    return Dictionary(tuple(columns), tuple(atoms), tuple(rows))


def _exponents(atoms: Sequence[Atom], total: int) -> Iterator[tuple[int, ...]]:
    if not atoms:
        if total == 0:
            yield ()
        return
    highest = total if atoms[0].highest is None else min(total, atoms[0].highest)
    for first in range(highest, -1, -1):
        yield from ((first, *rest) for rest in _exponents(atoms[1:], total - first))


def number_of_terms(plain: int, angles: int, degree: int) -> int:
    """Return how many monomials :func:`polynomials` makes, without making them.

    Each cosine is in a monomial or not; the other factors share the rest of the degree.

    Examples
    --------
    >>> number_of_terms(1, 1, 3) == len(polynomials(["q", "a"], ["a"], 3))
    True
    """
    free = plain + angles
    return sum(comb(angles, k) * comb(free + degree - k, free) for k in range(min(angles, degree) + 1)) - 1
