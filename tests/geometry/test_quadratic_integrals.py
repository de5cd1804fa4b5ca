import pytest
import torch

from ndm_apps.geometry import Euclidean, Sphere, killing_fields
from ndm_apps.geometry.lie_algebra import name_lie_algebra
from ndm_apps.geometry.quadratic_integrals import quadratic_integrals


def points(n, many=150):
    return torch.rand(many, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.4


def harmonic(x):
    return x.square().sum(-1) / 2


def kepler(x):
    return -1 / torch.linalg.vector_norm(x, dim=-1)


def henon(x):
    return harmonic(x) + x[..., 0] ** 2 * x[..., 1] - x[..., 1] ** 3 / 3


def separable(x):
    return x[..., 0] ** 4 + x[..., 1].exp()


@pytest.mark.parametrize(
    ("potential", "n", "reducible", "irreducible"),
    [(harmonic, 2, 2, 2), (kepler, 2, 2, 2), (henon, 2, 1, 0), (separable, 2, 1, 1), (kepler, 3, 7, 3)],
)
def test_count(potential, n, reducible, irreducible):
    found = quadratic_integrals(Euclidean(n), potential, points(n))
    assert (found.reducible, found.irreducible) == (reducible, irreducible), found


@pytest.mark.parametrize("potential", [harmonic, kepler, separable])
def test_conserved_along_the_motion(potential):
    x, v = points(2, 20), points(2, 20) - 0.7
    force = torch.func.grad(lambda y: -potential(y).sum())(x)
    for one in quadratic_integrals(Euclidean(2), potential, points(2)):
        rate = torch.func.jvp(lambda a, b, law=one: law(a, b), (x, v), (v, force))[1]
        torch.testing.assert_close(rate, torch.zeros_like(rate), rtol=0, atol=1e-6)


def test_the_energy_is_one_of_them_on_any_metric():
    found = quadratic_integrals(Sphere(2), lambda x: x[..., 0], points(2), unit=1.0)
    x, v = points(2, 20), points(2, 20)
    energy = ((Sphere(2)(x) @ v.unsqueeze(-1)).squeeze(-1) * v).sum(-1) + 2 * x[..., 0]
    values = found[0](x, v)
    ratio = (values - values.mean()) / (energy - energy.mean())
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio))


@pytest.mark.parametrize("unit", [0.0, -1.0])
def test_wrong_unit(unit):
    with pytest.raises(ValueError, match="unit must be positive"):
        quadratic_integrals(Euclidean(2), harmonic, points(2), unit=unit)


def test_killing_fields_that_preserve_functions():
    x = points(2)
    assert len(killing_fields(Euclidean(2), x, functions=[harmonic])) == 1
    assert len(killing_fields(Euclidean(2), x, functions=[henon])) == 0
    # What is small beside its unit is an error, not a function.
    assert len(killing_fields(Euclidean(2), x, functions=[lambda y: 1e-6 * henon(y)], units=[1.0])) == 3
    for units in ([1.0, 2.0], [0.0]):
        with pytest.raises(ValueError, match="units must be one positive number for each of 1 functions"):
            killing_fields(Euclidean(2), x, functions=[henon], units=units)


def table(brackets, k):
    c = torch.zeros(k, k, k)
    for i, j, m, value in brackets:
        c[i, j, m], c[j, i, m] = value, -value
    return c


@pytest.mark.parametrize(
    ("brackets", "k", "name"),
    [
        ([(0, 1, 2, 1.0), (1, 2, 0, 1.0), (2, 0, 1, 1.0)], 3, "so(3)"),
        ([(0, 1, 2, -1.0), (1, 2, 0, 1.0), (2, 0, 1, 1.0)], 3, "so(2,1)"),
        ([(2, 0, 1, 1.0), (2, 1, 0, -1.0)], 3, "e(2), motions of the plane"),
        ([(2, 0, 1, 1.0), (2, 1, 0, 1.0)], 3, "e(1,1), motions of the Minkowski plane"),
        ([(0, 1, 2, 1.0)], 3, "the Heisenberg algebra"),
        ([(0, 1, 2, 1.0), (1, 2, 0, 1.0), (2, 0, 1, 1.0)], 5, "so(3) + R^2"),
        ([], 1, "of dimension 1"),
    ],
)
def test_names_of_algebras(brackets, k, name):
    structure = table(brackets, k)
    # Another basis, and a little noise.
    turn = torch.linalg.qr(torch.randn(k, k, generator=torch.Generator().manual_seed(1)))[0]
    turned = torch.einsum("ai,bj,ijk,ck->abc", turn, turn, structure, turn)
    assert name_lie_algebra(structure) == name
    assert name_lie_algebra(turned * 3) == name


def test_structure_must_be_antisymmetric():
    with pytest.raises(ValueError, match="antisymmetric"):
        name_lie_algebra(torch.ones(2, 2, 2))
