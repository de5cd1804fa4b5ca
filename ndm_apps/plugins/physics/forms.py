"""Names laws by their form, where the data told which columns are positions and which their velocities or momenta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from ndm_apps.plugins.physics.dictionary import Formula, Term
from ndm_apps.plugins.physics.kinds import Kinds

MOMENTUM: Final = "momentum"
ANGULAR_MOMENTUM: Final = "angular momentum"
ENERGY: Final = "energy"
PARTIAL_ENERGY: Final = "energy of some coordinates"
#: Relative difference of coefficients that are equal, where they could not be rounded.
EQUAL = 0.02


def name(formula: Formula, kinds: Kinds) -> str | None:
    """Return what a law is by its form; None if it is none of these, or no position has a known momentum.

    A momentum is linear in momenta; an angular momentum consists of :math:`q_i p_j - q_j p_i`; an energy is of degree
    2 and 0 in momenta, with both kinds of terms, and with a positive square of each momentum that occurs. With the
    squares of all momenta it is the energy, else that of some coordinates.

    Examples
    --------
    >>> from ndm_apps.plugins.physics.dictionary import polynomials
    >>> squares = polynomials(["q", "p"], [], 2).of(np.array([2, 4]))
    >>> name(Formula(squares, np.array([0.5, 0.5])), Kinds(((0, 1),), (), ()))
    'energy'
    """
    if not kinds.pairs:
        return None
    position = {momentum: place for place, momentum in kinds.pairs}
    size = float(np.abs(formula.coefficients).max())
    parts = [
        (term, float(value) / size) for term, value in zip(formula.dictionary.terms, formula.coefficients, strict=True)
    ]
    degrees = [_degree(term, position) for term, _ in parts]
    if None in degrees:
        return None
    if all(degree == 1 == len(term) for degree, (term, _) in zip(degrees, parts, strict=True)):
        return MOMENTUM
    if all(degree == 1 and len(term) == 2 for degree, (term, _) in zip(degrees, parts, strict=True)):
        return ANGULAR_MOMENTUM if _antisymmetric(dict(parts), position) else None
    if set(degrees) == {0, 2} and _only_state(parts, position):
        squares = {
            term[0].columns[0]: value
            for term, value in parts
            if len(term) == 2 and term[0] == term[1] and term[0].columns[0] in position
        }
        occurring = {atom.columns[0] for term, _ in parts for atom in term if atom.columns[0] in position}
        if set(squares) == occurring and min(squares.values()) > 0.0:
            return ENERGY if len(squares) == len(position) else PARTIAL_ENERGY
    return None


def _degree(term: Term, position: Mapping[int, int]) -> int | None:
    """Return the degree in momenta; None if they enter otherwise than by products."""
    if any(atom.kind != "column" and set(atom.columns) & set(position) for atom in term):
        return None
    return sum(atom.columns[0] in position for atom in term if atom.kind == "column")


def _only_state(parts: list[tuple[Term, float]], position: Mapping[int, int]) -> bool:
    known = set(position) | set(position.values())
    return all(set(atom.columns) <= known for term, _ in parts for atom in term)


def _antisymmetric(coefficients: Mapping[Term, float], position: Mapping[int, int]) -> bool:
    planes: dict[tuple[int, int], float] = {}
    for term, value in coefficients.items():
        if any(atom.kind != "column" for atom in term):
            return False
        momentum, place = sorted((atom.columns[0] for atom in term), key=lambda column: column not in position)
        planes[place, position[momentum]] = value
    return all(
        one != other and abs(value + planes.get((other, one), 0.0)) <= EQUAL * abs(value)
        for (one, other), value in planes.items()
    )
