import pytest
import torch

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import Euclidean, Sphere, geodesic, relaxed_geodesic


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_relaxed_geodesics_are_great_circles():
    x, y = 0.7 * normal(20, 2), 0.7 * normal(20, 2, seed=1)
    lift = [torch.cat([2 * p, 1 - p.square().sum(-1, keepdim=True)], -1) / (1 + p.square().sum(-1, keepdim=True))
            for p in (x, y)]  # fmt: skip
    exact = (lift[0] * lift[1]).sum(-1).clamp(-1, 1).arccos()
    errors = []
    for points in (17, 33):
        found = relaxed_geodesic(Sphere(2), x, y, points=points, tolerance=1e-10)
        assert found.converged.all()
        errors.append((found.length / exact - 1).abs().max().item())
    assert errors[0] < 0.02 and 3.5 < errors[0] / errors[1] < 4.5  # order 2


@pytest.mark.parametrize("structure", ["cholesky", "conformal", "diagonal"])
def test_relaxed_geodesics_are_newtons(structure):
    torch.manual_seed(0)
    net = MetricNet(3, (16,), structure).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x, y = normal(6, 3), normal(6, 3, seed=1)
    found, exact = relaxed_geodesic(net, x, y), geodesic(net, x, y, points=9, refinements=0)
    assert found.converged.all() and exact.converged.all()
    torch.testing.assert_close(found.energy, exact.energy.detach(), rtol=1e-4, atol=0)
    assert (found.energy < 0.999 * found.straight_energy).any() and (found.length <= found.straight_length).all()
    assert (found.length.square() <= found.energy * (1 + 1e-12)).all()


def test_geodesics_of_flat_space_are_straight():
    found = relaxed_geodesic(Euclidean(5), normal(4, 5), normal(4, 5, seed=1))
    assert torch.equal(found.points, found.straight) and found.converged.all()
    torch.testing.assert_close(found.length, (normal(4, 5) - normal(4, 5, seed=1)).norm(dim=1))


def test_wrong_ends():
    x = normal(4, 2)
    for arguments, message in (({"points": 2}, "points must be at least 3"), ({"iterations": 0}, "iterations")):
        with pytest.raises(ValueError, match=message):
            relaxed_geodesic(Euclidean(2), x, x + 1, **arguments)
    with pytest.raises(ValueError, match="one shape"):
        relaxed_geodesic(Euclidean(2), x, x[:2])
