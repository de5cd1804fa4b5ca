import pytest
import torch

from ndm_apps.geometry import Euclidean, Hyperbolic, Sphere, Torus, distance, exp_map, geodesic, log_map, norm
from ndm_apps.geometry.exponential import geodesic_flow
from ndm_apps.geometry.randers import Randers, zermelo
from tests.geometry.examples import ALL, points, vectors

close = torch.testing.assert_close


def _potential(x):
    return 0.3 * (x[..., 0] - 0.5 * x[..., 1]).sin()


def _slope(x):
    return torch.func.grad(lambda y: _potential(y).sum())(x)


def _rotation(x):
    return 0.4 * torch.stack((-x[..., 1], x[..., 0]), -1)


def _rotate(x, angle):
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.stack((c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]), -1)


NORMS = {
    "torus with a slope": (Randers(Torus(), _slope), Torus()),
    "sphere in a whirl": (zermelo(Sphere(2), _rotation), Sphere(2)),
    "generic": (Randers(ALL["polynomial 3"], lambda x: 0.4 * x.roll(1, -1).sin()), ALL["polynomial 3"]),
}


def _setting(name, count=5):
    finsler, metric = NORMS[name]
    x = points(metric, count) / 2
    return finsler, x, vectors(x, 2)


@pytest.mark.parametrize("name", NORMS)
def test_algebra_against_automatic_differentiation(name):
    finsler, x, (v, _) = _setting(name)
    c = finsler.coefficients(x)

    def square(u, *coefficients):
        return finsler.square(coefficients or c, u).sum()

    close(finsler.momentum(c, v), torch.func.grad(square)(v) / 2)
    hessian = torch.func.vmap(torch.func.hessian(lambda u, *each: finsler.square(each, u)))(v, *c)
    close(finsler.fibre_hessian(c, v), hessian)
    close(finsler.square_by_coefficients(c, v), torch.func.grad(square, argnums=(1, 2))(v, *c))
    close(finsler.velocity(c, finsler.momentum(c, v)), v)


@pytest.mark.parametrize("name", NORMS)
def test_norm_is_homogeneous_and_obeys_the_triangle(name):
    finsler, x, (u, v) = _setting(name)
    close(finsler.norm(x, 3 * v), 3 * finsler.norm(x, v))
    assert (finsler.norm(x, u + v) <= finsler.norm(x, u) + finsler.norm(x, v) + 1e-12).all()
    assert (finsler.norm(x, v) - finsler.norm(x, -v)).abs().min() > 1e-3
    close(finsler.norm(x, 0 * v), torch.zeros(5, dtype=torch.float64))


def test_zermelo_is_the_time_at_unit_speed_through_the_air():
    finsler, x, (v, _) = _setting("sphere in a whirl")
    time = finsler.norm(x, v).unsqueeze(-1)
    close(norm(Sphere(2), x, v - time * _rotation(x)), time.squeeze(-1))


def test_constant_wind_on_the_plane():
    wind = torch.tensor([0.5, -0.3], dtype=torch.float64)
    finsler = zermelo(Euclidean(2), lambda x: wind.expand_as(x))
    x, y = points(Euclidean(2), 2, 6)
    time = distance(finsler, x, y)
    close((y - x - time.unsqueeze(-1) * wind).norm(dim=-1), time, rtol=1e-10, atol=0)
    close(exp_map(finsler, x, y - x), y)  # straight lines


def test_an_exact_drift_changes_lengths_but_no_geodesic():
    metric, finsler = Hyperbolic(2), Randers(Hyperbolic(2), _slope)
    x, y = points(metric, 2, 6)
    y = (x + y) / 2
    path = geodesic(finsler, x, y, points=17, refinements=2)
    assert path.converged.all()
    close(path.length, metric.distance(x, y) + _potential(y) - _potential(x), rtol=1e-7, atol=0)
    detour = metric.distance(x.unsqueeze(1), path.points) + metric.distance(path.points, y.unsqueeze(1))
    close(detour, metric.distance(x, y).unsqueeze(1).expand(6, 17), rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", [Euclidean(2), Sphere(2)], ids=["plane", "sphere"])
def test_a_killing_wind_carries_the_geodesics(metric):
    # Both are invariant under rotation: seen from the moving air, the fastest ways are geodesics.
    finsler = zermelo(metric, _rotation)
    x = points(metric, 6) / 2
    (u,) = vectors(x, 1)
    u = u / norm(metric, x, u).unsqueeze(-1)
    time = torch.linspace(0.3, 1.2, 6, dtype=torch.float64).unsqueeze(-1)
    velocity = u + _rotation(x)
    close(finsler.norm(x, velocity), torch.ones(6, dtype=torch.float64))
    end = _rotate(exp_map(metric, x, time * u), 0.4 * time.squeeze(-1))
    flow = geodesic_flow(finsler, x, time * velocity)
    close(flow.point, end, rtol=1e-8, atol=1e-8)
    assert flow.energy_drift.abs().max() < 1e-9
    close(distance(finsler, x, end), time.squeeze(-1), rtol=1e-7, atol=0)
    close(log_map(finsler, x, end), time * velocity, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_logarithm_inverts_the_exponential(name):
    finsler, x, _ = _setting(name)
    y = x.flip(0)
    close(exp_map(finsler, x, log_map(finsler, x, y)), y, rtol=0, atol=3e-6)
    there, back = distance(finsler, x, y), distance(finsler, y, x)
    assert (there - back)[[0, 1, 3, 4]].abs().max() > 1e-2
    assert there[2] == back[2] == 0  # the middle one, to itself


def test_gradient_of_distance_is_the_momentum():
    finsler, x, _ = _setting("generic")
    x, y = x[:2], x[2:4].requires_grad_()
    length = distance(finsler, x, y)
    (gradient,) = torch.autograd.grad(length.sum(), y)
    h = 1e-5
    step = torch.tensor([h, 0.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        reference = (distance(finsler, x, y + step) - distance(finsler, x, y - step)) / (2 * h)
    close(gradient[:, 0], reference, rtol=1e-6, atol=1e-8)


def test_float32():
    finsler, _ = NORMS["sphere in a whirl"]
    x, y = points(Sphere(2), 2, 4, dtype=torch.float32) / 2
    path = geodesic(finsler, x, y)
    assert path.length.dtype == torch.float32
    assert path.converged.all()
    close(path.length.double(), distance(finsler, x.double(), y.double()), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("finsler", "message"),
    [
        (
            Randers(Euclidean(2), lambda x: x),
            r"drift\(y\) must be shorter than 1 in the metric, got length 1\.5 at sample \(1,\), y = \[1\.5, 0\.0\]",
        ),
        (
            zermelo(Euclidean(2), lambda x: x),
            r"wind\(y\) must be shorter than 1 in the metric, got length 1\.5 at sample \(1,\), y = \[1\.5, 0\.0\]",
        ),
        (
            zermelo(Euclidean(2), lambda x: x / 0),
            r"wind\(x\) must be shorter than 1 in the metric, got length nan at sample \(0,\)",
        ),
        (
            Randers(Euclidean(2), lambda x: x[..., 0]),
            r"drift\(x\) must have the shape and dtype of x, \(2, 2\) and torch.float32, got \(2,\) and torch.float32",
        ),
        (Randers(Euclidean(2), lambda x: 0.5), r"drift\(x\) must have the shape .* got float"),
        (Randers(Euclidean(2), lambda x: x.detach() / 2), r"drift\(x\) must be differentiable by torch.func"),
        (zermelo(Euclidean(2), lambda x: x.detach() / 2), r"wind\(x\) must be differentiable by torch.func"),
        (Randers(lambda x: -Euclidean(2)(x), lambda x: x), r"metric\(x\) must be positive definite"),
    ],
)
def test_wrong_fields(finsler, message):
    with pytest.raises(ValueError, match=message):
        distance(finsler, torch.zeros(2, 2), torch.tensor([[0.5, 0.0], [1.5, 0.0]]))


@pytest.mark.parametrize("name", NORMS)
def test_the_length_of_nothing_has_no_derivative_but_no_nan(name):
    finsler, x, _ = _setting(name)
    v = torch.zeros_like(x, requires_grad=True)
    finsler.norm(x, v).sum().backward()
    assert not v.grad.any()


def test_the_time_in_a_constant_wind():
    # |v - t W| = t is a quadratic equation.
    x, y = vectors(torch.zeros(20, 3, dtype=torch.float64), 2)
    wind = torch.tensor([0.5, -0.3, 0.6], dtype=torch.float64)
    v, rate = y - x, 1 - wind @ wind
    expected = (((v @ wind) ** 2 + rate * v.square().sum(-1)).sqrt() - v @ wind) / rate
    close(distance(zermelo(Euclidean(3), lambda p: wind.expand_as(p)), x, y), expected, rtol=1e-12, atol=0)
