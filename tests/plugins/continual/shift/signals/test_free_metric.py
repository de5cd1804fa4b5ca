import copy

import pytest
import torch

from ndm_apps import geometry
from ndm_apps.plugins.continual.shift.signals.free_metric import FreeMetric


def points(count, n=10, seed=0):
    return torch.randn(count, n, generator=torch.Generator().manual_seed(seed))


def test_its_numbers_are_those_of_the_metric():
    free, z = FreeMetric(3, seed=0).double(), points(4, 3).double()
    assert torch.allclose(free.scalar_curvature(z), geometry.scalar_curvature(lambda x: free.net(x), z), atol=1e-9)
    assert torch.allclose(free.log_volume(z), torch.logdet(free.net(z)) / 2)
    centre, here = free.net(torch.zeros(1, 3).double()), free.net(z)
    relative = torch.linalg.eigvals(torch.linalg.solve(centre, here)).real
    assert torch.allclose(free.distortion(z), relative.log().square().sum(-1).sqrt())
    assert free.distortion(torch.zeros(1, 3)).abs().max() < 1e-6


def test_it_lives_on_the_leading_coordinates():
    free, z = FreeMetric(20, seed=0), points(5, 20)
    other = torch.cat([z[:, : free.n], torch.zeros(5, 20 - free.n)], 1)
    assert torch.equal(free.scalar_curvature(z), free.scalar_curvature(other))


def test_training_takes_curvature_and_the_spread_of_volumes_down():
    free, z = FreeMetric(4, seed=0), points(64, 4)
    before = free.scalar_curvature(z).square().mean(), free.log_volume(z).exp().var()
    for _ in range(800):
        free.update(z)
    assert free.scalar_curvature(z).square().mean() < 0.3 * before[0]
    assert free.log_volume(z).exp().var() < 0.3 * before[1]


def test_a_seed_decides_and_the_global_one_stays():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nets = [FreeMetric(4, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    first, same, other = (net.log_volume(points(3, 4)) for net in nets)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_resumed_metric_goes_on_bit_for_bit():
    free, resumed = FreeMetric(4, seed=0), FreeMetric(4, seed=1)
    for seed in range(7):
        free.update(points(8, 4, seed))
    resumed.load_state_dict(copy.deepcopy(free.state_dict()))
    for seed in range(7, 14):
        for one in (free, resumed):
            one.update(points(8, 4, seed))
    assert torch.equal(free.scalar_curvature(points(3, 4)), resumed.scalar_curvature(points(3, 4)))


def test_one_point_teaches_nothing():
    free = FreeMetric(4, seed=0)
    before = free.log_volume(points(3, 4))
    for _ in range(8):
        free.update(points(1, 4))
    assert torch.equal(free.log_volume(points(3, 4)), before)


def test_a_line_has_no_curvature():
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        FreeMetric(1, seed=0)
