import numpy as np
import pytest
import sympy

from ndm_apps.plugins.physics.identity import Values, is_affine, is_polynomial

X, Y, P, Q = SYMBOLS = sympy.symbols("x y p q")
ENERGY = (P**2 + Q**2) / 2 - 1 / sympy.sqrt(X**2 + Y**2)
SPIN = X * Q - Y * P


@pytest.fixture
def values():
    return Values(SYMBOLS, np.random.default_rng(1000).uniform(0.5, 1.5, (100, 4)))


@pytest.mark.parametrize(
    ("formula", "other"),
    [
        (sympy.expand(-6 * ENERGY + sympy.Rational(1, 3)), ENERGY),
        (sympy.cos(X) * sympy.cos(Y) + sympy.sin(X) * sympy.sin(Y), sympy.cos(X - Y)),
        (sympy.log(X**2 * Y), 2 * sympy.log(X) + sympy.log(Y)),
        (sympy.sqrt(2) * SPIN - sympy.pi, SPIN),
    ],
)
def test_the_same_however_it_is_written(formula, other, values):
    assert is_affine(formula, other, values)


@pytest.mark.parametrize(
    "formula",
    [
        ENERGY + P**2 * sympy.Rational(1, 10**12),
        (P**2 + Q**2) / 2 - sympy.Rational(10**15 + 1, 10**15) / sympy.sqrt(X**2 + Y**2),
        SPIN,
        ENERGY + SPIN,
        ENERGY**2,
        sympy.exp(ENERGY),
    ],
)
def test_what_differs_in_the_fifteenth_digit_is_not_the_same(formula, values):
    assert not is_affine(formula, ENERGY, values)


def test_polynomials_of_laws(values):
    product = sympy.expand(ENERGY * SPIN - 3 * SPIN**2 + ENERGY + 7)
    assert [is_polynomial(product, [ENERGY, SPIN], degree, values) for degree in (1, 2, 3)] == [False, True, True]
    assert is_polynomial(ENERGY - 2 * SPIN, [ENERGY, SPIN], 1, values)
    assert not is_polynomial(ENERGY / SPIN, [ENERGY, SPIN], 3, values)
    assert not is_polynomial(sympy.expand(ENERGY * SPIN), [ENERGY], 3, values)


def test_laws_that_depend_on_each_other_do_no_harm(values):
    assert is_polynomial(ENERGY**2, [ENERGY, 2 * ENERGY + 1, ENERGY**2 + ENERGY], 1, values)
