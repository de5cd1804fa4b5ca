import numpy as np
import pytest
import sympy

from ndm_apps.plugins.physics.kinetic.poisson import poisson_algebra, poisson_bracket

x, y, z, px, py, pz = SPACE = sympy.symbols("x y z px py pz")
q, p = (x, y, z), (px, py, pz)
PLANE = (x, y, px, py)


def states(columns, low=0.3, high=0.6):
    return np.random.default_rng(1000).uniform(low, high, (80, columns))


def angular_momentum():
    return [y * pz - z * py, z * px - x * pz, x * py - y * px]


def test_bracket_is_antisymmetric_and_canonical():
    assert poisson_bracket(x, px, q, p) == 1
    assert poisson_bracket(x**2 * py, y * px, q, p) == -poisson_bracket(y * px, x**2 * py, q, p)


def test_kepler_in_space_is_so4():
    r = sympy.sqrt(x**2 + y**2 + z**2)
    momentum = sympy.Matrix(angular_momentum())
    lenz = sympy.Matrix(p).cross(momentum) - sympy.Matrix(q) / r
    energy = (px**2 + py**2 + pz**2) / 2 - 1 / r
    found = poisson_algebra([*momentum, *lenz], states(6), SPACE, energy)
    assert found.name == "so(4)"
    assert found.defect < 1e-9


def test_isotropic_oscillator_is_su2():
    laws = [x * py - y * px, x * y + px * py, (x**2 + px**2 - y**2 - py**2) / 2]
    found = poisson_algebra(laws, states(4), PLANE)
    assert found.name == "so(3)" and found.defect < 1e-9  # su(2) is the same algebra
    with_energy = poisson_algebra([*laws, (x**2 + px**2 + y**2 + py**2) / 2], states(4, -1, 1), PLANE)
    assert with_energy.name == "so(3) + R"


def test_motions_of_the_plane():
    found = poisson_algebra([px, py, x * py - y * px], states(4), PLANE)
    assert found.name == "e(2), motions of the plane"


def test_functions_do_as_well_as_expressions():
    def spin(state):
        return state[..., 0] * state[..., 3] - state[..., 1] * state[..., 2]

    laws = [lambda s: s[..., 2], lambda s: s[..., 3], spin]
    one = poisson_algebra(laws, states(4))
    other = poisson_algebra([px, py, x * py - y * px], states(4), PLANE)
    np.testing.assert_allclose(one.structure, other.structure, atol=1e-12)


def test_what_does_not_close_has_no_name():
    found = poisson_algebra([x**2, px**3], states(4), PLANE)
    assert found.name == "" and found.defect > 0.05


def test_wrong_arguments():
    with pytest.raises(ValueError, match="laws must hold at least one"):
        poisson_algebra([], states(4), PLANE)
    with pytest.raises(ValueError, match="got 3 columns"):
        poisson_algebra([x], states(3), (x, y, z))
