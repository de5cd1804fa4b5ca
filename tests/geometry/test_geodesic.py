from itertools import pairwise

import pytest
import torch

from ndm_apps.engine import MetricNet
from ndm_apps.geometry import (
    Euclidean,
    GeodesicWarning,
    Hyperbolic,
    Sphere,
    distance,
    exp_map,
    geodesic,
    inner,
    log_map,
    norm,
    pullback,
)
from ndm_apps.geometry.block_tridiagonal import block_cholesky
from ndm_apps.geometry.discrete_energy import energy_and_gradient, hessian, hessian_at_start, resample
from ndm_apps.geometry.finsler import Riemannian
from tests.geometry.examples import ALL, ANALYTIC, cholesky_net, points, vectors

close = torch.testing.assert_close
WITH_DISTANCE = [name for name, metric in ANALYTIC.items() if hasattr(metric, "distance")]


def _pairs(metric, count):
    """Pairs at moderate distance: y half way between x and another point."""
    x, other = points(metric, 2, count)
    return x, (x + other) / 2


@pytest.mark.parametrize("name", WITH_DISTANCE)
def test_distance_gives_the_closed_form(name):
    metric = ANALYTIC[name]
    x, y = _pairs(metric, 6)
    close(distance(metric, x, y), metric.distance(x, y), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    "name", ["line", "S2", "H3", "torus", "ellipsoid", "S2 x H2", "conformal to R3", "polynomial 3"]
)
def test_logarithm_inverts_the_exponential(name):
    metric = ALL[name]
    x, y = _pairs(metric, 3)
    v = log_map(metric, x, y)
    close(exp_map(metric, x, v), y, rtol=0, atol=1e-6)
    close(norm(metric, x, v), distance(metric, x, y), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["H2", "S2 x H2", "polynomial 3"])
def test_distance_is_symmetric_and_obeys_the_triangle(name):
    metric = ALL[name]
    x, y = _pairs(metric, 4)
    z = y.roll(1, 0)
    close(distance(metric, x, y), distance(metric, y, x), rtol=1e-8, atol=0)
    assert (distance(metric, x, z) <= distance(metric, x, y) + distance(metric, y, z) + 1e-9).all()


@pytest.mark.parametrize(("refinements", "order"), [(0, 2), (1, 4), (2, 6)])
def test_order_of_the_discretisation(refinements, order):
    metric = Hyperbolic(2, model="half_space")
    x, y = torch.tensor([[[-1.0, 0.5]], [[1.0, 1.0]]], dtype=torch.float64)
    exact = metric.distance(x, y)
    # The velocity and the middle of the curve too: all are extrapolated the same way.
    fine = geodesic(metric, x, y, points=65, refinements=2)
    errors = []
    for chords in (8, 16):
        path = geodesic(metric, x, y, points=chords + 1, refinements=refinements)
        assert path.converged.all()
        gaps = (path.length - exact, path.velocity - fine.velocity, path.points[:, chords // 2] - fine.points[:, 32])
        errors.append(torch.stack([gap.abs().max() for gap in gaps]))
    slopes = (errors[0] / errors[1]).log2()
    assert (slopes > order - 0.4).all(), slopes
    assert (slopes < order + 1.6).all(), slopes


def test_points_lie_on_the_geodesic_at_equal_distances():
    metric = Sphere(2)
    x, y = _pairs(metric, 5)
    path = geodesic(metric, x, y, points=9, refinements=2)
    close(path.points[:, 0], x)
    close(path.points[:, -1], y)
    steps = metric.distance(path.points[:, :-1], path.points[:, 1:])
    close(steps, (path.length / 8).unsqueeze(-1).expand(5, 8), rtol=1e-4, atol=0)
    close(path.energy, path.length**2, rtol=1e-4, atol=0)


def test_a_point_is_at_distance_zero_from_itself():
    x = points(Sphere(2), 3).requires_grad_()
    path = geodesic(Sphere(2), x, x.detach())
    assert path.converged.all()
    close(path.length, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(path.length.sum(), x)
    assert gradient.isfinite().all()


def test_gradient_of_distance_is_the_unit_vector_of_the_geodesic():
    metric = ALL["polynomial 3"]
    x, y = _pairs(metric, 4)
    x = x.requires_grad_()
    length = distance(metric, x, y)
    (gradient,) = torch.autograd.grad(length.sum(), x)
    v = log_map(metric, x, y)
    expected = -torch.einsum("...ij,...j->...i", metric(x), v) / length.unsqueeze(-1)
    close(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", ["length", "velocity", "points"])
def test_gradients_against_finite_differences(what):
    metric = cholesky_net(2, seed=3)
    x, y = _pairs(metric, 3)
    y.requires_grad_()
    weight = metric.net[2].weight

    def outcome():
        path = geodesic(metric, x, y, points=9)
        assert path.converged.all()
        value = getattr(path, what)
        return (value * torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)).sum()

    by_y, by_weight = torch.autograd.grad(outcome(), (y, weight))
    h = 1e-5
    for tensor, gradient, place in ((y, by_y, (1, 0)), (weight, by_weight, (2, 3))):
        with torch.no_grad():
            tensor[place] += h
            up = outcome()
            tensor[place] -= 2 * h
            down = outcome()
            tensor[place] += h
        reference = (up - down) / (2 * h)
        assert abs(reference) > 1e-6
        close(gradient[place], reference, rtol=1e-5, atol=1e-9)


def test_flat_space_has_straight_lines():
    x, y = _pairs(Euclidean(3), 4)
    path = geodesic(Euclidean(3), x, y, points=5)
    t = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
    close(path.points, x.unsqueeze(1) * (1 - t) + y.unsqueeze(1) * t)
    close(path.velocity, y - x)


def _hill(x):
    height = 1 + 30 * (-8 * x.square().sum(-1)).exp()
    return height[..., None, None] * torch.eye(2, dtype=x.dtype)


def test_there_is_a_geodesic_on_each_side_of_a_hill():
    # The straight line over it costs more than either detour; which one is found depends on where the search begins.
    x, y = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    t = torch.linspace(0, 1, 65, dtype=torch.float64).unsqueeze(-1)
    straight = x + t * (y - x)
    bulge = (torch.pi * t).sin() * torch.tensor([0.0, 0.5], dtype=torch.float64)
    initial = torch.stack((straight + bulge, straight - bulge))
    path = geodesic(_hill, x.expand(2, 2), y.expand(2, 2), points=65, initial=initial)
    assert path.converged.all()
    assert path.points[0, :, 1].max() > 0.3
    close(path.points[0] * torch.tensor([1.0, -1.0]).double(), path.points[1], rtol=0, atol=1e-7)
    over = norm(_hill, straight, (y - x).expand(65, 2)).mean()
    assert (path.length < 0.8 * over).all()


def test_a_saddle_is_not_taken_for_a_minimum():
    # By symmetry the gradient along the straight line over the hill has no sideways part: Newton alone would stay.
    x, y = torch.tensor([[-1.0, 1e-3], [1.0, 1e-3]], dtype=torch.float64)
    path = geodesic(_hill, x, y, points=65)
    assert path.converged
    assert path.points[:, 1].max() > 0.3


def test_rest_at_a_saddle_is_not_convergence():
    x, y = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    path = geodesic(_hill, x, y, refinements=0)
    assert path.points[:, 1].abs().max() < 1e-6
    assert not path.converged


def test_grids_that_disagree_are_not_convergence():
    # Period 1/8 on 8 chords: each midpoint of the coarse grid meets the same phase, those of the fine grid do not.
    def ripples(p):
        return (1 + 0.5 * (16 * torch.pi * p[..., :1]).sin()).unsqueeze(-1) ** 2

    x, y = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert geodesic(ripples, x, y, points=9, refinements=0).converged
    assert not geodesic(ripples, x, y, points=9, refinements=1).converged


def test_what_does_not_converge_is_told():
    start, end = torch.tensor([[-1.0, 1e-3], [1.0, 1e-3]], dtype=torch.float64)
    assert not geodesic(_hill, start, end, iterations=1).converged

    def ripples(p):  # as in the test before, with one period to each of 16 chords
        return (1 + 0.5 * (32 * torch.pi * p[..., :1]).sin()).unsqueeze(-1) ** 2

    x, y = torch.tensor([[[0.0], [0.0]], [[0.0], [1.0]]], dtype=torch.float64)
    for function in (distance, log_map):
        with pytest.warns(GeodesicWarning, match=rf"{function.__name__}: 1 of 2 geodesics \(sample \(1,\)\) did not"):
            function(ripples, x, y)


def test_an_initial_curve_off_the_chart_is_refused():
    x, y = torch.tensor([[-1.0, 1.0], [1.0, 1.0]])
    initial = torch.stack((torch.linspace(-1, 1, 5), torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0])), -1)
    with pytest.raises(ValueError, match=r"metric\(initial\) must be finite, got nan or inf at sample \(1,\)"):
        geodesic(Hyperbolic(2, model="half_space"), x, y, points=5, initial=initial)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes(shape):
    metric = ALL["S2 x H2"]
    x, y = points(metric, 2, *shape)
    path = geodesic(metric, x, (x + y) / 2, points=5)
    assert path.points.shape == (*shape, 5, 4)
    assert path.velocity.shape == (*shape, 4)
    assert path.length.shape == path.energy.shape == path.converged.shape == shape


def test_end_points_broadcast():
    x, y = _pairs(Hyperbolic(2), 4)
    close(distance(Hyperbolic(2), x.unsqueeze(1), y), Hyperbolic(2).distance(x.unsqueeze(1), y), rtol=1e-6, atol=0)


def test_float32():
    metric = Hyperbolic(3)
    x, y = (t.float() for t in _pairs(metric, 8))
    path = geodesic(metric, x, y)
    assert path.points.dtype == torch.float32
    assert path.converged.all()
    close(path.length, metric.distance(x, y), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": 2}, "points must be an integer, at least 3, got 2"),
        ({"iterations": 0}, "iterations must be an integer, at least 1, got 0"),
        ({"refinements": 3}, "refinements must be 0, 1 or 2, got 3"),
        ({"initial": torch.zeros(5, 2)}, r"initial must have shape \(33, 2\) and dtype torch.float32, got \(5, 2\)"),
        ({"initial": 3}, r"initial must be a tensor of shape \(\.\.\., n\), got int"),
        ({"refinements": 1.0}, "refinements must be 0, 1 or 2, got 1.0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        geodesic(Sphere(2), torch.zeros(2), torch.ones(2), **arguments)


def test_block_cholesky_solves():
    generator = torch.Generator().manual_seed(0)
    t, n = 5, 3
    root = torch.randn(2, t * n, t * n, generator=generator, dtype=torch.float64)
    block = torch.arange(t * n) // n
    matrix = root @ root.mT * ((block[:, None] - block[None, :]).abs() <= 1)
    matrix = matrix + 40 * torch.eye(t * n, dtype=torch.float64)
    matrix[1, -n:, -n:] -= 200 * torch.eye(n, dtype=torch.float64)  # only the last block shows it
    tiles = matrix.reshape(2, t, n, t, n).transpose(2, 3)
    index = torch.arange(t)
    factor = block_cholesky(tiles[:, index, index], tiles[:, index[:-1], index[1:]])
    assert factor.positive.tolist() == [True, False]
    b = torch.randn(2, t, n, generator=generator, dtype=torch.float64)
    close(factor.solve(b)[0].flatten(), torch.linalg.solve(matrix[0], b[0].flatten()), rtol=1e-10, atol=1e-10)


def test_first_variation_vanishes_along_the_result():
    # The nodes are at rest: no small change of the interior lowers the discrete energy.
    metric = ALL["polynomial 3"]
    x, y = _pairs(metric, 2)
    nodes = geodesic(metric, x, y, points=9, refinements=0).points.detach().requires_grad_()
    middle, chord = (nodes[:, 1:] + nodes[:, :-1]) / 2, nodes[:, 1:] - nodes[:, :-1]
    energy = 8 * inner(metric, middle, chord, chord).sum()
    (gradient,) = torch.autograd.grad(energy, nodes)
    assert gradient[:, 1:-1].abs().max() < 1e-10 * gradient.abs().max()


def _learned(n, gain, dtype=torch.float64):
    """A Metric Net whose geodesics bend visibly, and 32 pairs of points."""
    with torch.random.fork_rng():
        torch.manual_seed(1000)
        net = MetricNet(n).to(dtype).requires_grad_(False)
    net.mlp.set_output(net.structure.identity().to(dtype), gain=gain)
    generator = torch.Generator().manual_seed(0)
    x, y = (2 * torch.rand(2, 32, n, generator=generator, dtype=torch.float64) - 1).to(dtype)
    return net, x, y


def _line(x, y, points):
    time = torch.linspace(0, 1, points, dtype=x.dtype).unsqueeze(-1)
    return x.unsqueeze(-2) + time * (y - x).unsqueeze(-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("n", "gain", "bend"), [(2, 40.0, 0.05), (8, 30.0, 0.2)])
def test_every_pair_converges_on_a_learned_metric(n, gain, bend, dtype):
    net, x, y = _learned(n, gain, dtype)
    path = geodesic(net, x, y, points=20)
    assert path.converged.shape == (32,)
    assert path.converged.all()
    detour = (path.points - _line(x, y, 20)).norm(dim=-1).amax(-1) / (y - x).norm(dim=-1)
    assert detour.median() > bend
    if dtype == torch.float64:
        close(exp_map(net, x, path.velocity), y, rtol=0, atol=5e-3)
    else:
        fine = geodesic(net.double(), x.double(), y.double(), points=20)
        close(path.length.double(), fine.length, rtol=1e-4, atol=0)


def test_the_finish_is_quadratic():
    net, x, y = _learned(8, 20.0)
    x, y = x[:8], y[:8]
    finsler, goal = Riemannian(net), geodesic(net, x, y, points=20, refinements=0).points
    curve = goal + 0.05 * torch.sin(torch.pi * torch.linspace(0, 1, 20, dtype=x.dtype)).unsqueeze(-1)
    errors = []
    for _ in range(5):
        errors.append((curve - goal).norm(dim=(-2, -1)))
        newton = hessian(finsler, curve).factor(torch.zeros(8, dtype=x.dtype))
        step = newton.solve(energy_and_gradient(finsler, curve)[1])
        curve = torch.cat((curve[:, :1], curve[:, 1:-1] - step, curve[:, -1:]), 1)
    ratios = torch.stack([b / a**2 for a, b in pairwise(errors[:3])])
    assert (ratios < 2).all(), ratios  # the error after a step over the square of the error before it
    assert errors[1].max() > 1e-4  # there was something to square
    assert errors[4].max() < 1e-10


def test_the_search_is_at_least_quadratic_per_hessian():
    net, x, y = _learned(8, 20.0)
    x, y = x[:8], y[:8]
    paths = [
        geodesic(net, x, y, points=20, refinements=0, initial=_line(x, y, 20), iterations=k).points for k in (1, 2, 20)
    ]
    first, second = ((path - paths[2]).norm(dim=(-2, -1)) for path in paths[:2])
    near = (first > 1e-3) & (first < 0.3)
    assert near.any()
    assert (second[near] <= first[near] ** 2).all()


def test_two_thousand_points():
    x, y = _pairs(Hyperbolic(2), 2)
    path = geodesic(Hyperbolic(2), x, y, points=2000, refinements=0)
    assert path.converged.all()
    close(path.length, Hyperbolic(2).distance(x, y), rtol=1e-6, atol=0)
    steps = Hyperbolic(2).distance(path.points[:, :-1], path.points[:, 1:])
    close(steps, (path.length / 1999).unsqueeze(-1).expand(2, 1999), rtol=1e-5, atol=0)


def test_distance_in_flat_space_seen_through_a_map():
    # Pulled back by a diffeomorphism flat space keeps its distances, though its geodesics bend in the new chart.
    def sheared(x):
        return torch.stack((x[..., 0] + 0.5 * x[..., 1].sin(), x[..., 1] + 0.3 * x[..., 0] ** 3), -1)

    metric = pullback(Euclidean(2), sheared)
    x, y = points(Euclidean(2), 2, 8) / 2
    close(distance(metric, x, y), (sheared(x) - sheared(y)).norm(dim=-1), rtol=1e-6, atol=0)
    close(exp_map(metric, x, log_map(metric, x, y)), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("end", ["x", "y"])
@pytest.mark.parametrize(("value", "message"), [(torch.nan, "must be finite"), (-1.0, "must be positive definite")])
def test_bad_end_points_are_named(end, value, message):
    def metric(p):  # a metric where the first coordinate is positive
        return p[..., :1, None] * torch.eye(2, dtype=p.dtype)

    ends = {"x": torch.ones(3, 2), "y": 2 * torch.ones(3, 2)}
    ends[end][1, 0] = value
    with pytest.raises(ValueError, match=rf"{end}\)? {message}.* at sample \(1,\)"):
        distance(metric, ends["x"], ends["y"])


def test_hessian_of_the_squared_distance():
    # On the unit sphere: 2 along the geodesic, 2 d cot d across, in a frame where the metric is the identity.
    metric = Sphere(2)
    x = torch.zeros(1, 2, dtype=torch.float64)
    y = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    d = metric.distance(x, y)
    path = geodesic(metric, x, y, points=129)
    expected = 4 * torch.diag_embed(torch.stack((2 + 0 * d, 2 * d / d.tan()), -1))
    close(hessian_at_start(Riemannian(metric), path.points), expected, rtol=1e-3, atol=1e-3)


def test_resampling_keeps_polynomials_and_nodes():
    t = torch.linspace(0, 1, 9, dtype=torch.float64).unsqueeze(-1)
    finer = torch.linspace(0, 1, 17, dtype=torch.float64).unsqueeze(-1)
    close(resample(t**5 - t, 16), finer**5 - finer)
    assert torch.equal(resample(t**5 - t, 16)[::2], t**5 - t)
    close(resample(t[:3] ** 2, 7)[-1], t[2] ** 2)


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float32, 1e-1), (torch.float32, 1e-2), (torch.float64, 1e-7)])
def test_ends_that_share_their_first_digits_converge(dtype, apart):
    # The nodes are known to their last digit only, which is a large part of so short a chord.
    metric = ALL["S2"]
    x = points(metric, 100, dtype=dtype)
    y = x + apart * vectors(x, 1)[0]
    path = geodesic(metric, x, y, points=17, refinements=2)
    assert path.converged.double().mean() > 0.95
    exact = metric.distance(x.double(), y.double())
    close(path.length.double()[path.converged], exact[path.converged], rtol=1e-4, atol=0)
