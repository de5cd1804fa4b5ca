import numpy as np
import pytest

from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.plugins.physics.symbolic import settle
from ndm_apps.plugins.physics.symbolic.settle import Ground, settled
from ndm_apps.plugins.physics.symbolic.shapes import shapes
from ndm_apps.tasks import load_task


def ground_of(name, monkeypatch):
    monkeypatch.setattr(settle, "SAMPLES", 300)
    data = simulate(load_task(f"physics/beyond/{name}")[1].system, 0.0, 1000)
    spreads = data.values.std(axis=0)
    level = Level(1e-6 * spreads, spreads, True, len(data.values), SpectralSettings())
    return Ground(data, level, range(len(data.state)))


def shapes_of(*texts):
    import sympy

    names = ["q", "p", "r"]
    return shapes([parse_expression(text, names) for text in texts], {name: sympy.Symbol(name) for name in names})


def test_numbers_become_those_of_the_law_and_are_rounded(monkeypatch):
    ground = ground_of("exponential_walls", monkeypatch)
    assert ground.old == 0
    (found,) = settled(shapes_of("cosh(1.2*q)", "cosh(0.7*p)"), ground)
    assert found.texts == ("cosh(q)",) and found.eigenvalue < 1e-6


def test_a_number_that_is_of_no_use_goes(monkeypatch):
    ground = ground_of("relativistic_oscillator", monkeypatch)
    (found,) = settled(shapes_of("sqrt(1.3 + 0.8*p**2)"), ground)
    assert found.texts == ("sqrt(p**2 + 1)",)


def test_a_square_beside_the_function_is_tried_if_asked(monkeypatch):
    from dataclasses import replace

    ground = ground_of("morse", monkeypatch)
    pieces = shapes_of("exp(0.0 - 1.1*r)")
    assert settled(pieces, ground) == []
    (found,) = settled([replace(one, squared=True) for one in pieces], ground)
    assert found.texts == ("exp(-r)", "exp(-2*r)")


def test_constants_and_what_is_not_defined_bring_nothing(monkeypatch):
    ground = ground_of("exponential_walls", monkeypatch)
    (shape,) = shapes_of("cosh(1.2*q)")
    assert ground.eigenvalue(shape, [1e-9]) == ground.eigenvalue(shape, [0.0]) == 1e300
    (shape,) = shapes_of("log(1.2*q)")
    assert ground.eigenvalue(shape, [1.0]) == 1e300


def test_laws_of_the_dictionary_are_not_new(monkeypatch):
    ground = ground_of("gaussian_trap", monkeypatch)
    assert ground.old == 1
    import sympy

    names = ["x", "y", "vx", "vy"]
    wells = [parse_expression(text, names) for text in ("exp(0.0 - 0.5*x**2 - 0.5*y**2)", "exp(x)")]
    well, other = (shapes([one], {name: sympy.Symbol(name) for name in names})[0] for one in wells)
    assert ground.eigenvalue(well, well.start) < 1e-6 < 1e3 < ground.eigenvalue(other, other.start)


@pytest.mark.parametrize("amount", [0.0, 1e-3])
def test_an_eigenvalue_grows_with_the_square_of_the_error(amount, monkeypatch):
    ground = ground_of("exponential_walls", monkeypatch)
    (shape,) = shapes_of("cosh(1.2*q)")
    one, two = (ground.eigenvalue(shape, [1.0 + error]) for error in (amount, 2 * amount))
    assert two < 1e-6 if amount == 0 else two / one == pytest.approx(4.0, rel=0.05)
    assert np.isfinite(one)
