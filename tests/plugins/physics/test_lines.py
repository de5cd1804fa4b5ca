"""Laws by eliminating time between quantities that grow at a constant rate."""

import numpy as np
import pytest
import sympy

from ndm_apps.plugins.physics.assessment import drift
from ndm_apps.plugins.physics.invariants import find_invariants
from ndm_apps.plugins.physics.lines import eliminated
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import system


def discover(data, **settings):
    return find_invariants(data, SpectralSettings(**settings), np.random.default_rng([1000, 1]))


def test_terms_are_products_of_what_grows_with_polynomials_in_laws():
    tier = eliminated(["x", "y", "u"], ["x + y", "x*u"], ["u", "u**2 + 1"], 2)
    values = np.random.default_rng(0).normal(size=(7, 3))
    x, y, u = values.T
    factors = [1.0, u, u**2 + 1, u**2, u * (u**2 + 1), (u**2 + 1) ** 2]
    expected = np.stack([line * factor for factor in factors for line in (x + y, x * u)], axis=-1)
    np.testing.assert_allclose(tier.dictionary.evaluate(values).features, expected, rtol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_time_is_eliminated(noise):
    """x grows at the rate u**2, y at v, both of which stay: so x*v - y*u**2 does, of degree 3."""
    free = system(
        {"x": "u**2", "y": "v", "u": "0", "v": "0"},
        {"x": (-1, 1), "y": (-1, 1), "u": (0.5, 1.5), "v": (-1, 1)},
        end=3.0,
    )
    data = simulate(free, noise, 1000)
    found = discover(data, degree=2, special=False)
    assert {str(law.expression) for law in found.laws[:2]} == {"u", "v"} and len(found.laws) == 3
    x, y, u, v = sympy.symbols("x y u v")
    assert sympy.simplify(found.laws[2].expression / (x * v - y * u**2)).is_number
    assert found.growing == ()


def test_only_what_grows_steadily_eliminates_time():
    """In a fall, x and v grow at the rates u and -1, but y does not."""
    falling = system(
        {"x": "u", "y": "v", "u": "0", "v": "-1"},
        {"x": (-1, 1), "y": (-1, 1), "u": (0.5, 1.5), "v": (-1, 1)},
        end=2.0,
    )
    found = discover(simulate(falling, 0.01, 1000), degree=1, special=False)
    assert {str(law.expression) for law in found.laws} == {"u", "u*v + x"}


def test_a_superintegral_of_calogero_and_moser_in_noise():
    """The sum of q grows at the rate P, that of q*p at 2*E; a second one is found in most draws of the noise only."""
    _, task = load_task("physics/calogero_moser")
    found = discover(simulate(task.system, 0.01, 1000))
    assert len(found.laws) in (4, 5) and found.laws[3].tier == "lines1"
    clean = simulate(task.system, 0.0, 1000)
    assert drift(found.laws[3].formula(clean.values), clean.starts) < 1e-8
