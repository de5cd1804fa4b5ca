"""Formulas of a task as functions on arrays of states, with their exact derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndm_apps.expression import Expression, parse_expression
from ndm_apps.plugins.planning.dynamics import Array

#: The functions of formulas in numpy.
NUMPY: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log", "sqrt", "sign")},
    **{"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "abs": np.abs},
    **{"min": np.minimum, "max": np.maximum},
}


def wrapped(angle: Array) -> Array:
    """Return angles in [-pi, pi).

    Examples
    --------
    >>> float(wrapped(np.array(3 * np.pi / 2)))
    -1.5707963267948966
    """
    return (angle + np.pi) % (2 * np.pi) - np.pi


class Formulas:
    """Functions (..., n) to (..., q) of a state, given as texts; angles are wrapped before they enter.

    Parameters
    ----------
    texts
        The q formulas.
    columns
        Names of the n columns.
    angles
        The columns that are angles, by index.
    constants
        Values of further names.

    Examples
    --------
    >>> formulas = Formulas(["theta", "sqrt(0.1)*omega"], ["theta", "omega"], (0,), {})
    >>> formulas(np.array([2 * np.pi, 1.0])).round(4).tolist()
    [0.0, 0.3162]
    >>> formulas.jacobian(np.array([2 * np.pi, 1.0])).round(4).tolist()
    [[1.0, 0.0], [0.0, 0.3162]]
    """

    def __init__(
        self,
        texts: Sequence[str | float],
        columns: Sequence[str],
        angles: Sequence[int],
        constants: Mapping[str, float],
    ) -> None:
        self.columns, self.angles = tuple(columns), frozenset(angles)
        self.constants = {name: np.float64(value) for name, value in constants.items()}
        self._trees = [parse_expression(text, (*columns, *constants)) for text in texts]
        self._constant = np.zeros((len(texts), len(columns)))
        self._entries: list[tuple[int, int, Expression]] = []
        for row, tree in enumerate(self._trees):
            for column, name in enumerate(self.columns):
                entry = derivative(tree, name)
                if entry.names.intersection(self.columns):
                    self._entries.append((row, column, entry))
                else:
                    self._constant[row, column] = entry.evaluate(self.constants, NUMPY, np.float64)

    def __call__(self, x: Array) -> Array:
        """Return the values (..., q) at states (..., n)."""
        values, shape = self._named(x), x.shape[:-1]
        out = np.empty((*shape, len(self._trees)))
        for row, tree in enumerate(self._trees):
            out[..., row] = tree.evaluate(values, NUMPY, np.float64)
        return out

    def jacobian(self, x: Array) -> Array:
        """Return the derivatives (..., q, n) at states (..., n)."""
        out = np.empty((*x.shape[:-1], *self._constant.shape))
        out[...] = self._constant
        if self._entries:
            values = self._named(x)
            for row, column, tree in self._entries:
                out[..., row, column] = tree.evaluate(values, NUMPY, np.float64)
        return out

    def _named(self, x: Array) -> dict[str, Array]:
        named = {name: x[..., n] for n, name in enumerate(self.columns)}
        for n in self.angles:
            named[self.columns[n]] = wrapped(named[self.columns[n]])
        return {**self.constants, **named}


class Condition:
    """A condition (..., n) to (...) on a state; parameters as of :class:`Formulas`.

    Examples
    --------
    >>> Condition("-0.1 < theta < 0.1", ["theta"], (0,), {})(np.array([[6.28], [1.0]])).tolist()
    [True, False]
    """

    def __init__(
        self, text: str, columns: Sequence[str], angles: Sequence[int], constants: Mapping[str, float]
    ) -> None:
        self._formulas = Formulas([], columns, angles, constants)
        self._tree = parse_expression(text, (*columns, *constants), allow_comparison=True)

    def __call__(self, x: Array) -> NDArray[np.bool_]:
        """Return whether it holds, (...), at states (..., n)."""
        met = self._tree.evaluate(self._formulas._named(x), NUMPY, np.float64)
        return np.broadcast_to(met, x.shape[:-1])


def of_observation(texts: Sequence[str | float], entries: int) -> Callable[[Array], Array]:
    """Return the function from flattened observations (..., entries) to the values (..., q) of formulas of them."""
    names = [f"o{n}" for n in range(entries)]
    return Formulas(texts, names, (), {})


_ZERO, _ONE = Expression("number", value=0.0), Expression("number", value=1.0)


def derivative(tree: Expression, name: str) -> Expression:
    """Return the derivative of an expression with respect to a variable.

    Examples
    --------
    >>> from ndm_apps.expression import parse_expression
    >>> print(derivative(parse_expression("a*sin(q)**2", ["a", "q"]), "q"))
    a*(2.0*sin(q)*cos(q))
    """
    if tree.head == "name":
        return _ONE if tree.value == name else _ZERO
    if name not in tree.names:
        return _ZERO
    inner = [derivative(argument, name) for argument in tree.arguments]
    match tree.head:
        case "negative":
            return _minus(_ZERO, inner[0])
        case "+":
            return _plus(*inner)
        case "-":
            return _minus(*inner)
        case "*":
            a, b = tree.arguments
            return _plus(_times(inner[0], b), _times(a, inner[1]))
        case "/":
            a, b = tree.arguments
            return _minus(_over(inner[0], b), _over(_times(a, inner[1]), _times(b, b)))
        case "**":
            return _of_power(tree, inner)
        case "atan2":
            y, x = tree.arguments
            square = _plus(_times(x, x), _times(y, y))
            return _over(_minus(_times(x, inner[0]), _times(y, inner[1])), square)
        case "min" | "max":
            return _of_extreme(tree, name)
    return _times(_slope(tree), inner[0])


def _of_power(tree: Expression, inner: Sequence[Expression]) -> Expression:
    base, exponent = tree.arguments
    if exponent.names:  # b**e (e' log b + e b'/b)
        return _times(tree, _plus(_times(inner[1], _call("log", base)), _over(_times(exponent, inner[0]), base)))
    less = _number(float(exponent.evaluate({}, {})) - 1.0)
    power = base if less == _ONE else Expression("**", (base, less))
    return _times(_times(_number(less.value + 1.0), power), inner[0])


def _of_extreme(tree: Expression, name: str) -> Expression:
    """Return the derivative of whichever of two is taken: (a' (1 + s) + b' (1 - s)) / 2, s the sign of the choice."""
    first, *rest = tree.arguments
    if not rest:
        return derivative(first, name)
    other = Expression(tree.head, tuple(rest)) if len(rest) > 1 else rest[0]
    difference = _minus(first, other) if tree.head == "max" else _minus(other, first)
    sign = _call("sign", difference)
    a, b = derivative(first, name), derivative(other, name)
    return _over(_plus(_times(a, _plus(_ONE, sign)), _times(b, _minus(_ONE, sign))), _number(2.0))


def _slope(tree: Expression) -> Expression:
    """Return the derivative of a function of one argument with respect to that."""
    (x,) = tree.arguments
    square = _times(x, x)
    return {
        "sin": lambda: _call("cos", x),
        "cos": lambda: _minus(_ZERO, _call("sin", x)),
        "tan": lambda: _plus(_ONE, _times(tree, tree)),
        "sinh": lambda: _call("cosh", x),
        "cosh": lambda: _call("sinh", x),
        "tanh": lambda: _minus(_ONE, _times(tree, tree)),
        "asin": lambda: _over(_ONE, _call("sqrt", _minus(_ONE, square))),
        "acos": lambda: _over(_number(-1.0), _call("sqrt", _minus(_ONE, square))),
        "atan": lambda: _over(_ONE, _plus(_ONE, square)),
        "exp": lambda: tree,
        "log": lambda: _over(_ONE, x),
        "sqrt": lambda: _over(_number(0.5), tree),
        "abs": lambda: _call("sign", x),
        "sign": lambda: _ZERO,
    }[tree.head]()


def _number(value: float) -> Expression:
    return Expression("number", value=float(value))


def _call(function: str, argument: Expression) -> Expression:
    return Expression(function, (argument,))


def _plus(a: Expression, b: Expression) -> Expression:
    if a == _ZERO:
        return b
    return a if b == _ZERO else Expression("+", (a, b))


def _minus(a: Expression, b: Expression) -> Expression:
    if b == _ZERO:
        return a
    return Expression("negative", (b,)) if a == _ZERO else Expression("-", (a, b))


def _times(a: Expression, b: Expression) -> Expression:
    if _ZERO in (a, b):
        return _ZERO
    if a == _ONE:
        return b
    return a if b == _ONE else Expression("*", (a, b))


def _over(a: Expression, b: Expression) -> Expression:
    return _ZERO if a == _ZERO else Expression("/", (a, b))
