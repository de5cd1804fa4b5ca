import pytest
import torch

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import Euclidean, Hyperbolic, Sphere, frechet_mean, geodesic, relaxed_geodesic
from ndm_apps.geometry.discrete_energy import energy_and_gradient
from ndm_apps.geometry.finsler import Riemannian
from ndm_apps.geometry.sobolev import Memory, Sobolev
from ndm_apps.geometry.structured import as_finsler


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


class Bumps:
    """A conformally flat metric with a bump of four times the length on the way, that knows its weight."""

    def conformal_weight(self, x):
        return 1 + 15 * (-(x - 0.1).square().sum(-1)).exp()

    def __call__(self, x):
        return torch.diag_embed(self.conformal_weight(x).unsqueeze(-1).expand(x.shape))


class Graph:
    """The metric of a graph over the plane, that knows its immersion."""

    def immersion(self, x):
        return torch.cat((x, (2 * x).sin()), -1)

    def __call__(self, x):
        return torch.eye(x.shape[-1], dtype=x.dtype) + torch.diag_embed((2 * (2 * x).cos()).square())


@pytest.mark.parametrize("metric", [Bumps(), Graph(), Sphere(4)], ids=["conformal", "immersed", "matrix"])
def test_gradients_find_what_newton_finds(metric):
    x, y = 0.8 * normal(12, 4), 0.8 * normal(12, 4, seed=1)
    exact = geodesic(metric, x, y, refinements=0)
    found = geodesic(metric, x, y, refinements=0, method="gradient")
    assert exact.converged.all() and found.converged.all()
    same = (found.energy / exact.energy - 1).abs() < 1e-6  # a few go round the bump on the other side
    assert same.sum() >= 10
    torch.testing.assert_close(found.points[same], exact.points[same], rtol=0, atol=1e-5)
    torch.testing.assert_close(found.velocity[same], exact.velocity[same], rtol=0, atol=1e-4)


@pytest.mark.parametrize("metric", [Bumps(), Graph()], ids=["conformal", "immersed"])
def test_norms_of_structured_metrics_are_those_of_their_matrices(metric):
    x, v = normal(3, 5, 4), normal(3, 5, 4, seed=1)
    short, full = as_finsler(metric), Riemannian(metric)
    assert not isinstance(short, Riemannian)
    c, g = short.coefficients(x), full.coefficients(x)
    for method in ("square", "momentum", "fibre_hessian"):
        torch.testing.assert_close(getattr(short, method)(c, v), getattr(full, method)(g, v))
    torch.testing.assert_close(short.velocity(c, short.momentum(c, v)), v)
    for by_short, by_full in zip(energy_and_gradient(short, x), energy_and_gradient(full, x), strict=True):
        torch.testing.assert_close(by_short, by_full)


def test_converged_is_a_small_gradient_in_the_natural_norm():
    curve = torch.stack((0.8 * normal(12, 4), 0.8 * normal(12, 4, seed=1)), 1)
    x, y = curve.unbind(1)
    for iterations in (1, 60):
        found = geodesic(Bumps(), x, y, refinements=0, iterations=iterations, method="gradient")
        energy, gradient = energy_and_gradient(as_finsler(Bumps()), found.points)
        middle = (found.points[:, 1:] + found.points[:, :-1]) / 2
        # The dual norm by the dense matrix of 2 N sum_i w_i |d_i|^2, with nothing of the solver in it.
        weight = 32 * Bumps().conformal_weight(middle)
        laplacian = 2 * (torch.diag_embed(weight[:, 1:] + weight[:, :-1])
            - torch.diag_embed(weight[:, 1:-1], 1) - torch.diag_embed(weight[:, 1:-1], -1))  # fmt: skip
        share = (gradient * torch.linalg.solve(laplacian, gradient)).sum((1, 2)) / 2 / energy
        eps = torch.finfo(torch.double).eps  # the solver's weights are those of where the finest grid began
        assert (share[found.converged] < 1.5 * eps).all() and (share[~found.converged] > eps / 1.5).all()
        assert bool(found.converged.all()) == (iterations == 60)


def flat_hessian(curve, vector):
    """2 N K (x) g, with the metric of the bumps at the chords, applied to displacements of the interior nodes."""
    weight = Bumps().conformal_weight((curve[:, 1:] + curve[:, :-1]) / 2)[..., None]
    current = weight * torch.nn.functional.pad(vector, (0, 0, 1, 1)).diff(dim=1)
    return -2 * weight.shape[1] * current.diff(dim=1)


def test_in_the_coordinates_of_the_modes_the_hessian_of_flat_space_is_one():
    curve, u = normal(3, 10, 2), normal(3, 8, 2)
    grid = Sobolev.along(as_finsler(Bumps()), curve)
    torch.testing.assert_close(grid.coordinates(flat_hessian(curve, grid.displacement(u))), u)
    changes = (grid.modes[:, 1:].sign() != grid.modes[:, :-1].sign()).sum(1)
    assert torch.equal(changes, torch.arange(8).expand(3, 8)) and (grid.modes[:, 0] > 0).all()


def test_a_mode_is_the_same_on_a_finer_grid():
    time = torch.linspace(0, 1, 33).double()[:, None]
    coarse, fine = (Sobolev.along(as_finsler(Bumps()), ((1 - t) * normal(2) + t * normal(2, seed=1))[None])
                    for t in (time[::2], time))  # fmt: skip
    torch.testing.assert_close(fine.modes[:, 1::2, :4], coarse.modes[..., :4], rtol=0, atol=0.01)


def test_memory_is_that_of_the_two_loops(monkeypatch):
    for room in (9, 4):  # with all steps, and with the oldest forgotten
        monkeypatch.setattr("ndm_apps.geometry.sobolev._ROOM", room)
        monkeypatch.setattr("ndm_apps.geometry.sobolev._MEMORY", 3)
        gradient, pairs = normal(1, 8, 2), []
        memory = Memory(gradient, torch.ones(1).double())
        for k in range(5):
            step = normal(1, 8, 2, seed=k)
            change = 3 * step + 0.1 * normal(1, 8, 2, seed=k + 9)
            change = -change if k == 2 else change  # not convex: to be left out
            gradient = gradient + change
            memory.learn(step, gradient)
            pairs.append((step, change))
        # The fifth step no longer fits into the smaller room: three that stay, and itself.
        pairs = [pair for k, pair in enumerate(pairs) if k != 2 and (room == 9 or k > 0)]
        q, shares = gradient, []
        for s, y in reversed(pairs):
            shares.append((s * q).sum() / (s * y).sum())
            q = q - shares[-1] * y
        s, y = pairs[-1]
        r = (s * y).sum() / (y * y).sum() * q
        for (s, y), share in zip(pairs, reversed(shares), strict=True):
            r = r + (share - (y * r).sum() / (s * y).sum()) * s
        torch.testing.assert_close(memory.direction(gradient), r)


@pytest.mark.parametrize("method", ["newton", "gradient"])
def test_each_pair_of_a_family_has_its_own_metric(method):
    class Family(Bumps):
        def __init__(self, height):
            self.height = height

        def part(self, which):
            return Family(self.height[which])

        def conformal_weight(self, x):
            height = self.height.reshape(-1, *[1] * (x.ndim - 2))
            return 1 + height * (-(x - 0.1).square().sum(-1)).exp()

    x, y, height = 0.8 * normal(9, 3), 0.8 * normal(9, 3, seed=1), torch.linspace(0, 20, 9).double()
    found = geodesic(Family(height), x, y, refinements=0, method=method)
    assert found.converged.all()
    for k in range(9):
        alone = geodesic(Family(height[k : k + 1]), x[k : k + 1], y[k : k + 1], refinements=0, method=method)
        torch.testing.assert_close(found.energy[k], alone.energy[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(found.length[0], (x - y)[0].norm())


class KnownSlope(Bumps):
    """The bump that also knows the gradient of its weight, and counts who asks."""

    asked = 0

    def conformal_weight_and_gradient(self, x):
        KnownSlope.asked += 1
        weight = self.conformal_weight(x)
        return weight, -2 * (x - 0.1) * (weight - 1).unsqueeze(-1)


@pytest.mark.parametrize("method", ["newton", "gradient"])
def test_a_gradient_that_the_metric_knows_changes_nothing(method):
    x, y = (0.8 * normal(6, 3, seed=k).requires_grad_() for k in (0, 1))
    found, plain = (geodesic(metric, x, y, refinements=0, method=method) for metric in (KnownSlope(), Bumps()))
    assert KnownSlope.asked
    torch.testing.assert_close(found.points, plain.points)
    slopes = [torch.autograd.grad(path.length.sum(), (x, y)) for path in (found, plain)]
    torch.testing.assert_close(*slopes)


def test_a_tolerance_is_what_is_left_to_lose():
    x, y = 0.8 * normal(12, 4), 0.8 * normal(12, 4, seed=1)
    found, best = (geodesic(Bumps(), x, y, refinements=0, method="gradient", tolerance=t) for t in (1e-3, 1e-12))
    excess = found.energy / best.energy - 1
    assert found.converged.all() and best.converged.all() and 1e-6 < excess.max() < 1e-2
    for wrong in (0.0, 1.0, -1e-3):
        with pytest.raises(ValueError, match="tolerance must be between 0 and 1, got"):
            geodesic(Bumps(), x, y, tolerance=wrong)


def test_float32_converges_and_a_wall_of_nan_is_not_crossed():
    x, y = (0.8 * normal(40, 8, seed=k).float() for k in (0, 1))
    assert geodesic(Bumps(), x, y, refinements=0, method="gradient").converged.all()
    found = geodesic(Hyperbolic(2, model="half_space"), torch.tensor([[-3.0, 0.1]]), torch.tensor([[3.0, 0.1]]),
                     refinements=0, points=65, method="gradient")  # fmt: skip
    assert found.converged.all() and (found.points[..., 1] > 0).all() and found.points[0, 32, 1] > 2


def test_unknown_method():
    with pytest.raises(ValueError, match="method must be 'newton' or 'gradient', got 'adam'"):
        geodesic(Euclidean(2), normal(2), normal(2, seed=1), method="adam")


def test_the_mean_by_gradients_is_newtons():
    x = 0.3 * normal(3, 6, 4)
    exact, found = frechet_mean(Sphere(4), x), frechet_mean(Sphere(4), x, iterations=100, method="gradient")
    assert exact.converged.all() and found.converged.all()
    torch.testing.assert_close(found.point, exact.point, rtol=0, atol=1e-4)  # order 2 on 32 chords
    # On the grid itself the logarithms of the points cancel.
    ends = torch.broadcast_tensors(found.point.unsqueeze(1), x)
    logarithms = geodesic(Sphere(4), *ends, refinements=0).velocity
    torch.testing.assert_close(logarithms.mean(1), torch.zeros_like(found.point), rtol=0, atol=1e-6)
