"""Rounds the coefficients of a formula: to small integers in proportion, or to numbers with a name, if data warrant it.

What is rounded has to be near what was measured, nearer than chance would bring it, and, all coefficients together, as
good a fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from ndm_apps.plugins.physics.assessment import assess
from ndm_apps.plugins.physics.constants import constant
from ndm_apps.plugins.physics.dictionary import Dictionary
from ndm_apps.plugins.physics.formula import COINCIDENCE, FINEST, WITHIN, Coefficient, printed, rational
from ndm_apps.plugins.physics.leaf import Mean, Samples
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.neighbours import Neighbours
from ndm_apps.plugins.physics.simplicity import is_square

Array = NDArray[np.float64]

#: Largest common denominator that is tried.
DENOMINATORS = 120
#: Rounded coefficients fit worse than those measured: as chance lets true ones do more often than this.
WORSE = 0.01
#: At no noise, the mean squared leaf distance of a rounded formula, in units of EXACT_NOISE, or that before.
WORSE_EXACT = 1.0
#: A fraction is written in less than this part of the bits of the decimal.
SHORTER = 0.5
#: Digits that are added to a printed formula until it fits.
MORE_DIGITS = 4


#: Whether coefficients fit the data.
Accepts = Callable[[Sequence[Coefficient]], bool]


def as_likely(neighbours: Neighbours, ties: Array, raw: Array) -> Accepts:
    """Return what tells whether coefficients lose no more likelihood to those fitted than true ones do by chance.

    Parameters
    ----------
    neighbours
        What the coefficients were fitted by.
    ties
        The combinations of terms that were fitted, ``(terms, combinations)``.
    raw
        The coefficients of the terms.
    """
    inverse = np.linalg.pinv(ties)
    most = float(chi2.isf(WORSE, max(ties.shape[1] - 1, 1)))
    return lambda found: neighbours.loss(inverse @ _numbers(found), inverse @ raw) <= most


def as_exact(samples: Samples, raw: Array, level: Level, mean: Mean) -> Accepts:
    """Return what tells whether coefficients do as well as those fitted, or to EXACT_NOISE, at no noise."""
    most = max(assess(samples, raw, level.sigma, mean).distance, WORSE_EXACT)
    return lambda found: assess(samples, _numbers(found), level.sigma, mean).distance <= most


def _numbers(coefficients: Sequence[Coefficient]) -> Array:
    return np.array([float(value) for value in coefficients])


def rounded(dictionary: Dictionary, raw: Array, replicates: Array, accepts: Accepts) -> list[Coefficient]:
    """Return coefficients rounded as far as they fit: in proportion, else each by itself, else as decimals.

    Parameters
    ----------
    dictionary
        The terms.
    raw
        The coefficients that fit best.
    replicates
        The same from resampled data, at the same value of the largest, ``(replicates, coefficients)``.
    accepts
        Tells what fits: :func:`as_likely` or :func:`as_exact`.
    """
    squares = [is_square(factors) for factors in dictionary.terms]
    whole = in_proportion(raw, replicates, accepts)
    if whole is not None:
        return list(scaled(whole, squares))
    deviations = np.sqrt(((replicates - raw) ** 2).mean(axis=0))
    # Coefficients err together: digits that each could spare may be needed for the sum.
    for more in range(MORE_DIGITS + 1):
        texts: list[Coefficient] = [
            printed(value, sd / 10**more) for value, sd in zip(raw.tolist(), deviations.tolist(), strict=True)
        ]
        if accepts(texts):
            break
    measured = len({round(abs(value), 12) for value in raw.tolist()}) - 1
    each = [
        _fraction(value, sd, text) or constant(value, sd, max(measured, 1)) or text
        for value, sd, text in zip(raw.tolist(), deviations.tolist(), texts, strict=True)
    ]
    return each if accepts(each) else texts


def _fraction(value: float, deviation: float, text: Coefficient) -> Fraction | None:
    """Return the fraction that a coefficient is, if it is far shorter to write than the decimal."""
    found = rational(value, deviation)
    digits = sum(character.isdigit() for character in str(text).lstrip("-0."))
    return found if found and height([found], [False]) < SHORTER * digits * math.log2(10.0) else None


def in_proportion(values: Array, replicates: Array, accepts: Accepts = lambda found: True) -> list[Fraction] | None:
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
    accepts
        Whether integers fit the data: those that do not are passed over.

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
        whole = _integers(values, replicates, unit, accepts)
        if whole is not None:
            found.append(whole)
    if not found:
        return None
    best = min(found, key=_height)
    return [Fraction(value) for value in best]


def _integers(values: Array, replicates: Array, unit: int, accepts: Accepts) -> list[int] | None:
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
            integers = [sign * int(value) // common for value in whole]
            if accepts([Fraction(value) for value in integers]):
                return integers
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
