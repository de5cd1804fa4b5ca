"""Tells whether formulas are equal as functions: by their values in many digits, not by how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import prod
from typing import final

import mpmath
import numpy as np
import sympy
from numpy.typing import NDArray

#: Decimal digits of the arithmetic, and the largest relative difference of what is equal.
DIGITS = 60
EQUAL = mpmath.mpf(10) ** -30


@final
class Values:
    """Values of formulas at some points, in :data:`DIGITS` digits.

    Two formulas built of the same functions that agree to 30 digits at points in general position are the same, but for
    a chance that is nil in practice (the test of Schwartz and Zippel).

    Parameters
    ----------
    symbols
        The variables.
    points
        Shape ``(points, variables)``, inside the domain of the formulas, in general position.
    """

    def __init__(self, symbols: Sequence[sympy.Symbol], points: NDArray[np.float64]) -> None:
        self._symbols = list(symbols)
        self._points = points
        self.points = len(points)
        self._known: dict[sympy.Expr, list[mpmath.mpf]] = {}

    def of(self, formula: sympy.Expr, many: int) -> list[mpmath.mpf]:
        """Return the values at the first ``many`` points."""
        known = self._known.setdefault(formula, [])
        if len(known) < many:
            function = sympy.lambdify(self._symbols, formula, "mpmath")
            with mpmath.workdps(DIGITS):
                for point in self._points[len(known) : many].tolist():
                    known.append(mpmath.mpf(function(*map(mpmath.mpf, point))))
        return known[:many]


def is_affine(formula: sympy.Expr, other: sympy.Expr, values: Values) -> bool:
    """Return whether ``formula = a * other + b`` with constants a (not 0) and b."""
    return is_polynomial(formula, [other], 1, values)


def is_polynomial(formula: sympy.Expr, others: Sequence[sympy.Expr], degree: int, values: Values) -> bool:
    """Return whether a formula is a polynomial in others, with constant coefficients, up to a degree.

    Examples
    --------
    >>> x, p = sympy.symbols("x p")
    >>> values = Values([x, p], np.random.default_rng(0).uniform(0.5, 1.5, (50, 2)))
    >>> energy = (p**2 + x**2) / 2
    >>> is_affine(3 * x**2 + 3 * p**2 + 1, energy, values), is_polynomial(energy**2 - energy, [energy], 2, values)
    (True, True)
    >>> is_polynomial(p**2 + 2 * x**2, [energy], 2, values)
    False
    """
    exponents = [
        chosen for power in range(degree + 1) for chosen in combinations_with_replacement(range(len(others)), power)
    ]
    many = min(len(exponents) + 8, values.points)
    with mpmath.workdps(DIGITS):
        rows = [values.of(other, many) for other in others]
        monomials = [
            [prod((rows[n][at] for n in chosen), start=mpmath.mpf(1)) for at in range(many)] for chosen in exponents
        ]
        return _is_spanned(values.of(formula, many), monomials)


def _is_spanned(vector: list[mpmath.mpf], others: list[list[mpmath.mpf]]) -> bool:
    """Return whether a vector is a combination of others, by Gram and Schmidt's orthogonalisation."""
    basis: list[list[mpmath.mpf]] = []
    for other in others:
        rest = _outside(other, basis)
        size = mpmath.sqrt(mpmath.fdot(rest, rest))
        if size > EQUAL * mpmath.sqrt(mpmath.fdot(other, other)):
            basis.append([value / size for value in rest])
    rest = _outside(vector, basis)
    return bool(mpmath.fdot(rest, rest) <= EQUAL**2 * mpmath.fdot(vector, vector))


def _outside(vector: list[mpmath.mpf], basis: list[list[mpmath.mpf]]) -> list[mpmath.mpf]:
    for unit in basis:
        part = mpmath.fdot(vector, unit)
        vector = [value - part * along for value, along in zip(vector, unit, strict=True)]
    return vector
