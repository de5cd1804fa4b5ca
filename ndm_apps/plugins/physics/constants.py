r"""Named numbers: which of them a measured one is, if chance would seldom come so near.

Known by name are :math:`(a/b) k` with k one of 1, :math:`\sqrt2`, :math:`\sqrt3`, :math:`\sqrt5`, :math:`\pi` and
:math:`1/\pi`, and a, b small. Each is as simple as :math:`h = a b h_k` says, where :math:`h_k` counts the names in
their order.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.formula import COINCIDENCE, FINEST, WITHIN

#: The names, and how far each is from plain fractions.
NAMES = (
    (sympy.Integer(1), 1), (sympy.sqrt(2), 2), (sympy.sqrt(3), 3), (sympy.pi, 3), (sympy.sqrt(5), 5), (1 / sympy.pi, 5),
)  # fmt: skip
#: Largest h.
HEIGHT = 400
#: Chance is told from the numbers within this factor.
OCTAVE = 2.0


@cache
def _known() -> tuple[NDArray[np.float64], NDArray[np.intp], tuple[tuple[int, int, int], ...]]:
    """Return the values of the numbers that have a name, the simplest first, their h, and ``a, b, k`` of each."""
    found: list[tuple[int, float, tuple[int, int, int]]] = []
    for k, (name, own) in enumerate(NAMES):
        for product in range(1, HEIGHT // own + 1):
            for a in range(1, product + 1):
                if product % a == 0 and math.gcd(a, product // a) == 1:
                    # sqrt(2) / 2 is written as simply as 1 / sqrt(2).
                    found.append((product * own, float(name) * a * a / product, (a, product // a, k)))
    found.sort()
    return (
        np.array([value for _, value, _ in found]),
        np.array([height for height, _, _ in found]),
        tuple(parts for _, _, parts in found),
    )


def constant(value: float, deviation: float, among: int = 1) -> sympy.Expr | None:
    r"""Return the named number that a measured one is, as far as its standard deviation can tell; None if none is.

    It is the simplest within :data:`~ndm_apps.plugins.physics.formula.WITHIN` standard deviations s, and is believed if
    so simple ones are seldom so near by chance. With m of them between :math:`x / 2` and :math:`2 x`, these lie within
    2.5 s of a random number there with the probability

    .. math:: 2 \cdot 2.5\, s\, m / (2 x - x / 2) < 0.05 / n

    if it is one of n numbers that are looked at.

    Parameters
    ----------
    value
        x, of either sign.
    deviation
        s.
    among
        n.

    Examples
    --------
    >>> constant(0.7072, 3e-4), constant(-3.1418, 5e-4), constant(0.3334, 2e-4), constant(0.7072, 0.01)
    (sqrt(2)/2, -pi, 1/3, None)
    """
    size = abs(value)
    half = WITHIN * max(deviation, FINEST * size)
    values, heights, parts = _known()
    near = np.flatnonzero(np.abs(values - size) <= half)
    if len(near) == 0:
        return None
    first = int(near[0])
    rivals = (values > size / OCTAVE) & (values < size * OCTAVE) & (heights <= heights[first])
    if 2.0 * half * int(rivals.sum()) * among >= COINCIDENCE * size * (OCTAVE - 1.0 / OCTAVE):
        return None
    a, b, k = parts[first]
    return sympy.Rational(a, b) * NAMES[k][0] * (1 if value > 0 else -1)
