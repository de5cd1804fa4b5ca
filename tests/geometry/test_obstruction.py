import pytest
import torch

from ndm_apps.geometry import Sphere, killing_fields
from ndm_apps.geometry.obstruction import killing_bound
from tests.geometry.examples import ALL, ANALYTIC, points


def _pendulum(x):
    """Kinetic energy of two equal masses on two equal rods, in the two angles from the vertical."""
    across = (x[..., 0] - x[..., 1]).cos()
    one = torch.ones_like(across)
    return torch.stack((2 * one, across, across, one), -1).unflatten(-1, (2, 2))


def _gravity(x):
    return -2 * x[..., 0].cos() - x[..., 1].cos()


def _revolution(x):
    return torch.diag_embed(torch.stack((torch.ones_like(x[..., 0]), (2 + x[..., 0].sin()) ** 2), -1))


def _sphere(x):
    return Sphere(2)(x)  # without its closed form


def _square(x):
    return x.square().sum(-1)


_X = 4 * torch.rand(30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 2


@pytest.mark.parametrize(
    ("metric", "functions", "directions", "dimension"),
    [
        (_sphere, (), 2, 3),
        (_revolution, (), 1, 1),
        (ALL["polynomial 2"], (), 0, 0),
        (_pendulum, (), 1, 1),
        (_pendulum, (_gravity,), 0, 0),
        (_pendulum, (lambda x: (x[..., 0] - x[..., 1]).sin(),), 1, 1),
        (ALL["plane"], (), 2, 3),
        (ALL["plane"], (_square,), 1, 1),
        (ALL["plane"], (lambda x: 0 * x[..., 0] + 3,), 2, 3),
        # Henon-Heiles: flat, and V alone leaves one direction; |dV|^2 and the Laplacian of V leave none.
        (ALL["plane"], (lambda x: _square(x) / 2 + x[..., 0] ** 2 * x[..., 1] - x[..., 1] ** 3 / 3,), 0, 0),
    ],
)
def test_bound(metric, functions, directions, dimension):
    bound = killing_bound(metric, _X, functions)
    assert bound.dimension == dimension, bound
    assert bound.directions.median() == directions
    small = bound.singular_values[:, 2 - directions :]
    assert small.numel() == 0 or small.max() < 1e-9, "what vanishes does so to rounding"


@pytest.mark.parametrize("name", [name for name in ANALYTIC if ANALYTIC[name].n <= 4])
def test_never_below_the_number_of_symmetries(name):
    metric = ANALYTIC[name]
    bound = killing_bound(metric, points(metric, 12))
    assert len(killing_fields(metric, points(metric, 200), degree=2)) <= bound.dimension


def test_every_killing_field_lies_in_the_directions_left():
    metric = ANALYTIC["torus x line"]
    bound = killing_bound(metric, points(metric, 12))
    assert bound.directions.tolist() == [2] * 12
    assert len(killing_fields(metric, points(metric, 200), degree=1)) == 2


def test_no_units():
    x = points(ALL["polynomial 3"], 10)
    sizes = killing_bound(ALL["polynomial 3"], x, [_square]).singular_values
    scaled = killing_bound(lambda y: 9 * ALL["polynomial 3"](y / 5), 5 * x, [lambda y: 7 * _square(y)]).singular_values
    torch.testing.assert_close(scaled, sizes, rtol=1e-7, atol=1e-9)


def test_shapes():
    bound = killing_bound(_pendulum, _X.reshape(5, 6, 2))
    assert bound.directions.shape == (5, 6)
    assert bound.singular_values.shape == (5, 6, 2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="tolerance must be between 0 and 1, got 1"):
        killing_bound(_sphere, _X, tolerance=1)
    with pytest.raises(ValueError, match="x must hold at least two different points"):
        killing_bound(_sphere, _X[:1])
    with pytest.raises(ValueError, match=r"function must map \(\.\.\., n\) to \(\.\.\.\)"):
        killing_bound(_sphere, _X, [lambda x: x])
