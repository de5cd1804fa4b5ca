"""The factors that terms of a dictionary are made of, each with its first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.expression import FUNCTIONS, Expression, parse_expression

Array = NDArray[np.float64]

#: A function with a pole is not evaluated within so many standard deviations of the noise of it.
FROM_POLES = 3.0
#: A user's expression is not evaluated where it or a derivative is larger, for products of these overflow.
LARGEST = 1e60
#: Step of the differences that differentiate a user's expression, in units of the column's spread.
_STEP = 1e-4

#: The functions of expressions, on arrays.
NUMPY: dict[str, Callable[..., Any]] = {
    name: getattr(np, {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2"}.get(name, name))
    for name in FUNCTIONS
    if name not in ("min", "max")
} | {"min": np.minimum, "max": np.maximum}
#: ... and on sympy expressions.
SYMPY: dict[str, Callable[..., Any]] = {
    name: getattr(sympy, {"abs": "Abs", "min": "Min", "max": "Max"}.get(name, name)) for name in FUNCTIONS
}


@final
@dataclass(frozen=True)
class Jet:
    """Values, first derivatives, and second derivatives twice by the same column; absent ones are zero."""

    value: Array
    first: dict[int, Array]
    second: dict[int, Array]

    def __mul__(self, other: Jet) -> Jet:
        first = {column: slope * other.value for column, slope in self.first.items()}
        second = {column: bend * other.value for column, bend in self.second.items()}
        for column, slope in other.first.items():
            _add(first, column, self.value * slope)
            if column in self.first:
                _add(second, column, 2.0 * self.first[column] * slope)
        for column, bend in other.second.items():
            _add(second, column, self.value * bend)
        return Jet(self.value * other.value, first, second)


def _add(parts: dict[int, Array], column: int, part: Array) -> None:
    parts[column] = parts[column] + part if column in parts else part


@final
@dataclass(frozen=True)
class Atom:
    r"""A function of one or several columns.

    Attributes
    ----------
    kind
        ``column``, ``sin``, ``cos``, ``log``: of one column. ``exp``: :math:`e^{a(x_i - x_j)}`, a being ``power``.
        ``difference``: :math:`(x_i - x_j)^k`. ``distance``: :math:`(r^2 + s)^{k/2}` with r the length of some columns
        or, if ``pair``, of the difference of their first and second half, and s the ``softening``; ``log_distance``:
        its logarithm. ``expression``: the user's own.
    columns
        Numbers of the columns.
    power
        k, or a.
    softening
        s.
    pair
        Whether a distance is between two points.
    text
        The user's expression.
    names
        Names of all columns, for the user's expression.
    """

    kind: str
    columns: tuple[int, ...]
    power: float = 1.0
    softening: float = 0.0
    pair: bool = False
    text: str = ""
    names: tuple[str, ...] = ()

    @property
    def special(self) -> bool:
        """Whether it is other than a column or a sine or cosine of it."""
        return self.kind not in ("column", "sin", "cos")

    @cached_property
    def tree(self) -> Expression:
        """The user's expression."""
        return parse_expression(self.text, self.names)

    def jet(self, values: Array) -> Jet:
        """Evaluate it on samples, ``(samples, columns)``."""
        if self.kind in ("distance", "log_distance"):
            return self._distance(values)
        if self.kind in ("exp", "difference"):
            return self._difference(values)
        if self.kind == "expression":
            return self._expression(values)
        column = self.columns[0]
        x = values[:, column]
        if self.kind == "sin":
            sine = np.sin(x)
            return Jet(sine, {column: np.cos(x)}, {column: -sine})
        if self.kind == "cos":
            cosine = np.cos(x)
            return Jet(cosine, {column: -np.sin(x)}, {column: -cosine})
        if self.kind == "log":
            return Jet(np.log(x), {column: 1 / x}, {column: -1 / x**2})
        return Jet(x, {column: np.ones_like(x)}, {})

    def _difference(self, values: Array) -> Jet:
        one, other = self.columns
        x, k = values[:, one] - values[:, other], self.power
        if self.kind == "exp":
            value = np.exp(k * x)
            slope, bend = k * value, k**2 * value
        else:
            value, slope, bend = x**k, k * x ** (k - 1), k * (k - 1) * x ** (k - 2)
        return Jet(value, {one: slope, other: -slope}, {one: bend, other: bend})

    def _arms(self, values: Array) -> tuple[Array, Array]:
        half = len(self.columns) // 2
        own = values[:, self.columns]
        arms = own[:, :half] - own[:, half:] if self.pair else own
        return arms, (arms**2).sum(axis=1) + self.softening

    def _distance(self, values: Array) -> Jet:
        arms, square = self._arms(values)
        if self.kind == "distance":
            k = self.power
            value = square ** (k / 2)
            by_arm = k * square ** (k / 2 - 1)
            bend_more = k * (k - 2) * square ** (k / 2 - 2)
        else:
            value = np.log(square) / 2
            by_arm = 1 / square
            bend_more = -2 / square**2
        first, second = {}, {}
        for n in range(arms.shape[1]):
            slope, bend = by_arm * arms[:, n], by_arm + bend_more * arms[:, n] ** 2
            first[self.columns[n]], second[self.columns[n]] = slope, bend
            if self.pair:
                other = self.columns[n + arms.shape[1]]
                first[other], second[other] = -slope, bend
        return Jet(value, first, second)

    def _expression(self, values: Array) -> Jet:
        """Differentiate by central differences: any function of the whitelist works."""

        def of(points: Array) -> Array:
            by_name = dict(zip(self.names, points.T, strict=True))
            return np.broadcast_to(np.asarray(self.tree.evaluate(by_name, NUMPY, np.float64), float), len(points))

        value = of(values)
        first, second = {}, {}
        for column in self.columns:
            step = np.zeros(values.shape[1])
            step[column] = _STEP * max(float(values[:, column].std()), 1e-12)
            above, below = of(values + step), of(values - step)
            first[column] = (above - below) / (2 * step[column])
            second[column] = (above - 2 * value + below) / step[column] ** 2
        return Jet(value, first, second)

    def valid(self, values: Array, sigma: Array) -> NDArray[np.bool_]:
        """Return which samples it is defined at, with room for noise."""
        if self.kind == "log":
            column = self.columns[0]
            return values[:, column] > FROM_POLES * sigma[column]
        if self.kind == "difference" and self.power < 0:
            one, other = self.columns
            return np.abs(values[:, one] - values[:, other]) > FROM_POLES * np.hypot(sigma[one], sigma[other])
        if self.kind in ("distance", "log_distance"):
            _, square = self._arms(values)
            noise = float(np.mean(sigma[list(self.columns)] ** 2)) * (2.0 if self.pair else 1.0)
            return square > FROM_POLES**2 * noise
        if self.kind == "expression":
            with np.errstate(all="ignore"):
                jet = self._expression(values)
                good = np.abs(jet.value) < LARGEST
                for part in (*jet.first.values(), *jet.second.values()):
                    good &= np.abs(part) < LARGEST
            return good
        return np.ones(len(values), dtype=bool)

    def sympy(self, columns: tuple[str, ...]) -> sympy.Expr:
        """Return it as a sympy expression in the names of the columns; nothing is parsed by sympy."""
        symbols = [sympy.Symbol(columns[number]) for number in self.columns]
        if self.kind == "column":
            return symbols[0]
        if self.kind in ("sin", "cos", "log"):
            return getattr(sympy, self.kind)(symbols[0])
        power = _number(self.power)
        if self.kind == "exp":
            return sympy.exp(power * (symbols[0] - symbols[1]))
        if self.kind == "difference":
            return (symbols[0] - symbols[1]) ** power
        if self.kind == "expression":
            by_name = {name: sympy.Symbol(name) for name in self.names}
            return self.tree.evaluate(by_name, SYMPY, _number)
        half = len(symbols) // 2
        arms = [a - b for a, b in zip(symbols[:half], symbols[half:], strict=True)] if self.pair else symbols
        square = sum((arm**2 for arm in arms), start=_number(self.softening))
        return sympy.log(square) / 2 if self.kind == "log_distance" else square ** (power / 2)


def own_expression(text: str, columns: Sequence[str]) -> Atom:
    """Return the atom of an expression in the names of the columns."""
    names = tuple(columns)
    used = parse_expression(text, names).names
    return Atom("expression", tuple(n for n, c in enumerate(names) if c in used), text=text, names=names)


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if float(value).is_integer() else sympy.Float(repr(float(value)))
