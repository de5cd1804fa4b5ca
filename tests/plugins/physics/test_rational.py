import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from ndm_apps.plugins.physics.invariants import find_invariants
from ndm_apps.plugins.physics.rational import common_span
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.trajectories import Trajectories


def simulated(right_hand_side, starts, end, state, angles=()):
    time = np.linspace(0, end, 200)
    motion = [
        solve_ivp(right_hand_side, (0, end), start, t_eval=time, rtol=1e-11, atol=1e-11, method="DOP853").y.T
        for start in starts
    ]
    return Trajectories.on_grid(state, frozenset(angles), time, np.stack(motion))


def laws(data):
    found = find_invariants(data, SpectralSettings(), np.random.default_rng(1000)).laws
    return [law.expression for law in found]


def test_mass_that_depends_on_the_place():
    def motion(_, y):
        q, p = y
        return [p / (1 + q**2), q * p**2 / (1 + q**2) ** 2 - q]

    starts = np.random.default_rng(1001).uniform(-1.5, 1.5, (30, 2))
    (law,) = laws(simulated(motion, starts, 20, ("q", "p")))
    q, p = sympy.symbols("q p")
    assert sympy.simplify(law / law.subs({q: 0, p: 1}) - (p**2 / (1 + q**2) + q**2)) == 0


def test_lines_of_a_field_of_circles():
    def motion(_, v):  # along x^2 + y^2 = c y
        x, y = v
        return [(x**2 - y**2) / 10, 2 * x * y / 10]

    starts = np.random.default_rng(1002).uniform([-2, 0.5], [2, 2], (30, 2))
    (law,) = laws(simulated(motion, starts, 3, ("x", "y")))
    x, y = sympy.symbols("x y")
    circle = (x**2 + y**2) / y
    # Any function of the law is one: their gradients are parallel.
    cross = law.diff(x) * circle.diff(y) - law.diff(y) * circle.diff(x)
    assert sympy.simplify(cross) == 0


def test_nothing_in_a_spiral():
    def motion(_, v):
        return [v[1] - 0.1 * v[0], -v[0] - 0.1 * v[1] - 0.1 * v[0] ** 3]

    starts = np.random.default_rng(1003).normal(size=(30, 2))
    assert laws(simulated(motion, starts, 20, ("x", "v"))) == []


@pytest.mark.parametrize("terms", [8, 20])
def test_no_span_without_relations(terms):
    rng = np.random.default_rng(1004)
    assert common_span([rng.normal(size=(50, terms)) for _ in range(10)]) is None


def test_no_span_of_unrelated_relations():
    rng = np.random.default_rng(1005)
    parts = [rng.normal(size=(50, 7)) @ rng.normal(size=(7, 8)) for _ in range(10)]
    assert common_span(parts) is None
