import numpy as np
import pytest
import sympy

from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.symbolic.shapes import shapes

X, Q = sympy.symbols("x q")
FEATURES = {"v0": X, "v1": sympy.sin(Q), "v2": sympy.cos(Q)}


def found(*texts):
    return shapes([parse_expression(text, list(FEATURES)) for text in texts], FEATURES)


def test_polynomials_of_columns_and_angles_are_no_shapes():
    assert found("1.5*v0**2 - 0.3*v1*v2 + 2.0") == []


def test_functions_roots_and_quotients_are_once_for_each_form():
    one = found("2.0*exp(0.5*v1) + v0**2", "exp(0.7*v1)/3.0", "sqrt(1.1 + 0.9*v0**2) + 1/(2.5 + v2)")
    assert sorted(str(shape.form) for shape in one) == sorted(
        ["exp(_c0*sin(q))", "sqrt(_c0 + _c1*x**2)", "1/(_c0 + cos(q))"]
    )
    assert next(shape for shape in one if shape.form.func == sympy.exp).start == (0.5,)


def test_a_term_that_no_sum_over_columns_has_is_a_shape_as_a_whole():
    assert "x**2*exp(_c0*sin(q))" in [str(shape.form) for shape in found("3.0*v0**2*exp(0.5*v1) + v0")]


def test_too_many_numbers_and_what_is_not_real_are_left_out():
    assert found("cos(0.1*v0 + 0.2*v1 + 0.3*v2 + 0.4)") == []
    assert found("log(0.0*v0 - 2.0) + exp(v0)") == []


@pytest.mark.parametrize("numbers", [(-2.0,), (0.123456789,)])
def test_texts_are_read_back_by_the_parser(numbers):
    (shape,) = found("exp(0.5*v0)")
    tree = parse_expression(*shape.texts(numbers), ["x"])
    assert tree.evaluate({"x": 1.5}, {"exp": np.exp}) == pytest.approx(np.exp(numbers[0] * 1.5))


def test_numbers_are_fixed_one_after_the_other():
    (shape,) = found("sqrt(1.1 + 0.9*v0**2)")
    rest = shape.fixed([1.0])
    assert len(rest.symbols) == 1 and rest.start == shape.start[1:]
    assert rest.fixed([1.0]).texts(()) == ("sqrt(x**2 + 1)",)
