import copy
import math

import pytest
import torch

from ndm_apps import geometry
from ndm_apps.engine import GaussianChart
from ndm_apps.plugins.continual.shift.stein import ConformalNet


def net_of(n, *, seed=0, hidden=7, lr=1e-2, generic=True):
    generator = torch.Generator().manual_seed(seed)
    net = ConformalNet(n, hidden, lr=lr, generator=generator, dtype=torch.float64)
    if generic:
        with torch.no_grad():
            net.log_precision.copy_(0.3 * torch.randn(n, generator=generator, dtype=torch.float64))
            net.output.copy_(0.5 * torch.randn(hidden, generator=generator, dtype=torch.float64))
    return net


def normal(count, n, *, seed):
    return torch.randn(count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plane(reach=12.0, step=0.08):
    """Grid for the trapezoid rule, exact to rounding for smooth functions that vanish at its rim."""
    axis = torch.arange(-reach, reach, step, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


def two_bumps(z):
    """Log-density of a mixture of two normal densities in the plane, up to a constant."""
    centres = torch.tensor([[-1.5, 0.5], [1.0, -0.7]], dtype=z.dtype)
    weights = torch.tensor([0.6, 0.4], dtype=z.dtype)
    return torch.logsumexp(weights.log() - (z.unsqueeze(-2) - centres).square().sum(-1) / (2 * 0.7**2), -1)


def mixture(count, n, *, seed):
    """Points of two bumps, apart along the first axis, of mean zero and covariance one."""
    z = normal(count, n, seed=seed)
    side = normal(count, 1, seed=seed + 1000)[:, 0].sign()
    z[:, 0] = 0.95 * side + (1 - 0.95**2) ** 0.5 * z[:, 0]
    return z


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("n", [3, 6])
def test_curvature_is_that_of_the_metric(n, exponent):
    net, z = net_of(n), normal(5, n, seed=1)
    metric = net.metric(exponent)
    scaled = net.scaled_curvature(z, exponent)
    scale = (4 * exponent / (n - 2) * net.log_density(z)).exp()
    ours = -4 * exponent * (n - 1) / (n - 2) * scaled / scale
    assert torch.allclose(metric(z), scale[:, None, None] * torch.eye(n, dtype=z.dtype), rtol=1e-12)
    assert torch.allclose(ours, geometry.scalar_curvature(metric, z), rtol=1e-10, atol=1e-10)
    # the same with nothing but the metric's values to go by
    assert torch.allclose(ours, geometry.scalar_curvature(lambda x: metric(x), z), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mean_under_its_own_density_is_zero(seed):
    net, z = net_of(2, seed=seed), plane()
    with torch.no_grad():
        p = torch.softmax(net.log_density(z), 0)
        statistic = net.scaled_curvature(z)
    assert abs(float(p @ statistic)) < 1e-9
    assert float(p @ statistic.square()) > 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_loss_is_half_the_fisher_divergence_less_what_no_net_can_change(seed):
    net, z = net_of(2, seed=seed), plane().requires_grad_()
    truth = two_bumps(z)
    (score,) = torch.autograd.grad(truth.sum(), z)
    (own,) = torch.autograd.grad(net.log_density(z).sum(), z)
    with torch.no_grad():
        q = torch.softmax(truth, 0)
        loss, stein = q @ net.scaled_curvature(z, 0.5), q @ net.scaled_curvature(z)
        assert math.isclose(loss, q @ ((own - score).square() - score.square()).sum(1) / 2, rel_tol=1e-9)
        assert math.isclose(stein, q @ (own * (own - score)).sum(1), rel_tol=1e-9)


def test_loss_is_least_at_the_normal_density_of_the_data():
    scale = torch.tensor([0.5, 2.0], dtype=torch.float64)
    z = plane(reach=20.0)
    q = torch.softmax(-(z / scale).square().sum(1) / 2, 0)
    net = net_of(2, generic=False)
    with torch.no_grad():
        net.log_precision.copy_(-2 * scale.log())
    loss = q @ net.scaled_curvature(z, 0.5)
    loss.backward()
    assert math.isclose(loss.item(), -(scale**-2).sum().item() / 2, rel_tol=1e-9)
    assert max(parameter.grad.abs().max() for parameter in net.parameters()) < 1e-9
    for shift in (-0.3, 0.3):
        with torch.no_grad():
            net.log_precision[0] = -2 * scale[0].log() + shift
        assert q @ net.scaled_curvature(z, 0.5) > loss


@pytest.mark.parametrize("n", [1, 2, 5])
def test_untrained_it_is_the_gaussian_charts_own(n):
    chart, x = GaussianChart(n), normal(50, n, seed=2) * 3 + 1
    chart.update(x)
    net = net_of(n, generic=False)
    assert torch.allclose(net.scaled_curvature(chart.standardise(x)), chart.scaled_curvature(x), rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_derivative_of_the_loss_by_a_power_of_the_density_is_the_mean_statistic(seed):
    net, z = net_of(4, seed=seed), mixture(60, 4, seed=seed)
    net.loss(z).backward()
    by_power = net.log_precision.grad.sum() + net.output @ net.output.grad
    assert math.isclose(by_power.item(), net.scaled_curvature(z).mean().item(), rel_tol=1e-10)


def test_loss_is_least_at_a_mixture_that_one_hidden_unit_is():
    centre, variance = torch.tensor([[0.9, -0.4]], dtype=torch.float64), 0.3
    net, z = net_of(2, hidden=1, generic=False), plane(reach=8.0)
    bumps = [-(z + sign * centre).square().sum(1) / (2 * variance) for sign in (1, -1)]
    q = torch.logaddexp(*bumps).softmax(0)
    with torch.no_grad():
        net.log_precision.fill_(-math.log(variance))
        net.weight.copy_(centre / variance)
        net.bias.zero_()
        net.output.fill_(1.0)
    assert torch.allclose(torch.softmax(net.log_density(z), 0), q, rtol=1e-9)
    (q @ net.scaled_curvature(z, 0.5)).backward()
    assert max(parameter.grad.abs().max() for parameter in net.parameters()) < 1e-9


def test_trained_online_it_sees_what_the_gaussian_chart_cannot():
    net = ConformalNet(4, 32, generator=torch.Generator().manual_seed(0))
    gaussian = copy.deepcopy(net)
    for seed in range(300):
        net.update(mixture(32, 4, seed=seed))
    fresh, between = mixture(20_000, 4, seed=5000), torch.zeros(1, 4)
    with torch.no_grad():
        at_home = net.scaled_curvature(fresh)
        assert abs(at_home.mean()) < 0.1 * at_home.std()
        assert net.loss(fresh) < 2 * gaussian.loss(fresh)
        # Between the bumps there are no points, but there is their mean.
        assert net.scaled_curvature(between) > at_home.mean() + at_home.std()
        assert gaussian.scaled_curvature(between) < gaussian.scaled_curvature(fresh).min()


def test_a_resumed_net_goes_on_bit_for_bit():
    net = net_of(3)
    for seed in range(5):
        net.update(mixture(8, 3, seed=seed))
    resumed = net_of(3, seed=9)
    resumed.load_state_dict(copy.deepcopy(net.state_dict()))
    for seed in range(5, 10):
        for one in (net, resumed):
            one.update(mixture(8, 3, seed=seed))
    z = normal(4, 3, seed=0)
    assert torch.equal(net.scaled_curvature(z), resumed.scaled_curvature(z))


def test_bad_points_are_refused_and_nothing_is_learnt():
    net = net_of(3)
    before = copy.deepcopy(net.state_dict())
    for z, message in (
        (torch.zeros(2, 4), r"z must have shape \(..., 3\), got \(2, 4\)"),
        (torch.tensor([[0.0, math.nan, 1.0]]), "z must be finite, got"),
    ):
        with pytest.raises(ValueError, match=message):
            net.update(z)
    net.update(torch.zeros(0, 3))
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert not net.optimizer.state


@pytest.mark.parametrize("wrong", [{"n": 0}, {"hidden": 0}, {"lr": 0.0}])
def test_bad_arguments_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=f"^{name} must be"):
        ConformalNet(**{"n": 3, **wrong})


def test_the_plane_has_no_such_metric():
    with pytest.raises(ValueError, match="needs dimension 3 or more, the net has 2"):
        ConformalNet(2).metric()
