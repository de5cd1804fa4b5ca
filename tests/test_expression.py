import math
import operator
import os
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ndm_apps.errors import InputError
from ndm_apps.expression import CONSTANTS, FUNCTIONS, Expression, ExpressionError, parse_expression

NAMES = ("q", "p", "theta_1", "λ", "e")
MATH = {name: getattr(math, name, None) for name in FUNCTIONS} | {
    "abs": abs,
    "min": min,
    "max": max,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
}
VALUES = {"q": 0.7, "p": -1.3, "theta_1": 2.0, "λ": 0.1, "e": 5.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (2.5, 2.5),
        (-3, -3),
        ("-q**2", -(0.7**2)),
        ("(-q)**2", 0.7**2),
        ("2**-q", 2**-0.7),
        ("2**q**2", 2 ** (0.7**2)),
        ("q - (p - 1)", 0.7 + 2.3),
        ("q/(p/2)", 0.7 / (-0.65)),
        ("+q", 0.7),
        ("e", 5.0),
        ("2*pi", 2 * math.pi),
        ("sin(q)**2 + cos(q)**2", 1.0),
        ("atan2(p, q)", math.atan2(-1.3, 0.7)),
        ("min(q, p, 1) + max(q, p)", -0.6),
        ("sign(p)*abs(p) + sqrt(4) + exp(0) + log(1)", 1.7),
        ("asin(q) + acos(q)", math.pi / 2),
        ("cosh(q)**2 - sinh(q)**2", 1.0),
        ("tanh(atan(tan(q)))", math.tanh(0.7)),
        (" q\n  * theta_1", 1.4),
        ("λ*1e1", 1.0),
    ],
)
def test_values(text, value):
    assert parse_expression(text, NAMES).evaluate(VALUES, MATH) == pytest.approx(value, rel=1e-12)


def test_e_is_a_constant_unless_it_is_a_variable():
    assert parse_expression("e", ["q"]).evaluate({}, {}) == math.e
    assert parse_expression("e", ["q"]).names == frozenset()
    assert parse_expression("e + pi", ["e"]).names == {"e"}


def test_evaluates_on_arrays_and_symbols():
    numpy, sympy = pytest.importorskip("numpy"), pytest.importorskip("sympy")
    tree = parse_expression("min(sin(q), 1/3) + pi*p**2", ["q", "p"])
    q = numpy.linspace(0, 1, 5)
    got = tree.evaluate({"q": q, "p": 2.0}, {"sin": numpy.sin, "min": numpy.minimum})
    numpy.testing.assert_allclose(got, numpy.minimum(numpy.sin(q), 1 / 3) + 4 * numpy.pi)
    symbols = dict(zip("qp", sympy.symbols("q p"), strict=True))
    exact = parse_expression("p/3 + sin(pi*q)", ["q", "p"]).evaluate(
        {**symbols, "pi": sympy.pi}, {"sin": sympy.sin}, number=sympy.Integer
    )
    assert exact == symbols["p"] / 3 + sympy.sin(sympy.pi * symbols["q"])
    condition = parse_expression("0 <= q < 0.6 or q > 0.9", ["q"], allow_comparison=True)
    assert condition.evaluate({"q": q}, {}).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the expression is empty"),
        ("  \n", "the expression is empty"),
        (True, "got true, must be an expression"),
        (None, "got null, must be an expression"),
        (float("inf"), "unknown name 'inf'"),
        ("qq", "column 1: unknown name 'qq'; did you mean 'q'? (allowed: e, p, q, theta_1, λ, pi)"),
        ("  q + pp", "column 7: unknown name 'pp'; did you mean 'p'?"),
        ("λ + λλλ", "column 5: unknown name 'λλλ'"),
        ("ln(q)", "column 1: unknown function 'ln'; did you mean 'log'?"),
        ("1 + arctan2(q, p)", "column 5: unknown function 'arctan2'; did you mean 'atan2'?"),
        ("sine(q)", "unknown function 'sine'; did you mean 'sin'?"),
        ("q(p)", "'q' is a variable, not a function; a product is written q*(...)"),
        ("sin", "column 1: the function 'sin' needs arguments"),
        ("sin(q, p)", "sin takes 1 argument(s), got 2"),
        ("atan2(q)", "atan2 takes 2 argument(s), got 1"),
        ("min(q)", "min takes 2 or more argument(s), got 1"),
        ("sin(x=q)", "arguments must be plain"),
        ("sin(*q)", "arguments must be plain"),
        ("sin(**q)", "arguments must be plain"),
        ("q^2", "powers are written **"),
        ("2q", "invalid decimal literal"),
        ("q p", "column 3: invalid syntax"),
        ("(q", "column 1: '(' was never closed"),
        ("q)", "column 2: unmatched ')'"),
        ("q = p", "column 3: invalid syntax"),
        ("lambda*q", "'lambda' is a reserved word"),
        ("q # p", "column 3: '#' is not allowed"),
        ("__import__('os').system('touch BAD')", "column 1: \"__import__('os').system('touch BAD')\": only functions"),
        ("__import__('os')", "column 1: unknown function '__import__'"),
        ("exec('import os')", "unknown function 'exec'"),
        ("open('BAD', 'w')", "unknown function 'open'"),
        ("q.real", "'q.real': not allowed"),
        ("q.__class__.__mro__", "not allowed"),
        ("q[0]", "'q[0]': not allowed"),
        ("(lambda: q)()", "only functions may be called"),
        ("lambda: q", "'lambda: q': not allowed"),
        ("[q for q in p]", "not allowed"),
        ("{q: p}", "not allowed"),
        ("(q, p)", "not allowed"),
        ("(q := p)", "'q := p': not allowed"),
        ("f'{q}'", "not allowed"),
        ("'q'", "is not a number"),
        ("b'q'", "is not a number"),
        ("...", "is not a number"),
        ("True", "'True' is not a number"),
        ("1j", "'1j' is not a number"),
        ("0x10", "'0x10' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("q if p else 1", "not allowed"),
        ("q and p", "not allowed"),
        ("not q", "not allowed"),
        ("~q", "not allowed"),
        ("q < p", "'q < p': a comparison is not allowed here"),
        ("q @ p", "the operator is not allowed"),
        ("q % p", "the operator is not allowed"),
        ("q // p", "the operator is not allowed"),
        ("q << p", "the operator is not allowed"),
        ("await q", "not allowed"),
        ("yield", "reserved word"),
        ("q; p", "invalid syntax"),
        ("import os", "reserved word"),
        ("1" * 31, "is longer than 30 characters"),
        ("9**9**9**9", "column 4: '9**9**9': an exponent must be at most 100 in size"),
        ("q**(50 + 51)", "an exponent must be at most 100"),
        ("q**-101", "an exponent must be at most 100"),
        ("((9**100)**100)**100", "'(9**100)**100' is not a finite real number"),
        ("q + 1/0", "column 5: '1/0' is not a finite real number"),
        ("log(0)", "is not a finite real number"),
        ("sqrt(-1)", "is not a finite real number"),
        ("(-8)**(1/3)", "is not a finite real number"),
        ("1e999", "is not a finite real number"),
        ("exp(1000)", "is not a finite real number"),
        ("+".join(["q"] * 400), "nested deeper than 150"),
        ("-" * 1900 + "q", ""),
        ("(" * 900 + "q" + ")" * 900, "nested parentheses"),
        ("q" * 2001, "has 2001 characters, must have at most 2000"),
        ("q\0", "null bytes"),
        ("\ud800", "cannot be read"),
    ],
)
def test_what_is_not_an_expression_is_refused_in_one_line_and_never_executed(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, NAMES)
    assert isinstance(caught.value, InputError) and isinstance(caught.value, ValueError)
    assert says in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 300
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("q", "'q' is not a condition"),
        ("q == 1", "must compare with < <= > >="),
        ("q is p", "must compare with"),
        ("q in p", "must compare with"),
        ("not q < 1", "is not a condition"),
        ("(q < 1)*2", "is not a condition"),
        ("q < (p < 1)", "column 6: 'p < 1': a comparison is not allowed here"),
        ("q < 1 and p", "column 11: 'p' is not a condition"),
    ],
)
def test_broken_conditions(text, says):
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, NAMES, allow_comparison=True)
    assert says in str(caught.value)


def test_missing_values_and_functions_are_named():
    tree = parse_expression("sin(q)", ["q"])
    with pytest.raises(ValueError, match="no value given for 'q'"):
        tree.evaluate({}, {"sin": math.sin})
    with pytest.raises(ValueError, match="no function given for 'sin'"):
        tree.evaluate({"q": 1}, {})


NUMBERS = st.integers(0, 10**6) | st.floats(1e-9, 1e9)
LEAVES = st.builds(lambda number: Expression("number", value=number), NUMBERS) | st.sampled_from(
    [Expression("name", value=name) for name in NAMES] + [Expression("constant", value="pi")]
)


def grow(inner):
    pair = st.tuples(inner, inner)
    return (
        st.builds(Expression, st.sampled_from(["+", "-", "*", "/", "**", "atan2"]), pair)
        | st.builds(lambda one: Expression("negative", (one,)), inner)
        | st.builds(lambda head, one: Expression(head, (one,)), st.sampled_from(["sin", "abs", "exp"]), inner)
        | st.builds(Expression, st.just("max"), st.tuples(inner, inner, inner))
    )


ARITHMETIC = st.recursive(LEAVES, grow, max_leaves=12)
COMPARISONS = st.builds(Expression, st.sampled_from(["<", "<=", ">", ">="]), st.tuples(LEAVES, LEAVES))
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.builds(Expression, st.sampled_from(["and", "or"]), st.tuples(inner, inner)),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(ARITHMETIC)
def test_written_expressions_read_back_as_the_same_tree(tree):
    try:
        assert parse_expression(str(tree), NAMES) == tree
    except ExpressionError as error:
        # A constant piece or exponent out of bounds; the shape of the text is never the reason.
        assert "finite real number" in str(error) or "exponent" in str(error)
    assert pickle.loads(pickle.dumps(tree)) == tree


@settings(max_examples=100, deadline=None, derandomize=True)
@given(CONDITIONS)
def test_written_conditions_read_back_as_the_same_tree(tree):
    assert parse_expression(str(tree), NAMES, allow_comparison=True) == tree


@settings(max_examples=200, deadline=None, derandomize=True)
@example("q*" * 900 + "q")
@given(
    st.lists(
        st.sampled_from([*"qpe01.+-*/()<>=,'[]{}:#\\\n _", "sin", "pi", "**", "and ", "if ", "e9", "λ", "\0"]),
        max_size=25,
    ).map("".join)
)
def test_any_text_gives_an_expression_or_one_line(text):
    for condition in (False, True):
        try:
            tree = parse_expression(text, NAMES, allow_comparison=condition)
        except ExpressionError as error:
            assert str(error).isprintable()
        else:
            assert tree.names <= set(NAMES) and parse_expression(str(tree), NAMES, allow_comparison=condition) == tree


def test_python_reads_the_same_value():
    """The grammar is Python's: on random trees, Python's own operators give the same number."""

    def value(tree):
        parts = [value(argument) for argument in tree.arguments]
        if not parts:
            return {**CONSTANTS, **VALUES}[tree.value] if isinstance(tree.value, str) else tree.value
        binary = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
        return binary[tree.head](*parts)

    text = "q - p - 2*q/p/3*(q - (1 - p)) + pi/(2/q)"
    expected = 0.7 + 1.3 - 2 * 0.7 / -1.3 / 3 * (0.7 - (1 + 1.3)) + math.pi / (2 / 0.7)
    tree = parse_expression(text, NAMES)
    assert value(tree) == tree.evaluate(VALUES, MATH) == pytest.approx(expected, rel=1e-14)
