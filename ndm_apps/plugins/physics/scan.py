"""Dictionaries with one unknown number, such as the softening of a force or the rate of an exponential, by a scan.

The least eigenvalue of a small dictionary tells how well the number suits the data: it falls to 1 (at no noise to 0)
where the dictionary holds a law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Term, products
from ndm_apps.plugins.physics.leaf import evaluate, problem
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.tiers import Tier, Vocabulary
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Eigenvalues that are worth a search, in units of the level's own limit.
WORTH = 4.0
#: ... if the criterion falls by so much below that of the usual number.
GAIN = 20.0
#: A number is rounded as long as the criterion rises by no more than this (two standard deviations).
ROUNDING = 4.0
#: Grid of a number, in units of what is typical for the data.
SOFTENINGS = (0.0, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
POWERS = (-4.0, -3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 1.5, 2.5, 3.0)
RATES = (0.1, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
_DIGITS = 6
#: Minima on the grid that are looked at more closely.
VALLEYS = 2


@final
@dataclass(frozen=True)
class Family:
    """A dictionary for each value of a number.

    Attributes
    ----------
    name, words
        Of the tier it becomes.
    terms
        The dictionary's terms for a number.
    grid
        Numbers that are tried first, ascending.
    usual
        The number that other dictionaries have already.
    """

    name: str
    words: str
    terms: Callable[[float], list[Term]]
    grid: tuple[float, ...]
    usual: float


def families(words: Vocabulary, values: Array) -> list[Family]:
    """Return the families that the columns' kinds allow; their grids suit the values, ``(samples, columns)``."""
    momenta = [Atom("column", (n,)) for n in words.momenta]
    kinetic = products(momenta, 2)
    found: list[Family] = []
    if words.distances and momenta:
        sizes = [float(np.median(atom.jet(values).value)) ** -2 for atom in words.distances]
        scale = float(np.median(sizes))

        def softened(number: float) -> list[Term]:
            return [*kinetic, *((replace(atom, softening=number),) for atom in words.distances)]

        def powers(number: float) -> list[Term]:
            return [*kinetic, *((replace(atom, power=number),) for atom in words.distances)]

        grid = tuple(scale * one for one in SOFTENINGS)
        found.append(Family("radS", "products of two momenta, and softened inverse distances", softened, grid, 0.0))
        found.append(Family("radN", "products of two momenta, and a power of distances", powers, POWERS, -1.0))
    if words.exponentials and momenta:
        gaps = [values[:, one] - values[:, other] for one, other in (atom.columns for atom in words.exponentials)]
        rate = 1.0 / max(float(np.median([gap.std() for gap in gaps])), np.finfo(float).tiny)

        def exponentials(number: float) -> list[Term]:
            return [*kinetic, *((replace(atom, power=number),) for atom in words.exponentials)]

        grid = tuple(rate * one for one in RATES)
        found.append(Family("expR", "products of two momenta, and exponentials of a rate", exponentials, grid, 1.0))
    return found


def settled(family: Family, data: Trajectories, level: Level) -> Tier | None:
    """Return the dictionary with the number that suits the data best; None if none does better than the usual one."""

    def least(number: float) -> float:
        dictionary = _small(data.state, family.terms(number))
        try:
            with np.errstate(all="ignore"):
                samples = evaluate(dictionary, data, level.sigma, noisy=not level.exact)
                weights = np.ones(samples.size)
                found = problem(samples, level.sigma, weights, "each", exact=level.exact).solve()[0]
        except (ValueError, np.linalg.LinAlgError):
            return np.inf
        return float(found[0]) if len(found) and np.isfinite(found[0]) else np.inf

    values = [least(number) for number in family.grid]
    number, value = min((_refined(least, family.grid, n) for n in _valleys(values)), key=lambda one: one[1])
    if value > WORTH * level.kept or value > least(family.usual) - GAIN / len(data.values):
        return None
    allowed = max(value, 1.0) if level.exact else value + ROUNDING / len(data.values)
    for digits in range(1, _DIGITS + 1):
        shorter = float(f"{number:.{digits}g}")
        if least(shorter) <= allowed:
            number = shorter
            break
    if number == family.usual:
        return None
    return Tier(family.name, f"{family.words} ({number:.6g})", Dictionary(data.state, tuple(family.terms(number))))


def _valleys(values: Sequence[float]) -> list[int]:
    """Return where values are least among their neighbours, the lowest few first: the lowest need not be the deepest.

    Examples
    --------
    >>> _valleys([3.0, 5.0, 4.0, 2.0, 6.0])
    [3, 0]
    """
    padded = [np.inf, *values, np.inf]
    found = [n for n in range(len(values)) if padded[n + 1] <= min(padded[n], padded[n + 2])]
    return sorted(found, key=lambda n: values[n])[:VALLEYS]


def _refined(least: Callable[[float], float], grid: Sequence[float], best: int) -> tuple[float, float]:
    """Return the number between neighbours of a grid's that has the least value, and the value."""
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(least, bounds=(low, high), method="bounded", options={"xatol": 1e-12 * (high - low)})
    return float(found.x), float(found.fun)


def _small(columns: Sequence[str], terms: Sequence[Term]) -> Dictionary:
    """Return the dictionary without products of two different momenta, in which an energy seldom has terms."""
    kept = [term for term in terms if (len(term) == 2 and term[0] == term[1]) or term[0].special]
    return Dictionary(tuple(columns), tuple(kept))
