"""Turns coefficients into formulas: rational where the data warrant it, sympy for text and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.dictionary import Dictionary, Term

Array = NDArray[np.float64]
#: An exact number, one with a name, or the digits of a decimal.
Coefficient = Fraction | sympy.Expr | str

#: A coefficient is taken for p/q if it is within so many standard deviations of it ...
WITHIN = 2.5
#: ... and if a random number would be as near to a fraction of so small a denominator less often than this.
COINCIDENCE = 0.05
#: Relative standard deviation below which digits are not trusted.
FINEST = 1e-9


def simplest_between(low: float, high: float) -> Fraction:
    """Return the fraction of least denominator in [low, high] (descent of the Stern-Brocot tree).

    Examples
    --------
    >>> print(simplest_between(0.333, 0.334), simplest_between(-0.51, -0.49), simplest_between(-0.1, 0.2))
    1/3 -1/2 0
    """
    if low > high:
        raise ValueError(f"got low {low} and high {high}, must be low <= high")
    if low <= 0 <= high:
        return Fraction(0)
    if high < 0:
        return -simplest_between(-high, -low)
    return _simplest(Fraction(low), Fraction(high))


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    below = math.floor(low)
    return below + 1 / _simplest(1 / (high - below), 1 / (low - below))


def rational(value: float, deviation: float) -> Fraction | None:
    """Return the fraction that a coefficient is, as far as its standard deviation can tell; None if none is simple.

    Examples
    --------
    >>> print(rational(0.33341, 2e-4), rational(0.3183, 1e-4))
    1/3 None
    """
    half = WITHIN * max(deviation, FINEST * abs(value))
    found = simplest_between(value - half, value + half)
    return found if found and found.denominator**2 * 2 * half < COINCIDENCE else None


def printed(value: float, deviation: float) -> str:
    """Return a coefficient with the digits that its standard deviation leaves, and one more.

    Examples
    --------
    >>> printed(0.318309886, 2e-4), printed(123.456, 0.3), printed(2.0, 0.0)
    ('0.31831', '123.46', '2.0000000000')
    """
    deviation = max(deviation, FINEST * abs(value))
    return f"{value:.{max(0, 1 - math.floor(math.log10(deviation)))}f}" if value else "0"


def as_measured(value: float | None, deviation: float) -> str | None:
    """Return a coefficient for a table: the one that sets the scale, without a standard deviation, as it is.

    Examples
    --------
    >>> as_measured(0.318309886, 2e-4), as_measured(0.5, 0.0), as_measured(None, 0.1)
    ('0.31831', '0.5', None)
    """
    if value is None:
        return None
    return printed(value, deviation) if deviation > 0.0 else f"{value:.6g}"


def normalised(coefficients: Array, dictionary: Dictionary) -> tuple[Array, int]:
    """Scale coefficients so that the largest is 1 in size; return them and which one that is.

    The sign makes the sum over squares positive, as in an energy; without squares, the first term.
    """
    largest = int(np.argmax(np.abs(coefficients)))
    scaled = coefficients / abs(coefficients[largest])
    square = [len(factors) == 2 and factors[0] == factors[1] for factors in dictionary.terms]
    squares = scaled[np.array(square)].sum()
    lead = squares if abs(squares) > 1e-6 else scaled[0]
    return scaled * np.sign(lead), largest


def expression(dictionary: Dictionary, coefficients: Sequence[Coefficient]) -> sympy.Expr:
    """Build the sympy expression of a formula; nothing is parsed.

    Parameters
    ----------
    dictionary
        Its terms.
    coefficients
        One for each.

    Examples
    --------
    >>> from ndm_apps.plugins.physics.dictionary import polynomials
    >>> expression(polynomials(["a", "p"], ["a"], 2).of(np.array([1, 7])), [Fraction(-1), "0.50"])
    0.5*p**2 - cos(a)
    """
    total: sympy.Expr = sympy.Integer(0)
    for factors, coefficient in zip(dictionary.terms, coefficients, strict=True):
        factor: sympy.Expr
        if isinstance(coefficient, Fraction):
            factor = sympy.Rational(coefficient.numerator, coefficient.denominator)
        else:
            factor = sympy.Float(coefficient) if isinstance(coefficient, str) else coefficient
        total += factor * term(factors, dictionary.columns)
    return total


def term(factors: Term, columns: tuple[str, ...]) -> sympy.Expr:
    """Build one term of a dictionary."""
    product: sympy.Expr = sympy.Integer(1)
    for atom in factors:
        product *= atom.sympy(columns)
    return product
