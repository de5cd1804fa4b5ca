"""Mathematical expressions in task files: parsed through a whitelist, evaluated on arrays of any library.

The text is never executed. Python's own parser turns it into a syntax tree, of which only the nodes of arithmetic,
calls of listed functions and (where asked for) comparisons are taken over.
"""

from __future__ import annotations

import ast
import io
import keyword
import math
import tokenize
import unicodedata
import warnings
from collections.abc import Callable, Collection
from typing import NoReturn, final

from ndm_apps.errors import InputError
from ndm_apps.expression_tree import CONSTANTS, FUNCTIONS, Expression
from ndm_apps.wording import did_you_mean, listed, one_line, short, unknown

__all__ = ["CONSTANTS", "FUNCTIONS", "Expression", "ExpressionError", "parse_expression"]

LONGEST_TEXT = 2000
LONGEST_NUMBER = 30
DEEPEST = 150
LARGEST_EXPONENT = 100

_ARITHMETIC: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARISONS: dict[type[ast.AST], str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_MATH: dict[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in FUNCTIONS if hasattr(math, name)},
    "abs": abs,
    "min": min,
    "max": max,
    "sign": lambda x: float((x > 0) - (x < 0)),
}


class ExpressionError(InputError, ValueError):
    """An expression is malformed or holds what is not allowed. A ValueError too, so that validators may raise it."""


def parse_expression(text: str | float, names: Collection[str], *, allow_comparison: bool = False) -> Expression:
    """Parse an expression.

    It may hold numbers, ``names``, the constants ``pi`` and ``e``, ``+ - * / **``, parentheses and the functions of
    :data:`FUNCTIONS`.

    Parameters
    ----------
    text
        The expression, or a plain number.
    names
        The variables that may occur.
    allow_comparison
        Read a condition instead: comparisons ``< <= > >=`` (``a < b < c`` too) joined by ``and`` and ``or``.

    Raises
    ------
    ExpressionError
        An InputError (and ValueError) in one line, with the column and the offending piece.

    Examples
    --------
    >>> tree = parse_expression("-k*(q)**2", ["q", "k"])
    >>> print(tree, sorted(tree.names))
    -k*q**2 ['k', 'q']
    """
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise ExpressionError(f"got {short(text)}, must be an expression (text or a number)")
    if not isinstance(text, str):
        text = repr(text)
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(f"the expression has {len(text)} characters, must have at most {LONGEST_TEXT}")
    if not text.strip():
        raise ExpressionError("the expression is empty")
    parser = _Parser(text, names)
    return parser.condition(parser.tree) if allow_comparison else parser.arithmetic(parser.tree, 0)


@final
class _Parser:
    """Takes a syntax tree over, node by node."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        # Folded text of YAML may hold line breaks; a space in their place leaves every column where it was.
        self.text = "".join(" " if character.isspace() else character for character in text)
        self.indent = len(self.text) - len(self.text.lstrip())
        self.source = self.text.strip()
        # Python normalises identifiers, so that a micro sign is read as the Greek letter.
        self.names = {unicodedata.normalize("NFKC", name): name for name in names}
        self.tree = self._syntax_tree()

    def fail(self, node: ast.expr, message: str) -> NoReturn:
        raise ExpressionError(one_line(f"column {self._column(node)}: {message}"))

    def _column(self, node: ast.expr) -> int:
        return self.indent + len(self.source.encode()[: node.col_offset].decode(errors="ignore")) + 1

    def piece(self, node: ast.expr) -> str:
        return short(self.source.encode()[node.col_offset : node.end_col_offset].decode(errors="ignore"))

    def _syntax_tree(self) -> ast.expr:
        if "#" in self.source:
            raise ExpressionError(f"column {self.text.index('#') + 1}: '#' is not allowed in an expression")
        try:
            self.source.encode()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            column = self.indent + min(max(error.offset or 1, 1), len(self.source))
            raise ExpressionError(f"column {column}: {self._reason(error)}") from None
        except (ValueError, RecursionError, MemoryError):
            raise ExpressionError(f"the expression {short(self.text)} cannot be read, or is nested too deep") from None

    def _reason(self, error: SyntaxError) -> str:
        for word in _words(self.source):
            if keyword.iskeyword(word) and word not in ("and", "or", "not", "True", "False", "None"):
                return f"{word!r} is a reserved word, must not occur in an expression (rename the variable)"
        # What follows the first sentence is advice on Python.
        return one_line(f"{(error.msg or 'invalid syntax').partition('. ')[0]} in {short(self.source)}")

    def condition(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.BoolOp):
            head = "and" if isinstance(node.op, ast.And) else "or"
            return Expression(head, tuple(self.condition(value) for value in node.values))
        if not isinstance(node, ast.Compare):
            self.fail(node, f"{self.piece(node)} is not a condition, must compare with < <= > >= (joined by and, or)")
        sides = [self.arithmetic(side, 0) for side in (node.left, *node.comparators)]
        comparisons = []
        for n, comparison in enumerate(node.ops):
            if type(comparison) not in _COMPARISONS:
                self.fail(node, f"{self.piece(node)}: must compare with < <= > >=")
            comparisons.append(Expression(_COMPARISONS[type(comparison)], (sides[n], sides[n + 1])))
        return comparisons[0] if len(comparisons) == 1 else Expression("and", tuple(comparisons))

    def arithmetic(self, node: ast.expr, depth: int) -> Expression:
        if depth > DEEPEST:
            self.fail(node, f"nested deeper than {DEEPEST} operations")
        found = self._node(node, depth + 1)
        self._check_size(node, found)
        return found

    def _node(self, node: ast.expr, depth: int) -> Expression:
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            operand = self.arithmetic(node.operand, depth)
            return Expression("negative", (operand,)) if isinstance(node.op, ast.USub) else operand
        if isinstance(node, ast.BinOp):
            if type(node.op) not in _ARITHMETIC:
                hint = ", powers are written **" if isinstance(node.op, ast.BitXor) else ""
                self.fail(node, f"{self.piece(node)}: the operator is not allowed (allowed: + - * / **{hint})")
            left, right = self.arithmetic(node.left, depth), self.arithmetic(node.right, depth)
            return Expression(_ARITHMETIC[type(node.op)], (left, right))
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        what = "a comparison is not allowed here" if isinstance(node, (ast.Compare, ast.BoolOp)) else "not allowed"
        self.fail(node, f"{self.piece(node)}: {what} (allowed: numbers, names, + - * / ** and functions)")

    def _number(self, node: ast.Constant) -> Expression:
        literal = self.source.encode()[node.col_offset : node.end_col_offset].decode()
        if type(node.value) not in (int, float) or set(literal) - set("0123456789.eE+-"):
            self.fail(node, f"{self.piece(node)} is not a number such as 2, 0.5 or 1e-3")
        if len(literal) > LONGEST_NUMBER:
            self.fail(node, f"the number {self.piece(node)[1:-1]} is longer than {LONGEST_NUMBER} characters")
        return Expression("number", value=node.value)  # type: ignore[arg-type]

    def _name(self, node: ast.Name) -> Expression:
        if node.id in self.names:
            return Expression("name", value=self.names[node.id])
        if node.id in CONSTANTS:
            return Expression("constant", value=node.id)
        if node.id in FUNCTIONS:
            self.fail(node, f"the function {node.id!r} needs arguments in parentheses")
        known = list(dict.fromkeys([*sorted(self.names.values()), *CONSTANTS]))
        self.fail(node, unknown("name", node.id, known))

    def _call(self, node: ast.Call, depth: int) -> Expression:
        if not isinstance(node.func, ast.Name):
            self.fail(node, f"{self.piece(node)}: only functions may be called (allowed: {listed(FUNCTIONS)})")
        name = node.func.id
        if name not in FUNCTIONS:
            if name in self.names:
                self.fail(node, f"{name!r} is a variable, not a function; a product is written {name}*(...)")
            near = {"ln": "; did you mean 'log'?", "arctan2": "; did you mean 'atan2'?"}.get(name)
            near = near or did_you_mean(name.replace("arc", "a"), FUNCTIONS)
            self.fail(node, f"unknown function {short(name)}{near} (allowed: {listed(FUNCTIONS)})")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self.fail(node, f"{self.piece(node)}: arguments must be plain expressions separated by commas")
        wanted = FUNCTIONS[name]
        if len(node.args) != wanted if wanted is not None else len(node.args) < 2:
            self.fail(node, f"{name} takes {wanted or '2 or more'} argument(s), got {len(node.args)}")
        return Expression(name, tuple(self.arithmetic(argument, depth) for argument in node.args))

    def _check_size(self, node: ast.expr, found: Expression) -> None:
        """Refuse constant pieces that are no finite number, and exponents that make integers grow without end."""
        if found.head == "**":
            exponent = _constant(found.arguments[1])
            if exponent is not None and abs(exponent) > LARGEST_EXPONENT:
                self.fail(node, f"{self.piece(node)}: an exponent must be at most {LARGEST_EXPONENT} in size")
        try:
            value = _constant(found)
        except (ArithmeticError, ValueError, TypeError):
            value = math.nan
        if value is not None and not math.isfinite(value):
            self.fail(node, f"{self.piece(node)} is not a finite real number")


def _constant(tree: Expression) -> float | None:
    """Return the value of a tree without variables, in floats; None if it has variables."""
    if tree.names:
        return None
    # math.pow refuses what is not a real number, where Python's ** would turn complex.
    return float(_in_floats(tree))


def _in_floats(tree: Expression) -> float:
    if tree.head == "**":
        return math.pow(*(_in_floats(argument) for argument in tree.arguments))
    if not tree.arguments:
        return float(tree.evaluate({}, {}))
    inner = tuple(Expression("number", value=_in_floats(argument)) for argument in tree.arguments)
    return float(Expression(tree.head, inner).evaluate({}, _MATH))


def _words(text: str) -> list[str]:
    try:
        return [t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.NAME]
    except (tokenize.TokenError, SyntaxError):
        return []
