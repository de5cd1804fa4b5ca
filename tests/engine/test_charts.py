"""Charts agree: what is a scalar or a tensor has one value at a point, whatever coordinates it is computed in."""

import pytest
import torch

from ndm_apps.engine.coordinates import SplineCoupling
from ndm_apps.engine.layer import ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.pulled_back import PulledBackMetric
from ndm_apps.geometry import distance, pullback, scalar_curvature, scalar_curvature_from_jets, volume_element
from tests.engine.test_coordinates import MAPS, disturbed, points

# Splines are smooth between their knots, where random points lie.
CURVED = [name for name in MAPS if MAPS[name]().n > 1]


def metric_net(n, structure="cholesky"):
    torch.manual_seed(0)
    net = MetricNet(n, (6,), structure).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return net


def relative_gap(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("structure", ["cholesky", "diagonal", "conformal"])
@pytest.mark.parametrize("name", CURVED)
def test_scalar_curvature_is_the_same_in_two_charts(name, structure):
    chart = disturbed(name)
    net, x = metric_net(chart.n, structure), points(chart.n, shape=(3,))
    metric = PulledBackMetric(net, [chart])
    here, there = scalar_curvature_from_jets(metric, x), net.scalar_curvature(chart(x)[0])
    assert there.abs().max() > 1e-3
    assert relative_gap(here, there) < 1e-8
    assert torch.equal(scalar_curvature(metric, x), there)


@pytest.mark.parametrize("name", CURVED)
def test_pulled_back_metric(name):
    chart = disturbed(name)
    net, x = metric_net(chart.n), points(chart.n)
    metric = PulledBackMetric(net, [chart])
    torch.testing.assert_close(metric(x), pullback(net, lambda y: chart(y)[0])(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(metric.log_volume(x).exp(), volume_element(metric, x), rtol=1e-10, atol=0)


def test_distance_is_the_same_in_two_charts():
    chart = disturbed("smooth-2")
    net, x, y = metric_net(2, "conformal"), points(2, shape=(3,)), 0.5 * points(2, shape=(6,))[3:]
    here = distance(PulledBackMetric(net, [chart]), x, y)
    torch.testing.assert_close(here, distance(net, chart(x)[0], chart(y)[0]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", CURVED)
def test_geometry_knows_where_its_points_come_from(name):
    chart = disturbed(name)
    x = points(chart.n)
    z, geometry = ManifoldLayer(chart, metric_net(chart.n))(x)
    assert geometry.origin is x and torch.equal(geometry.chart(x), z)
    expected = torch.func.vmap(torch.func.jacrev(geometry.chart))(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
    torch.testing.assert_close(geometry.jacobian, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(torch.linalg.slogdet(geometry.jacobian).logabsdet, geometry.log_abs_det)
    torch.testing.assert_close(geometry.pullback, PulledBackMetric(geometry.metric, [chart])(x))
    index = torch.tensor([9, 0])
    some = geometry.at(index)
    torch.testing.assert_close(some.pullback, geometry.pullback.flatten(0, 1)[index], rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(geometry.at(index).jacobian, some.jacobian)


def test_pullback_differentiates_with_respect_to_points_and_parameters():
    chart, net, x = disturbed("mixed-smooth"), metric_net(4), points(4, shape=(2,)).requires_grad_()
    weight = chart.maps[2].conditioner.layers[0].weight

    def total():
        return ManifoldLayer(chart, net)(x)[1].pullback.square().sum()

    by_point, by_weight = torch.autograd.grad(total(), (x, weight))
    for tensor, gradient in ((x, by_point), (weight, by_weight)):
        direction = points(tensor.shape[-1], shape=tensor.shape[:-1])
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                tensor.add_(sign * 1e-5 * direction)
                values.append(total())
                tensor.sub_(sign * 1e-5 * direction)
        difference = (values[0] - values[1]) / 2e-5
        torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-6, atol=0)


def test_kinks_of_a_metric_behind_a_spline():
    torch.manual_seed(0)
    chart, net = disturbed("spline-2"), metric_net(2)
    assert isinstance(chart, SplineCoupling)
    metric = PulledBackMetric(net, [chart])
    kept = torch.tensor(0.3, dtype=torch.float64)
    knot = chart.knots(chart.conditioner(kept[None])).x[0, 4]
    sides = torch.stack([torch.stack([kept, knot + sign * 1e-9]) for sign in (-1, 1)])
    g, slopes = metric(sides), torch.func.vmap(torch.func.jacfwd(metric))(sides)
    torch.testing.assert_close(g[0], g[1], rtol=0, atol=1e-6)
    assert (slopes[0] - slopes[1]).abs().max() > 1e-2
    torch.testing.assert_close(scalar_curvature_from_jets(metric, sides), net.scalar_curvature(chart(sides)[0]))
