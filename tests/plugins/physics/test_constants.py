import numpy as np
import pytest
import sympy

from ndm_apps.plugins.physics.constants import constant


@pytest.mark.parametrize(
    ("number", "deviation"),
    [(sympy.sqrt(2) / 2, 3e-4), (sympy.sqrt(3), 1e-3), (2 * sympy.pi / 3, 1e-4), (1 / sympy.pi, 1e-4),
     (sympy.Rational(3, 7), 1e-4), (-sympy.sqrt(5) / 2, 3e-4)],
)  # fmt: skip
def test_what_has_a_name_gets_it(number, deviation):
    rng = np.random.default_rng(0)
    measured = [constant(float(number) + deviation * rng.standard_normal(), deviation) for _ in range(50)]
    # Within two and a half standard deviations in 98.8 %.
    assert sum(one == number for one in measured) >= 46


@pytest.mark.parametrize("deviation", [1e-2, 1e-3, 1e-4, 1e-6, 1e-9])
def test_what_has_none_seldom_gets_one(deviation):
    rng = np.random.default_rng(1)
    random = rng.uniform(0.1, 3.0, 400)
    assert sum(constant(value, deviation) is not None for value in random) < 400 * 0.08


def test_an_error_too_large_warrants_nothing():
    assert constant(0.7072, 3e-4) == sympy.sqrt(2) / 2
    assert constant(0.7072, 1e-2) is None
    assert constant(0.7102, 3e-4) is None


def test_of_more_numbers_each_must_be_nearer():
    assert constant(0.75, 3e-4) == sympy.Rational(3, 4)
    assert constant(0.75, 3e-4, among=50) is None
