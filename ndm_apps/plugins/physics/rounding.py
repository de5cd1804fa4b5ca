"""Rounds the coefficients of a formula together: to small integers in proportion, if chance would not do as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.formula import COINCIDENCE, FINEST, WITHIN

Array = NDArray[np.float64]

#: Largest common denominator that is tried.
DENOMINATORS = 120


def in_proportion(values: Array, replicates: Array) -> list[Fraction] | None:
    r"""Return the coefficients that values stand for, as integers in lowest terms, as far as their errors can tell.

    All are measured by one of them, and brought to the least common denominator Q with which every one is an integer
    :math:`m_i` over Q but not 0, within :data:`~ndm_apps.plugins.physics.formula.WITHIN` standard deviations
    :math:`s_i`. It is believed if random numbers would do so with a denominator up to Q less often than
    :data:`~ndm_apps.plugins.physics.formula.COINCIDENCE`:

    .. math:: \sum_{q \le Q} \prod_i \min(1, 2 \cdot 2.5\, s_i\, q) < 0.05

    One ratio alone has to be simple for that; of several, a denominator that they share counts once. Of the proportions
    that are believed, measured by one coefficient or other, that of the smallest integers is taken.

    Parameters
    ----------
    values
        Coefficients, none of them 0.
    replicates
        The same from resampled data, each up to a factor, ``(replicates, coefficients)``.

    Returns
    -------
    list of Fraction, or None
        In the signs of the values; None if no proportion is believed.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> many = np.array([1, 4, 4, 11]) / 11 + 5e-4 * rng.standard_normal((50, 4))
    >>> [int(value) for value in in_proportion(many.mean(axis=0), many)]
    [1, 4, 4, 11]
    >>> in_proportion(np.array([1.0, 0.3183]), np.array([[1.0, 0.3184], [1.0, 0.3182]])) is None
    True
    """
    found: list[list[int]] = []
    for unit in range(len(values)):
        whole = _integers(values, replicates, unit)
        if whole is not None:
            found.append(whole)
    if not found:
        return None
    best = min(found, key=_height)
    return [Fraction(value) for value in best]


def _integers(values: Array, replicates: Array, unit: int) -> list[int] | None:
    if values[unit] == 0.0 or (replicates[:, unit] == 0.0).any():
        return None
    ratios = values / values[unit]
    errors = np.sqrt(((replicates / replicates[:, [unit]] - ratios) ** 2).mean(axis=0))
    half = WITHIN * np.maximum(errors, FINEST * np.abs(ratios))
    others = np.arange(len(values)) != unit
    chance = 0.0
    for denominator in range(1, DENOMINATORS + 1):
        chance += float(np.minimum(2.0 * half[others] * denominator, 1.0).prod())
        if chance >= COINCIDENCE and len(values) > 1:
            return None
        whole = np.round(ratios * denominator)
        if (whole != 0).all() and (np.abs(ratios * denominator - whole) <= half * denominator)[others].all():
            common = math.gcd(denominator, *np.abs(whole).astype(int).tolist())
            sign = int(np.sign(values[unit]))
            return [sign * int(value) // common for value in whole]
    return None


def _height(whole: Sequence[int]) -> float:
    return sum(math.log2(abs(value)) for value in whole)


def height(values: Sequence[Fraction], squares: Sequence[bool]) -> float:
    """Return how long coefficients are to write, in bits; the half of a square is customary and costs nothing."""
    total = 0.0
    for value, square in zip(values, squares, strict=True):
        if not (square and abs(value) == Fraction(1, 2)):
            total += math.log2(abs(value.numerator)) + math.log2(value.denominator)
    return total


def scaled(whole: Sequence[Fraction], squares: Sequence[bool]) -> list[Fraction]:
    """Return coefficients in the scale that is shortest to write: the largest 1, the least 1, integers, or halves.

    Parameters
    ----------
    whole
        Integers in lowest terms.
    squares
        Which of the terms are squares.

    Examples
    --------
    >>> def shown(*values, squares):
    ...     print(*scaled([Fraction(value) for value in values], squares))
    >>> shown(1, 1, -2, squares=[True, True, False])
    1/2 1/2 -1
    >>> shown(1, 4, 4, 11, squares=[False] * 4)
    1 4 4 11
    """
    largest, least = max(map(abs, whole)), min(map(abs, whole))
    scales = [largest, Fraction(1), least, Fraction(2)]
    return min(([value / scale for value in whole] for scale in scales), key=lambda one: height(one, squares))
