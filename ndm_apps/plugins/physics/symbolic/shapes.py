"""Pieces of formulas that no dictionary has, with their numbers set free: ``exp(a*x)``, ``sqrt(a + b*p**2)``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import sympy

from ndm_apps.expression import Expression
from ndm_apps.plugins.physics.atoms import SYMPY

#: Free numbers of a shape at most.
MOST_NUMBERS = 3


@final
@dataclass(frozen=True)
class Shape:
    """A function of columns with free numbers.

    Attributes
    ----------
    form
        The function.
    symbols
        The free numbers in it.
    start
        Values of them to begin with.
    squared
        Whether its square is meant beside it.
    """

    form: sympy.Expr
    symbols: tuple[sympy.Symbol, ...]
    start: tuple[float, ...]
    squared: bool = False

    def texts(self, numbers: Iterable[float]) -> tuple[str, ...]:
        """Return the expressions with numbers put in, as their parser reads them."""
        put_in = self.fixed(numbers).form
        return (str(put_in), str(put_in**2)) if self.squared else (str(put_in),)

    def fixed(self, numbers: Iterable[float]) -> Shape:
        """Return the shape with the first of its numbers fixed."""
        values = [_number(float(one)) for one in numbers]
        form = self.form.xreplace(dict(zip(self.symbols, values, strict=False)))
        return replace(self, form=form, symbols=self.symbols[len(values) :], start=self.start[len(values) :])

    @property
    def operations(self) -> int:
        """How long it is."""
        return int(sympy.count_ops(self.form)) + self.squared


def shapes(formulas: Sequence[Expression], features: Mapping[str, sympy.Expr]) -> list[Shape]:
    """Return the pieces of formulas that are no polynomials of columns, sines and cosines; each form once.

    Parameters
    ----------
    formulas
        In the names of features.
    features
        What these are in terms of columns: columns themselves, sine and cosine of an angle.

    Examples
    --------
    >>> from ndm_apps.expression import parse_expression
    >>> found = shapes([parse_expression("2*p**2 + 3*x*exp(0.5*p)", ["p", "x"])], dict(zip("px", sympy.symbols("p x"))))
    >>> [(str(one.form), *one.texts([2.0])) for one in found]
    [('exp(_c0*p)', 'exp(2*p)'), ('x*exp(_c0*p)', 'x*exp(2*p)')]
    """
    plain = {one for one in features.values() if one.is_Function}
    found: dict[str, Shape] = {}
    for formula in formulas:
        whole = formula.evaluate(features, SYMPY, _number)
        if whole.has(sympy.I, sympy.nan, sympy.oo, sympy.zoo):
            continue
        pieces = [part for part in sympy.preorder_traversal(whole) if _is_special(part) and part not in plain]
        pieces += [term for term in sympy.Add.make_args(whole) if any(map(term.has, pieces))]
        for piece in pieces:
            shape = _freed(piece.as_independent(*piece.free_symbols, as_Add=False)[1])
            if len(shape.symbols) <= MOST_NUMBERS:
                found.setdefault(str(shape.form), shape)
    return sorted(found.values(), key=lambda one: (len(one.symbols), one.operations))


def _is_special(part: sympy.Basic) -> bool:
    if not part.free_symbols:
        return False
    return part.is_Function or (part.is_Pow and not (part.exp.is_Integer and part.exp > 0))


def _freed(piece: sympy.Expr) -> Shape:
    """Return a piece with its decimal numbers set free."""
    symbols: list[sympy.Symbol] = []
    start: list[float] = []

    def replaced(part: sympy.Expr) -> sympy.Expr:
        if part.is_Float:
            symbols.append(sympy.Dummy(f"c{len(symbols)}"))
            start.append(float(part))
            return symbols[-1]
        return part.func(*map(replaced, part.args)) if part.args else part

    form = replaced(piece)
    return Shape(form, tuple(symbols), tuple(start))


def _number(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if float(value).is_integer() else sympy.Float(repr(value))
