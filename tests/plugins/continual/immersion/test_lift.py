"""Random ReLU layers against their formulae."""

import pytest
import torch
from torch import nn

from ndm_apps.plugins.continual.immersion.frozen import FrozenModule
from ndm_apps.plugins.continual.immersion.lift import PrincipalLift, RandomLift, principal_directions


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_random_lift_is_its_formula():
    x = gaussian(10, 2, 3) * 4 + 1
    lift = RandomLift(5, seed=3)
    lift.fit(x)
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64) / 6**0.5
    bias = torch.randn(5, generator=generator, dtype=torch.float64) / 2
    z = (x.flatten(1) - x.mean()) / x.std()
    torch.testing.assert_close(lift(x), torch.cat([z, (z @ weight + bias).clamp(min=0)], 1))


@pytest.mark.parametrize(("rows", "columns", "count"), [(200, 30, 4), (25, 60, 10), (9, 40, 20)])
def test_principal_directions_are_those_of_the_singular_value_decomposition(rows, columns, count):
    x = gaussian(rows, columns) * 0.5 ** torch.arange(columns) + 3
    directions, deviations = principal_directions(x, count, torch.Generator().manual_seed(0))
    _, singular, right = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    kept = min(count, rows - 1)
    assert directions.shape == (columns, kept)
    torch.testing.assert_close(deviations, singular[:kept] / (rows - 1) ** 0.5)
    torch.testing.assert_close((directions * right[:kept].mT).sum(0).abs(), torch.ones(kept, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_principal_lift_is_its_formula_at_any_scale(scale):
    x = (gaussian(300, 8) @ gaussian(8, 8, seed=1) + 2) * scale
    lift = PrincipalLift(FrozenModule(nn.Identity(), samples=300), 50, coordinates=5, seed=3)
    lift.fit(x)
    assert lift.samples == 300 and lift.features == 58
    coordinates = (x - lift.mean) @ lift.weight
    torch.testing.assert_close(coordinates.T.cov(), torch.eye(5, dtype=torch.float64))
    generator = torch.Generator().manual_seed(3)
    torch.randn(8, 8, generator=generator, dtype=torch.float64)  # what the principal directions start from
    hidden = torch.randn(5, 50, generator=generator, dtype=torch.float64) / 5**0.5
    bias = torch.randn(50, generator=generator, dtype=torch.float64) / 2
    layer = (coordinates @ hidden + bias).clamp(min=0)
    gain = (x.var(0).mean() / layer.var(0).mean()).sqrt()
    torch.testing.assert_close(lift(x), torch.cat([x, gain * layer], 1))


@pytest.mark.parametrize("make", [lambda: RandomLift(-1), lambda: RandomLift(3, samples=0)])
def test_wrong_sizes_of_the_random_lift(make):
    with pytest.raises(ValueError, match="must be at least"):
        make()


@pytest.mark.parametrize(("width", "coordinates"), [(0, 5), (5, 0)])
def test_wrong_sizes_of_the_principal_lift(width, coordinates):
    with pytest.raises(ValueError, match=f"got {width} and {coordinates}"):
        PrincipalLift(RandomLift(0), width, coordinates=coordinates)


def test_frozen_module_never_changes():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.ReLU()).double()
    immersion = FrozenModule(module)
    x = gaussian(6, 1, 5, 5)
    immersion.fit(x)
    before = immersion(x)
    assert before.shape == (6, 18) and not any(p.requires_grad for p in immersion.parameters())
    immersion.train()
    assert immersion.training and torch.equal(immersion(x), before)
    assert torch.equal(before, module.eval()(x).flatten(1))


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.LSTM(3, 2), "tuple"),
        (nn.Threshold(10.0, torch.nan), r"finite"),
        (nn.Flatten(0), r"shape \(9,\)"),
    ],
)
def test_a_module_that_is_no_map_of_samples_is_refused(module, match):
    immersion = FrozenModule(module.double())
    with pytest.raises(ValueError, match=match):
        immersion.fit(gaussian(2, 3, 3))
    assert not immersion.fitted
