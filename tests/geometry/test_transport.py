import pytest
import torch

from ndm_apps.geometry import Euclidean, Sphere, geodesic, inner, norm, parallel_transport
from tests.geometry.examples import ALL, points, vectors

close = torch.testing.assert_close


def _curve(metric, shape=(3,), nodes=6):
    x, y = points(metric, 2, *shape)
    t = torch.linspace(0, 1, nodes, dtype=torch.float64).unsqueeze(-1)
    return x.unsqueeze(-2) + 0.3 * (t + t**2) * (y - x).unsqueeze(-2)


@pytest.mark.parametrize("name", ALL)
def test_inner_products_are_kept_to_rounding(name):
    metric = ALL[name]
    curve = _curve(metric)
    u, v = vectors(curve[:, 0], 2)
    moved_u, moved_v = (parallel_transport(metric, curve, t) for t in (u, v))
    before = inner(metric, curve[:, 0], u, v).unsqueeze(-1).expand(3, 6)
    close(inner(metric, curve, moved_u, moved_v), before, rtol=1e-10, atol=1e-10)
    close(moved_u[:, 0], u, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["H3", "torus", "polynomial 3", "H2 warped with S3"])
def test_second_order_against_the_differential_equation(name):
    metric = ALL[name]
    a, b = points(metric, 2)
    b = a + 0.5 * (b - a)
    (v,) = vectors(a, 1)

    def curve(t):
        return a + t.unsqueeze(-1) * (b - a)

    def rate(t, w):
        # nabla_{c'} w = 0 by central differences of the metric: nothing is shared with the implementation.
        x, d, h = curve(t), b - a, 1e-5
        eye = torch.eye(len(a), dtype=torch.float64)
        dg = torch.stack([(metric(x + h * e) - metric(x - h * e)) / (2 * h) for e in eye])
        low = 0.5 * (torch.einsum("acb->cab", dg) + torch.einsum("bca->cab", dg) - dg)
        return -torch.linalg.solve(metric(x), torch.einsum("cab,a,b->c", low, d, w))

    exact, steps = v.clone(), 40
    with torch.no_grad():
        for k in range(steps):
            t, h = torch.tensor(k / steps, dtype=torch.float64), 1 / steps
            k1 = rate(t, exact)
            k2 = rate(t + h / 2, exact + h / 2 * k1)
            k3 = rate(t + h / 2, exact + h / 2 * k2)
            k4 = rate(t + h, exact + h * k3)
            exact = exact + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        counts = (8, 16, 32)
        errors = torch.stack(
            [
                (parallel_transport(metric, curve(torch.linspace(0, 1, k + 1).double()), v)[-1] - exact).norm()
                for k in counts
            ]
        )
    slopes = (errors[:-1] / errors[1:]).log2()
    assert ((slopes - 2).abs() < 0.3).all(), slopes


def test_a_geodesic_carries_its_own_tangent():
    metric = Sphere(3)
    x, y = points(metric, 2, 4)
    path = geodesic(metric, x, y, points=65, refinements=2)
    back = geodesic(metric, y, x, points=65, refinements=2)
    carried = parallel_transport(metric, path.points, path.velocity)[:, -1]
    close(carried, -back.velocity, rtol=2e-3, atol=2e-3)


def _turn(colatitude, nodes):
    """Angle by which a vector comes back turned from once around a circle of latitude, where the polygon closes."""
    angle = torch.linspace(0, 2 * torch.pi, nodes, dtype=torch.float64)
    circle = (colatitude / 2).tan().unsqueeze(-1).unsqueeze(-1) * torch.stack((angle.cos(), angle.sin()), -1)
    v = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(len(colatitude), 2)
    w = parallel_transport(Sphere(2), circle, v)[:, -1]
    return torch.atan2(w[:, 1], w[:, 0]) % (2 * torch.pi)


def test_turn_around_a_circle_of_latitude():
    # The angle is the area enclosed, 2 pi (1 - cos a) for colatitude a.
    colatitude = torch.tensor([0.3, 0.7, 1.2], dtype=torch.float64)
    exact = 2 * torch.pi * (1 - colatitude.cos())
    turns = torch.stack([_turn(colatitude, k + 1) for k in (250, 500, 1000)])
    slopes = ((turns[:-1] - exact).abs() / (turns[1:] - exact).abs()).log2()
    assert ((slopes - 2).abs() < 0.02).all(), slopes
    # Of even order, as Richardson's extrapolation shows.
    close((4 * turns[2] - turns[1]) / 3, exact, rtol=1e-9, atol=0)


def test_norms_and_angles_along_a_fine_curve():
    metric = ALL["polynomial 3"]
    curve = _curve(metric, nodes=1000)
    u, v = vectors(curve[:, 0], 2)
    moved_u, moved_v = (parallel_transport(metric, curve, t) for t in (u, v))
    lengths = [norm(metric, curve, t) for t in (moved_u, moved_v)]
    cosine = inner(metric, curve, moved_u, moved_v) / (lengths[0] * lengths[1])
    for each in (*lengths, cosine):
        close(each, each[:, :1].expand_as(each), rtol=1e-10, atol=1e-10)


def test_flat_space_changes_nothing():
    curve = _curve(Euclidean(3))
    (v,) = vectors(curve[:, 0], 1)
    close(parallel_transport(Euclidean(3), curve, v), v.unsqueeze(1).expand(3, 6, 3))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes(shape):
    metric = ALL["polynomial 3"]
    curve = _curve(metric, shape, nodes=4)
    assert parallel_transport(metric, curve, curve[..., 0, :]).shape == (*shape, 4, 3)


def test_gradient_with_respect_to_the_metric():
    metric = ALL["network 3"]
    curve = _curve(metric)
    (v,) = vectors(curve[:, 0], 1)
    weight = metric.net[0].weight
    (gradient,) = torch.autograd.grad(parallel_transport(metric, curve, v)[:, -1].sum(), weight)
    h = 1e-5
    with torch.no_grad():
        weight[1, 1] += h
        up = parallel_transport(metric, curve, v)[:, -1].sum()
        weight[1, 1] -= 2 * h
        down = parallel_transport(metric, curve, v)[:, -1].sum()
        weight[1, 1] += h
    close(gradient[1, 1], (up - down) / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("curve", [torch.zeros(2), torch.zeros(1, 2)])
def test_a_curve_needs_two_points(curve):
    with pytest.raises(ValueError, match=r"curve must have shape \(\.\.\., points, n\) with points >= 2"):
        parallel_transport(Sphere(2), curve, torch.ones(2))
