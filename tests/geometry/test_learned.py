"""Metric Nets: what is found on a metric that was learned, and optimisation on it."""

from functools import cache

import geoopt
import pytest
import torch

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import Ellipsoid, LearnedManifold, Sphere, Torus, killing_fields
from tests.geometry.examples import points

close = torch.testing.assert_close


def fit(metric, x, seed, steps=600):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = MetricNet(x.shape[-1], (32, 32)).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    g = metric(x)
    for _ in range(steps):
        optimiser.zero_grad()
        (net(x) - g).square().mean().backward()
        optimiser.step()
        schedule.step()
    return net.requires_grad_(False)


@pytest.mark.parametrize(("metric", "count"), [(Sphere(2), 3), (Torus(), 1), (Ellipsoid(), 0)])
def test_killing_fields_of_what_a_metric_net_learned(metric, count):
    net = fit(metric, points(metric, 512), seed=0)
    fields = killing_fields(net, points(metric, 300, seed=10), degree=2, tolerance=0.2)
    assert len(fields) == count, (fields, fields.spectrum[:6])
    assert count == 0 or fields.gap > 5


def _residual(x):
    return torch.stack((1 - x[..., 0], 4 * (x[..., 1] - x[..., 0] ** 2)), -1)


def _gauss_newton(x):
    jacobian = torch.func.vmap(torch.func.jacrev(_residual))(x)
    return jacobian.mT @ jacobian


@cache
def _learned_valley():
    unit = torch.rand(512, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return LearnedManifold(fit(_gauss_newton, 3 * unit + torch.tensor([-1.5, -1.0]), seed=0))


def _steps_to_the_minimum(kind, manifold=None, most=400, **settings):
    """Steps until all of three points are within 1e-3 of the minimum of a curved valley, at (1, 1)."""
    start = torch.tensor([[-1.2, 1.0], [-0.5, -0.5], [0.0, 1.5]], dtype=torch.float64)
    x = torch.nn.Parameter(start) if manifold is None else geoopt.ManifoldParameter(start, manifold=manifold)
    optimiser = kind([x], **settings)
    for step in range(most):
        if (x.detach().as_subclass(torch.Tensor) - 1).norm(dim=-1).max() < 1e-3:
            return step
        optimiser.zero_grad()
        _residual(x).square().sum().backward()
        optimiser.step()
    return most


def test_riemannian_descent_on_a_learned_metric_finds_the_minimum_sooner():
    # The metric was learned from J^T J at sample points: its gradient points along the valley, not across it.
    riemannian = _steps_to_the_minimum(geoopt.optim.RiemannianSGD, _learned_valley(), lr=0.3)
    assert riemannian < 200
    assert min(_steps_to_the_minimum(torch.optim.SGD, lr=lr) for lr in (0.003, 0.01, 0.02)) == 400
    assert min(_steps_to_the_minimum(torch.optim.Adam, lr=lr) for lr in (0.1, 0.2, 0.3)) > riemannian


def test_riemannian_adam_on_a_learned_metric_finds_the_minimum_sooner():
    settings = {"lr": 0.1, "betas": (0.9, 0.9)}
    riemannian = _steps_to_the_minimum(geoopt.optim.RiemannianAdam, _learned_valley(), **settings)
    assert riemannian < 300
    assert _steps_to_the_minimum(torch.optim.Adam, **settings) == 400
