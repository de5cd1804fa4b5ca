"""The tree of a mathematical expression: evaluated on arrays of any library, and written back as text."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

from ndm_apps.wording import listed

#: Number of arguments of each function; None: two or more.
FUNCTIONS: dict[str, int | None] = {
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"), 1),
    **dict.fromkeys(("exp", "log", "sqrt", "abs", "sign"), 1),
    "atan2": 2,
    "min": None,
    "max": None,
}
#: Constants; a state of the same name takes precedence.
CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e}

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "and": operator.and_,
    "or": operator.or_,
}
# How tightly each operator binds; a leaf or a call binds tightest.
_BINDING = {"or": 1, "and": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "+": 4, "-": 4, "*": 5, "/": 5, "negative": 6, "**": 7}
_LEAF = 8


@final
@dataclass(frozen=True)
class Expression:
    """A node of an expression: immutable, comparable, hashable.

    Attributes
    ----------
    head
        ``"number"``, ``"name"``, ``"constant"``, ``"negative"``, an operator such as ``"+"`` or ``"<="``, ``"and"``,
        ``"or"``, or a function such as ``"sin"``.
    arguments
        The nodes it is applied to.
    value
        The number, or the name of a variable or constant.
    """

    head: str
    arguments: tuple[Expression, ...] = ()
    value: int | float | str = 0

    @property
    def names(self) -> frozenset[str]:
        """The variables that occur in it (constants do not count)."""
        own = {str(self.value)} if self.head == "name" else set()
        return frozenset(own.union(*(argument.names for argument in self.arguments)))

    def evaluate(
        self,
        values: Mapping[str, Any],
        functions: Mapping[str, Callable[..., Any]],
        number: Callable[[int | float], Any] = lambda number: number,
    ) -> Any:
        """Return the value of the expression.

        Parameters
        ----------
        values
            An array, number or symbol for each name; one for ``pi`` or ``e`` replaces the constant.
        functions
            The functions that occur in it, such as ``{"sin": torch.sin}``; ``min`` and ``max`` take two arguments.
        number
            What literals and constants are passed through, such as ``sympy.nsimplify``.

        Raises
        ------
        ValueError
            A name or function that occurs is not given.

        Examples
        --------
        >>> sine = Expression("sin", (Expression("name", value="q"),))
        >>> str(sine), sine.evaluate({"q": math.pi / 2}, {"sin": math.sin})
        ('sin(q)', 1.0)
        """
        if self.head == "number":
            return number(self.value)  # type: ignore[arg-type]
        if self.head in ("name", "constant"):
            name = str(self.value)
            if name in values:
                return values[name]
            if self.head == "constant":
                return number(CONSTANTS[name])
            raise ValueError(f"no value given for {name!r} (given: {listed(values)})")
        parts = [argument.evaluate(values, functions, number) for argument in self.arguments]
        if self.head == "negative":
            return -parts[0]
        if self.head in _OPERATORS:
            return reduce(_OPERATORS[self.head], parts)
        if self.head not in functions:
            raise ValueError(f"no function given for {self.head!r} (given: {listed(functions)})")
        function = functions[self.head]
        return reduce(function, parts) if FUNCTIONS[self.head] is None else function(*parts)

    def __str__(self) -> str:
        texts = [str(argument) for argument in self.arguments]
        if not texts:
            return str(self.value) if isinstance(self.value, str) else repr(self.value)
        binding = _BINDING.get(self.head)
        if binding is None:
            return f"{self.head}({', '.join(texts)})"
        # The side on which an operator of the same binding needs parentheses: all left but powers, none for chains.
        for n, argument in enumerate(self.arguments):
            below = _BINDING.get(argument.head, _LEAF)
            if self.head == "**":
                wrap = below <= binding if n == 0 else below < _BINDING["negative"]
            elif self.head == "negative":
                wrap = below < binding
            elif binding <= 3:
                wrap = below <= binding
            else:
                wrap = below < binding if n == 0 else below <= binding
            texts[n] = f"({texts[n]})" if wrap else texts[n]
        if self.head == "negative":
            return f"-{texts[0]}"
        return (self.head if self.head in ("*", "/", "**") else f" {self.head} ").join(texts)
