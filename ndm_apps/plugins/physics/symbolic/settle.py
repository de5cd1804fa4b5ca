"""Numbers of a shape that make laws of it: the least eigenvalue of a small dictionary falls to that of noise there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ndm_apps.expression import ExpressionError
from ndm_apps.plugins.physics.atoms import own_expression
from ndm_apps.plugins.physics.dictionary import Dictionary, column_atoms, products
from ndm_apps.plugins.physics.leaf import evaluate, problem
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.scan import ROUNDING
from ndm_apps.plugins.physics.symbolic.shapes import Shape
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Evaluations of a first look at a shape, of its refinement, and where a number was rounded, for each free number.
LOOK, REFINE, ROUND = 25, 100, 40
#: Shapes that are looked at, and those of them that are refined.
LOOKED, REFINED = 40, 6
#: Samples, about.
SAMPLES = 600
#: At no noise, an eigenvalue below this is that of rounding errors: no shape does better.
SURE = 1e-4
#: Shapes with eigenvalues up to so many times the least, at no noise and in noise, are as good: the simplest is first.
AS_GOOD_EXACT, AS_GOOD_NOISY = 100.0, 1.02
#: Highest degree of products of columns with a shape, as of the user's own expressions.
DEGREE = 2
#: Digits that a number is rounded to at most.
DIGITS = 6
#: A shape is defined at this part of the samples at least, and varies by this part of its size there.
LEAST_VALID, LEAST_VARIATION = 0.7, 1e-3
#: For no eigenvalue at all.
_NONE = 1e300


@final
@dataclass(frozen=True)
class Settled:
    """A shape whose numbers are fixed, as expressions.

    Attributes
    ----------
    eigenvalue
        The least one that is new with it.
    texts
        What it is.
    operations
        How long that is.
    """

    eigenvalue: float
    texts: tuple[str, ...]
    operations: int


@final
class Ground:
    """Samples on which shapes are compared: by the least eigenvalue of products of columns with them.

    Parameters
    ----------
    data
        Trajectories that may be fitted.
    level
        What counts as conserved.
    moving
        Numbers of the columns that change.
    """

    def __init__(self, data: Trajectories, level: Level, moving: Iterable[int]) -> None:
        self.data, self.level = data.thinned(SAMPLES), level
        self.plain = [atom for atom in column_atoms(data.state, data.angles) if atom.columns[0] in moving]
        # So many laws are there without a shape: these are not new.
        self.old = int((self._eigenvalues(()) < level.kept).sum())

    def eigenvalue(self, shape: Shape, numbers: Sequence[float] | Array) -> float:
        """Return the least eigenvalue that is new with a shape."""
        texts = shape.texts(numbers)
        try:
            with np.errstate(all="ignore"):
                found = self._eigenvalues(texts)
        except (ExpressionError, ValueError, np.linalg.LinAlgError):
            return _NONE
        return float(found[self.old]) if len(found) > self.old and np.isfinite(found[self.old]) else _NONE

    def _eigenvalues(self, texts: Sequence[str]) -> Array:
        own = [own_expression(one, self.data.state) for one in texts]
        for atom in own:
            value = atom.jet(self.data.values).value
            if not atom.columns or np.std(value) < LEAST_VARIATION * np.abs(value).max():
                raise ValueError("a constant is conserved anyway")
        atoms = [*self.plain, *own]
        dictionary = Dictionary(self.data.state, tuple(products(atoms, DEGREE)))
        exact = self.level.exact
        samples = evaluate(dictionary, self.data, self.level.sigma, noisy=not exact)
        if samples.size < LEAST_VALID * len(self.data.values):
            raise ValueError("the shape is defined at too few samples")
        return problem(samples, self.level.sigma, np.ones(samples.size), "each", exact=exact).solve()[0]


def settled(shapes: Sequence[Shape], ground: Ground) -> list[Settled]:
    """Return the shapes with which there is a new law, with the numbers that suit, the simplest first."""
    looked = [_fitted(shape, ground, LOOK) for shape in shapes[:LOOKED]]
    found: dict[tuple[str, ...], Settled] = {}
    for _, shape in sorted(looked, key=lambda one: one[0])[:REFINED]:
        value, best = _fitted(shape, ground, REFINE)
        if value < ground.level.kept:
            best = _rounded(best, ground, value)
            found.setdefault(best.texts(()), Settled(value, best.texts(()), best.operations))
            if value < SURE:
                break
    best = min((one.eigenvalue for one in found.values()), default=0.0)
    good = best * (AS_GOOD_EXACT if ground.level.exact else AS_GOOD_NOISY)
    return sorted(found.values(), key=lambda one: (one.eigenvalue > good, one.operations, len(" ".join(one.texts))))


def _fitted(shape: Shape, ground: Ground, evaluations: int) -> tuple[float, Shape]:
    """Return the least eigenvalue and the shape that starts there, by Nelder and Mead's method on the logarithm."""

    def logarithm(numbers: Array) -> float:
        return float(np.log(max(ground.eigenvalue(shape, numbers), np.finfo(float).tiny)))

    if not shape.symbols:
        return ground.eigenvalue(shape, ()), shape
    options = {"maxfev": evaluations * len(shape.start), "xatol": 1e-13, "fatol": 1e-6}
    found = minimize(logarithm, shape.start, method="Nelder-Mead", options=options)
    return float(np.exp(found.fun)), replace(shape, start=tuple(found.x.tolist()))


def _rounded(shape: Shape, ground: Ground, value: float) -> Shape:
    """Round one number after the other to the fewest digits, to 0 or 1 if that will do; the others are fitted again."""
    allowed = max(value, 1.0) if ground.level.exact else value + ROUNDING / len(ground.data.values)
    while shape.symbols:
        first = shape.start[0]
        for number in (0.0, 1.0, -1.0, *(float(f"{first:.{digits}g}") for digits in range(1, DIGITS + 1))):
            least, rest = _fitted(shape.fixed([number]), ground, ROUND)
            if least <= allowed:
                break
        else:
            rest = shape.fixed([first])
        shape = rest
    return shape
