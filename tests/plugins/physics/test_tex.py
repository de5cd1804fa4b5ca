import re

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from ndm_apps.plugins.physics.dimensions import annotate
from ndm_apps.plugins.physics.tex import LONGEST_LINE, document, escaped, lines_of
from ndm_apps.plugins.physics.units import parse_unit

LATEX = r"\frac{p^{2}}{2} - \cos{\left(\theta_{1} + 2 \right)}"


LAW = {
    "expression": "p**2/2 - cos(x)",
    "latex": LATEX,
    "drift": 1e-5,
    "coefficients_sd": {"p**2": 1e-3, "cos(x)": 0.0},
    "units": {"value": "1", "coefficients": {"p**2": "s**2", "cos(x)": "1"}},
}
COLUMNS = [
    {"symbol": "x", "header": "x_1 & 50% \\input{y} $#~^", "unit": "rad"},
    {"symbol": "p", "header": "p", "unit": None},
]


def result(**more):
    return {"verdict": "One <law> & 100%.", "invariants": [LAW], "data": {"columns": COLUMNS}, **more}


def is_balanced(text):
    """Whether braces, alignments, environments and dollars match, and every command is a letter's or a sign's."""
    bare = re.sub(r"\\[{}$&#_%]", "", text)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    began, ended = re.findall(r"\\begin\{(\w+\*?)\}", bare), re.findall(r"\\end\{(\w+\*?)\}", bare)
    return depth == 0 and sorted(began) == sorted(ended) and bare.count("$") % 2 == 0 and bare.isascii()


def test_a_document_is_balanced_and_holds_the_law():
    text = document(result(), "pendulum_1 & co")
    assert is_balanced(text) and LATEX in text
    assert "pendulum\\_1 \\& co" in text and "\\input{" not in text and "s**2" in text.replace("\\", "")


def test_constraints_and_approximate_laws_have_parts_of_their_own():
    slow = {"expression": "x", "latex": "x", "half_life": 2.5}
    text = document(result(constraints=[{"expression": "k_1", "value": 5.0}], approximate=[slow]), "")
    assert is_balanced(text)
    assert r"\text{k\_1}" in text and "half life 2.5" in text


def test_nothing_found_is_a_document_too():
    assert is_balanced(document({"verdict": "None.", "invariants": [], "constraints": [], "approximate": None}, "x"))


@given(st.text(max_size=40))
def test_any_text_is_escaped(text):
    assert is_balanced(escaped(text)) and is_balanced(document(result(verdict=text), text))


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=6))
def test_any_symbol_is_printed_in_ascii(name):
    law = {"expression": name, "latex": sympy.latex(sympy.Symbol(name) ** 2)}
    assert is_balanced(document(result(invariants=[law]), "x"))


def test_greek_letters_are_commands():
    assert escaped("ωΩ") == r"$\omega$$\Omega$" and escaped("Α") == "$A$"


def test_long_formulas_are_broken_between_terms():
    formula = " + ".join(rf"\left(a_{{{n}}} - b\right)^{{2}}" for n in range(30))
    lines = lines_of(formula)
    assert " ".join(lines) == formula and len(lines) > 5
    assert all(len(line) < LONGEST_LINE + 60 and line.count("{") == line.count("}") for line in lines)


x, y, vx, vy, q, p = sympy.symbols("x y vx vy q p")
GIVEN = {"x": "m", "y": "m", "vx": "m/s", "vy": "m/s", "q": "rad", "p": "1/s"}
UNITS = {name: parse_unit(unit) for name, unit in GIVEN.items()}


@pytest.mark.parametrize(
    ("formula", "value", "coefficients"),
    [
        (p**2 / 2 - sympy.cos(q), "1", {"p**2": "s**2", "cos(q)": "1"}),
        (x**2 + vx**2 / 4, "m**2", {"x**2": "1", "vx**2": "s**2"}),
        (x * vy - y * vx, "m**2/s", {"vy*x": "1", "vx*y": "1"}),
        (vx**2 / 2 - 1 / sympy.sqrt(x**2 + y**2), "1/m", {"vx**2": "s**2/m**3"}),
        (sympy.log(x) + 0.5 * y, "1", {"y": "1/m", "log(x)": "1"}),
        (1 / sympy.sqrt(x**2 + y**2 + 0.04), "1/m", {}),
    ],
)
def test_units_of_coefficients(formula, value, coefficients):
    found = annotate(formula, UNITS)
    assert found["value"] == value and found["impossible"] == []
    assert coefficients.items() <= found["coefficients"].items()


def test_what_no_coefficient_can_make_right_is_told():
    assert annotate(sympy.cos(x), UNITS)["impossible"] == [
        "cos(x) is a function of a quantity in m: its scale is hidden"
    ]
    assert "adds quantities of different dimensions" in annotate(sympy.sqrt(x**2 + vx**2), UNITS)["impossible"][0]
    assert annotate(x + sympy.Symbol("unknown"), UNITS) is None
