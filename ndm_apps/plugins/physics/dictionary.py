"""The dictionary: products of columns and of typed functions of them, with exact first and second derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.atoms import Atom, Jet

Array = NDArray[np.float64]
Term = tuple[Atom, ...]


@final
@dataclass(frozen=True)
class Evaluated:
    """A dictionary on some samples.

    Attributes
    ----------
    features
        Shape ``(samples, terms)``.
    slopes
        For each column, the numbers of the terms that depend on it, and their derivatives by it, shape
        ``(samples, those terms)``.
    """

    features: Array
    slopes: tuple[tuple[NDArray[np.intp], Array], ...]

    def gradients(self, vectors: Array) -> Array:
        """Return gradients of combinations of terms, ``(terms, k) -> (samples, columns, k)``."""
        found = np.zeros((len(self.features), len(self.slopes), vectors.shape[1]))
        for column, (terms, slope) in enumerate(self.slopes):
            if len(terms):
                found[:, column] = slope @ vectors[terms]
        return found


@final
@dataclass(frozen=True)
class Dictionary:
    """Products of atoms.

    Attributes
    ----------
    columns
        Names of the columns.
    terms
        The factors of each term; the constant is left out, it is conserved anyway.
    """

    columns: tuple[str, ...]
    terms: tuple[Term, ...]

    def __len__(self) -> int:
        return len(self.terms)

    def of(self, support: NDArray[np.intp]) -> Dictionary:
        """Return the dictionary of some of the terms."""
        return Dictionary(self.columns, tuple(self.terms[n] for n in support.tolist()))

    @cached_property
    def atoms(self) -> tuple[Atom, ...]:
        """The factors that occur, in the order of their first use."""
        return tuple(dict.fromkeys(atom for term in self.terms for atom in term))

    def valid(self, values: Array, sigma: Array) -> NDArray[np.bool_]:
        """Return which samples every factor is defined at, with room for noise ``sigma``."""
        good = np.ones(len(values), dtype=bool)
        for atom in self.atoms:
            good &= atom.valid(values, sigma)
        return good

    def evaluate(self, values: Array, sigma: Array | None = None) -> Evaluated:
        r"""Evaluate all terms and their derivatives.

        Parameters
        ----------
        values
            Shape ``(samples, columns)``.
        sigma
            Noise of each column. If given, features are corrected for the bias that noise brings to second order:
            :math:`\theta - \frac12 \sum_a \sigma_a^2 \partial_a^2 \theta`.

        Examples
        --------
        >>> polynomials(["q", "p"], [], 2).evaluate(np.array([[2.0, 3.0]])).features.tolist()
        [[2.0, 3.0, 4.0, 6.0, 9.0]]
        """
        jets: dict[Term, Jet] = {(atom,): atom.jet(values) for atom in self.atoms}
        features = np.empty((len(self), len(values)))
        rows: list[list[tuple[int, Array]]] = [[] for _ in self.columns]
        for number, term in enumerate(self.terms):
            jet = _product(term, jets)
            features[number] = jet.value
            for column, slope in jet.first.items():
                rows[column].append((number, slope))
            if sigma is not None:
                for column, curvature in jet.second.items():
                    features[number] -= 0.5 * sigma[column] ** 2 * curvature
        slopes = []
        for row in rows:
            numbers = np.array([number for number, _ in row], dtype=np.intp)
            stacked = np.stack([np.broadcast_to(slope, len(values)) for _, slope in row]) if row else np.empty((0, 1))
            slopes.append((numbers, stacked.T if row else np.empty((len(values), 0))))
        return Evaluated(features.T, tuple(slopes))

    def jacobian(self, values: Array) -> Array:
        """Return the derivatives by all columns, ``(samples, columns) -> (samples, terms, columns)``."""
        return self.evaluate(values).gradients(np.eye(len(self))).transpose(0, 2, 1)


def _product(term: Term, jets: dict[Term, Jet]) -> Jet:
    """Return the jet of a term; those of its beginnings are kept for other terms."""
    found = jets.get(term)
    if found is None:
        found = _product(term[:-1], jets) * jets[term[-1:]]
        jets[term] = found
    return found


@final
@dataclass(frozen=True)
class Formula:
    """A combination of terms of a dictionary.

    Examples
    --------
    >>> energy = Formula(polynomials(["q", "p"], [], 2).of(np.array([2, 4])), np.array([0.5, 0.5]))
    >>> energy(np.array([[[3.0, 4.0]]])).tolist()
    [[12.5]]
    """

    dictionary: Dictionary
    coefficients: Array

    def __call__(self, values: Array) -> Array:
        """Return its values, ``(..., columns) -> (...)``; not finite where a factor is not defined."""
        flat = values.reshape(-1, values.shape[-1])
        with np.errstate(all="ignore"):
            return (self.dictionary.evaluate(flat).features @ self.coefficients).reshape(values.shape[:-1])

    def gradient(self, values: Array) -> Array:
        """Return its gradient, ``(samples, columns)`` both."""
        with np.errstate(all="ignore"):
            return self.dictionary.evaluate(values).gradients(self.coefficients[:, None])[..., 0]


def products(atoms: Sequence[Atom], degree: int, *, special: int = 1) -> list[Term]:
    """Return all products of up to ``degree`` atoms, lowest degree first.

    A cosine occurs once at most, since its square is one less the square of the sine; of the special functions
    (logarithm, exponential, inverse powers), ``special`` factors occur at most.
    """
    found = []
    for total in range(1, degree + 1):
        for term in combinations_with_replacement(atoms, total):
            cosines = [atom for atom in term if atom.kind == "cos"]
            if len(set(cosines)) == len(cosines) and sum(atom.special for atom in term) <= special:
                found.append(term)
    return found


def column_atoms(columns: Sequence[str], angles: Sequence[str] | frozenset[str]) -> list[Atom]:
    """Return the columns themselves as atoms, and sine and cosine of those that are angles."""
    atoms: list[Atom] = []
    for n, column in enumerate(columns):
        atoms += [Atom("sin", (n,)), Atom("cos", (n,))] if column in angles else [Atom("column", (n,))]
    return atoms


def polynomials(columns: Sequence[str], angles: Sequence[str] | frozenset[str], degree: int) -> Dictionary:
    """Return the dictionary of all monomials of degree 1 to ``degree``.

    Examples
    --------
    >>> len(polynomials(["x", "y"], [], 3)), len(polynomials(["angle"], ["angle"], 2))
    (9, 4)
    """
    return Dictionary(tuple(columns), tuple(products(column_atoms(columns, angles), degree)))
