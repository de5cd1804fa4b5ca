"""Expressions as one list of numpy operations: what occurs twice is computed once, parameters are folded in."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.expression import CONSTANTS, Expression
from ndm_apps.plugins.physics.atoms import NUMPY

Array = NDArray[np.float64]

_BINARY: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}
_COMMUTES = ("+", "*", "min", "max")


def compiled(
    trees: Sequence[Expression], names: Sequence[str], constants: Mapping[str, float]
) -> Callable[[Array], Array]:
    """Return a function of the variables that evaluates several expressions together.

    Parameters
    ----------
    trees
        Arithmetic expressions in ``names`` and ``constants``.
    names
        The variables.
    constants
        Values of the other names.

    Returns
    -------
    callable
        From shape ``(names, many)`` to ``(trees, many)``. Values that do not exist are NaN or infinite, with numpy's
        warnings.

    Examples
    --------
    >>> from ndm_apps.expression import parse_expression
    >>> trees = [parse_expression(text, ["x", "y", "k"]) for text in ("k*(x - y)**2", "sin(0)", "(y - x)**2/k")]
    >>> compiled(trees, ["x", "y"], {"k": 2.0})(np.array([[1.0, 4.0], [3.0, 4.0]]))
    array([[8., 0.],
           [0., 0.],
           [2., 0.]])
    """
    tape = _Tape(names, constants)
    results = [tape.slot(tree) for tree in trees]
    steps, start = tape.steps, tape.start

    def evaluate(state: Array) -> Array:
        slots: list[Any] = list(start)
        slots[: len(state)] = state
        for number, function, arguments in steps:
            slots[number] = function(*[slots[n] for n in arguments])
        values = np.empty((len(results), state.shape[1]))
        for row, number in enumerate(results):
            values[row] = slots[number]
        return values

    return evaluate


@final
class _Tape:
    """Numbers each distinct subexpression: a variable, a constant, or an operation on earlier ones."""

    def __init__(self, names: Sequence[str], constants: Mapping[str, float]) -> None:
        self.start: list[float | None] = [None] * len(names)
        self.steps: list[tuple[int, Callable[..., Any], tuple[int, ...]]] = []
        self._constants = {**CONSTANTS, **constants}
        self._variables = {name: number for number, name in enumerate(names)}
        self._known: dict[tuple[Any, ...], int] = {}

    def slot(self, tree: Expression) -> int:
        """Return the number of an expression's value."""
        if tree.head == "number":
            return self._constant(float(tree.value))
        if tree.head in ("name", "constant"):
            name = str(tree.value)
            return self._variables[name] if name in self._variables else self._constant(self._constants[name])
        arguments = [self.slot(argument) for argument in tree.arguments]
        found = arguments[0]
        if len(arguments) == 1:
            return self._operation(tree.head, found)
        for argument in arguments[1:]:
            found = self._operation(tree.head, found, argument)
        return found

    def _constant(self, value: float) -> int:
        key = ("constant", value)
        if key not in self._known:
            self._known[key] = len(self.start)
            self.start.append(value)
        return self._known[key]

    def _operation(self, head: str, *arguments: int) -> int:
        if head == "**" and (power := self._power(*arguments)) is not None:
            return power
        if head == "-" and arguments[0] > arguments[1]:
            # The difference of two variables is computed one way only.
            return self._operation("negative", self._operation("-", arguments[1], arguments[0]))
        if head in _COMMUTES:
            arguments = tuple(sorted(arguments))
        key = (head, *arguments)
        if key in self._known:
            return self._known[key]
        function = _BINARY.get(head) or NUMPY.get(head, operator.neg)
        values = [self.start[n] for n in arguments]
        if all(value is not None for value in values):
            with np.errstate(all="ignore"):
                self._known[key] = self._constant(float(function(*(np.float64(value) for value in values))))
        else:
            self._known[key] = len(self.start)
            self.start.append(None)
            self.steps.append((self._known[key], function, arguments))
        return self._known[key]

    def _power(self, base: int, exponent: int) -> int | None:
        """Write small multiples of 1/2 as products and roots, which are faster than powers; None for others."""
        power = self.start[exponent]
        if self.start[base] is not None or power is None or power * 2 not in range(-8, 9) or power == 0:
            return None
        if power < 0:
            positive = self._operation("**", base, self._constant(-power))
            return self._operation("/", self._constant(1.0), positive)
        whole = int(power)
        root = self._operation("sqrt", base) if power != whole else None
        found = root
        squared = base
        while whole:
            if whole % 2:
                found = squared if found is None else self._operation("*", found, squared)
            whole //= 2
            if whole:
                squared = self._square(squared)
        return found

    def _square(self, base: int) -> int:
        """Square a number; of its negative, the same."""
        for number, function, arguments in self.steps:
            if number == base and function is operator.neg:
                base = arguments[0]
        return self._operation("*", base, base)
