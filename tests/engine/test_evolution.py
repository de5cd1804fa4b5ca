import math
from itertools import pairwise

import pytest
import torch

from ndm_apps.engine.compatibility import chart_agreement, compatibility, discrepancy, pulled_back_metrics
from ndm_apps.engine.coordinates import alternating_couplings
from ndm_apps.engine.evolution import GeometricLoss, volume_variance
from ndm_apps.engine.layer import Geometry
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.network import NDM
from ndm_apps.geometry import Euclidean, Sphere


def points(n, *shape, seed=1):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_metric(n, *shape, seed=2):
    factor = torch.randn(*shape, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.mT + 0.1 * torch.eye(n, dtype=torch.float64)


def network(n=3, seed=0, **options):
    torch.manual_seed(seed)
    net = NDM(n, 2, depth=3, metric_hidden=(5,), coupling_hidden=(6,), **options).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


class Pullback(torch.nn.Module):
    """The metric that makes a layer agree exactly with the one behind the map."""

    def __init__(self, chart, metric):
        super().__init__()
        self.chart, self.metric = chart, metric

    def forward(self, x):
        z, _ = self.chart(x)
        jacobian = torch.func.vmap(torch.func.jacrev(lambda point: self.chart(point)[0]))(x)
        return jacobian.mT @ self.metric(z) @ jacobian


# Chart compatibility


def test_discrepancy_is_the_trace_form_and_vanishes_only_on_agreement():
    g, h = random_metric(3, 7), random_metric(3, 7, seed=3)
    trace = torch.linalg.matrix_power(torch.eye(3) - torch.linalg.solve(g, h), 2).diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(discrepancy(g, h), trace, rtol=1e-9, atol=0)
    assert (discrepancy(g, h) > 0.1).all() and (discrepancy(g, g) < 1e-20).all()
    torch.testing.assert_close(discrepancy(g, 1.5 * g), torch.full((7,), 0.75).double(), rtol=1e-10, atol=0)


def test_discrepancy_does_not_depend_on_coordinates():
    g, h = random_metric(3, 7), random_metric(3, 7, seed=3)
    change = points(3, 3)  # one linear change of coordinates for both, far from orthogonal
    moved = discrepancy(change.mT @ g @ change, change.mT @ h @ change)
    torch.testing.assert_close(moved, discrepancy(g, h), rtol=1e-9, atol=0)
    plain = [
        (one - other).square().sum((-2, -1))
        for one, other in ((g, h), (change.mT @ g @ change, change.mT @ h @ change))
    ]
    assert ((plain[0] / plain[1]).log().abs() > 0.1).any()


def test_compatibility_is_zero_when_each_metric_is_the_pullback_of_the_next():
    torch.manual_seed(0)
    chart = alternating_couplings(3, 2, (4,)).double()
    with torch.no_grad():
        for parameter in chart.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    behind = MetricNet(3, (5,)).double()
    x = points(3, 6)
    z, volume = chart(x)
    layers = [
        Geometry(x, torch.zeros(6), Pullback(chart, behind)),
        Geometry(z, volume, behind, origin=x, maps=(chart,)),
    ]
    assert compatibility(layers).item() < 1e-24
    assert chart_agreement(layers).local.item() < 1e-12
    wrong = [Geometry(x, torch.zeros(6), Euclidean(3)), layers[1]]
    assert compatibility(wrong).item() > 0.1


def test_compatibility_is_the_mean_over_points_and_consecutive_layers():
    _, layers = network()(points(3, 2, 4))
    parts = [
        discrepancy(one.g, after.jacobian.mT @ after.g @ after.jacobian).mean().item()
        for one, after in pairwise(layers)
    ]
    assert compatibility(layers).item() == pytest.approx(sum(parts) / 2, rel=1e-12)
    terms = GeometricLoss(curvature=0.0, volume=0.0, compatibility=0.3)(layers)
    assert terms.compatibility.item() == pytest.approx(sum(parts) / 2, rel=1e-12)
    assert terms.total.item() == pytest.approx(0.3 * sum(parts) / 2, rel=1e-12)
    assert terms.curvature.isnan() and terms.volume.isnan()


def test_training_on_compatibility_makes_the_charts_agree():
    net, x = network(seed=1), points(3, 32)
    before = chart_agreement(net(x)[1])
    optimiser = torch.optim.Adam([p for layer in net.layers for p in layer.metric.parameters()], 1e-2)
    loss = GeometricLoss(curvature=0.0, volume=0.0, compatibility=1.0)
    for _ in range(60):
        optimiser.zero_grad()
        loss(net(x)[1]).total.backward()
        optimiser.step()
    after = chart_agreement(net(x)[1])
    assert (after.local < 0.3 * before.local).all() and (after.overall < before.overall).all()


def test_global_metrics_are_those_of_the_network_on_its_input():
    net, x = network(), points(3, 4)
    _, layers = net(x)
    metrics = pulled_back_metrics(layers)
    for number, metric in enumerate(metrics):
        torch.testing.assert_close(metric, net.global_metric(number)(x), rtol=1e-10, atol=1e-12)
    agreement = chart_agreement(layers)
    expected = [discrepancy(layers[i].g, layers[i + 1].pullback).mean().sqrt() for i in range(2)]
    torch.testing.assert_close(agreement.local, torch.stack(expected), rtol=1e-8, atol=0)
    assert agreement.overall[0].item() == pytest.approx(agreement.local[0].item())


def test_compatibility_asks_for_a_chain():
    lone = Geometry(points(2, 5), torch.zeros(5), Sphere(2))
    with pytest.raises(ValueError, match="at least two layers to compare, got 1"):
        GeometricLoss(compatibility=1.0)(lone)
    with pytest.raises(ValueError, match="got origin None at layer 1"):
        compatibility([lone, lone])
    with pytest.raises(ValueError, match=r"g must be positive definite, got smallest eigenvalue -1 at sample \(1,\)"):
        discrepancy(torch.eye(2).repeat(2, 1, 1) * torch.tensor([1.0, -1.0])[:, None, None], torch.eye(2))


# Curvature: robust form, and every so many steps


class Constant(torch.nn.Module):
    """A conformal disk whose curvature at the origin is set, to test the penalty alone."""

    def __init__(self, curvature):
        super().__init__()
        self.log_scale = torch.nn.Parameter(-curvature.log() / 2)

    def forward(self, x):
        raise AssertionError("not needed")

    def scalar_curvature(self, x):
        return (-2 * self.log_scale).exp()  # R scales as 1 / g


def gradient(robust, curvature):
    metric = Constant(curvature)
    count = len(curvature)
    geometry = Geometry(points(2, count), torch.zeros(count), metric)
    GeometricLoss(volume=0.0, robust=robust)(geometry).total.backward()
    return metric.log_scale.grad


def test_one_point_of_huge_curvature_does_not_decide_the_gradient():
    curvature = torch.tensor([0.5, 1.0, 2.0, 1e6], dtype=torch.float64)
    plain, robust = gradient(None, curvature), gradient(1.0, curvature)
    assert plain[3].abs() / plain[:3].norm() > 1e11
    assert robust[3].abs() / robust[:3].norm() < 2
    assert robust.abs().max() <= 4 / 4  # 4 delta^2 for each of four points
    assert (robust > 0).sum() == 0  # it still pulls every point, towards a larger g


def test_robust_form_is_the_square_near_zero():
    _, layers = network()(points(3, 6))
    plain, robust = (GeometricLoss(volume=0.0, robust=delta)(layers).total for delta in (None, 1e5))
    torch.testing.assert_close(robust, plain, rtol=1e-6, atol=0)
    cut = GeometricLoss(volume=0.0, robust=0.1)(layers).total
    expected = torch.stack([0.01 * (layer.curvature / 0.1).square().log1p().mean() for layer in layers]).mean()
    torch.testing.assert_close(cut, expected, rtol=1e-12, atol=0)


def test_curvature_every_third_call_has_the_same_mean():
    _, layers = network()(points(3, 6))
    whole, loss = GeometricLoss()(layers), GeometricLoss(every=3)
    terms = [loss(layers) for _ in range(6)]
    assert [term.curvature.isnan().item() for term in terms] == [False, True, True] * 2
    mean = sum(term.total.item() for term in terms) / 6
    assert mean == pytest.approx(whole.total.item(), rel=1e-12)
    assert terms[1].total == terms[1].volume and terms[0].curvature == whole.curvature
    other = GeometricLoss(every=3)
    loss(layers)
    other.load_state_dict(loss.state_dict())
    assert other(layers).curvature.isnan() and loss(layers).curvature.isnan()
    evaluation = loss.eval()(layers)
    assert evaluation.total == whole.total


def test_loss_bounds_the_condition_of_metrics_in_training_alone():
    torch.manual_seed(0)
    net = MetricNet(3, (6,), eps=1e-3, condition=1.5).double()
    geometry = Geometry(points(3, 20), torch.zeros(20), net)
    with torch.no_grad():
        net.mlp.layers[-1].weight.mul_(20)
    for loss in (GeometricLoss().eval(), GeometricLoss()):
        for module in (net.eval(), net.train().requires_grad_(False)):
            loss(Geometry(geometry.point, geometry.log_abs_det, module))
            assert net.eps == 1e-3
        net.requires_grad_(True)
    GeometricLoss()(geometry)
    values = torch.linalg.eigvalsh(geometry.g)
    assert net.eps > 1e-3 and (values[:, -1] / values[:, 0]).max().item() == pytest.approx(1.5, rel=1e-9)


# Volume


def test_volume_variance_is_the_definition_where_that_is_finite():
    log_volume = 3 * points(5, 4)
    torch.testing.assert_close(volume_variance(log_volume), log_volume.exp().var(correction=0), rtol=1e-12, atol=0)
    relative = log_volume.exp().var(correction=0) / log_volume.exp().mean().square()
    torch.testing.assert_close(volume_variance(log_volume, relative=True), relative, rtol=1e-12, atol=0)
    # Close to the largest number, where squares of the volumes overflow in the textbook form.
    large = torch.tensor([88.0, 88.0 + 1e-6], dtype=torch.float32)
    assert volume_variance(large).isfinite()


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("scale", [-1e4, 0.0, 200.0, 1e4])
def test_volume_variance_and_its_gradient_are_finite_at_any_scale(scale, relative):
    log_volume = (points(1, 64)[:, 0].float() + scale).requires_grad_()
    value = volume_variance(log_volume, relative=relative)
    (gradient,) = torch.autograd.grad(value, log_volume)
    assert value.isfinite() and gradient.isfinite().all()
    if scale >= 0 or relative:
        assert value > 0 and gradient[log_volume.argmax()] > 0 and gradient.norm() > 0
    if relative:
        assert value < 64


def test_relative_volume_does_not_depend_on_the_scale_of_the_metric():
    log_volume = points(1, 64)[:, 0].requires_grad_()
    value = volume_variance(log_volume, relative=True)
    torch.testing.assert_close(volume_variance(log_volume + 7.0, relative=True), value, rtol=1e-10, atol=0)
    (gradient,) = torch.autograd.grad(value, log_volume)
    assert gradient.sum().abs() < 1e-12 * gradient.abs().sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compatibility": -1.0}, "compatibility must be finite and not negative, got -1.0"),
        ({"robust": 0.0}, "robust must be positive and finite, got 0.0"),
        ({"robust": math.inf}, "robust must be"),
        ({"every": 0}, "every must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GeometricLoss(**arguments)


def test_a_loss_needs_points():
    with pytest.raises(ValueError, match=r"geometries must hold at least one point, got shape \(0, 2\)"):
        GeometricLoss()(Geometry(points(2, 0), torch.zeros(0), Sphere(2)))


def test_errors_name_layer_and_sample():
    good = Geometry(points(2, 5), torch.zeros(5), Sphere(2))
    broken = Geometry(points(2, 5), torch.zeros(5), lambda x: -Sphere(2)(x))
    with pytest.raises(ValueError, match=r"layer 1: .*positive definite.*smallest eigenvalue -.*sample \(0,\)"):
        GeometricLoss(curvature=0.0)([good, broken])
    x = points(2, 5)
    x[3, 0] = math.nan
    for loss in (GeometricLoss(), GeometricLoss(volume=0.0).eval()):
        with pytest.raises(ValueError, match=r"layer 1: x must be finite, got \[nan, .*\] at sample \(3,\)"):
            loss([good, Geometry(x, torch.zeros(5), MetricNet(2).double())])
