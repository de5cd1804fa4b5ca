"""Formulas on arrays: values, and derivatives beside finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndm_apps.expression import FUNCTIONS, parse_expression
from ndm_apps.plugins.planning.formulas import NUMPY, Condition, Formulas, derivative, wrapped

NAMES = ["a", "b"]


def test_all_functions_of_expressions_are_there():
    assert set(NUMPY) == set(FUNCTIONS)


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}(0.3*a + 0.2*b)" for name, wanted in FUNCTIONS.items() if wanted == 1),
        "atan2(a, b)", "min(a, b)", "max(a, b, a*b)", "min(max(a, 0.1), 3)", "a/b", "a**3", "b**a", "2**a", "a**-1.5",
        "-a*b + 4 - b", "a*sin(b)**2/(1 + a**2)", "3.5", "pi*a", "a",
    ],
)  # fmt: skip
def test_derivatives_are_those_of_finite_differences(text):
    tree = parse_expression(text, NAMES)
    at = np.random.default_rng(1).uniform(0.4, 2.0, (40, 2))
    h = 1e-6
    for n, name in enumerate(NAMES):
        ahead, behind = ({**dict(zip(NAMES, at.T, strict=True)), name: at[:, n] + s * h} for s in (1, -1))
        measured = (tree.evaluate(ahead, NUMPY) - tree.evaluate(behind, NUMPY)) / (2 * h)
        exact = derivative(tree, name).evaluate(dict(zip(NAMES, at.T, strict=True)), NUMPY, np.float64)
        np.testing.assert_allclose(np.broadcast_to(exact, len(at)), measured, rtol=1e-6, atol=1e-8)


def test_constant_derivatives_cost_nothing_and_others_are_exact():
    formulas = Formulas(["a - k", "sin(b)*a"], NAMES, (), {"k": 2.0})
    x = np.random.default_rng(2).normal(size=(3, 5, 2))
    a, b = x[..., 0], x[..., 1]
    np.testing.assert_allclose(formulas(x), np.stack([a - 2, np.sin(b) * a], -1))
    wanted = np.stack([np.stack([np.ones_like(a), 0 * a], -1), np.stack([np.sin(b), a * np.cos(b)], -1)], -2)
    np.testing.assert_allclose(formulas.jacobian(x), wanted)


def test_angles_enter_wrapped():
    formulas = Formulas(["a**2"], NAMES, (0,), {})
    assert formulas(np.array([2 * np.pi + 0.1, 0.0])) == pytest.approx(0.01)
    np.testing.assert_allclose(formulas.jacobian(np.array([2 * np.pi + 0.1, 0.0])), [[0.2, 0.0]])
    assert Condition("-0.2 < a < 0.2", NAMES, (0,), {})(np.array([[6.3, 0.0], [3.0, 0.0]])).tolist() == [True, False]


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e3, 1e3))
def test_wrapped_angles_are_the_same_angle(angle):
    there = wrapped(np.array(angle))
    assert -np.pi <= there < np.pi
    assert np.exp(1j * there) == pytest.approx(np.exp(1j * angle), abs=1e-9)
