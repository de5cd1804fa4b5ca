import pytest
import torch

from ndm_apps.geometry import GeodesicWarning, Hyperbolic, Sphere, christoffel, distance, exp_map, norm
from ndm_apps.geometry.exponential import acceleration, geodesic_flow
from tests.geometry.examples import ALL, ANALYTIC, GENERIC, points, size, vectors

close = torch.testing.assert_close
WITH_DISTANCE = [name for name, metric in ANALYTIC.items() if hasattr(metric, "distance")]


def _vectors_of_length(metric, x, length):
    (v,) = vectors(x, 1)
    return length * v / norm(metric, x, v).unsqueeze(-1)


@pytest.mark.parametrize("name", ALL)
def test_acceleration_is_minus_christoffel(name):
    metric = ALL[name]
    x = points(metric, 4)
    (v,) = vectors(x, 1)
    expected = -torch.einsum("...cab,...a,...b->...c", christoffel(metric, x), v, v)
    close(acceleration(metric, x, v), expected, rtol=1e-10, atol=1e-11 * size(expected))


@pytest.mark.parametrize("name", WITH_DISTANCE)
def test_end_point_is_as_far_as_the_vector_is_long(name):
    metric = ANALYTIC[name]
    x = points(metric, 6) / 2 if name.startswith("S") else points(metric, 6)
    v = _vectors_of_length(metric, x, 0.8 * getattr(metric, "radius", 1.0))
    close(metric.distance(x, exp_map(metric, x, v)), norm(metric, x, v), rtol=1e-8, atol=0)


@pytest.mark.parametrize("name", ["torus", "S2 x H2", "polynomial 3", "network 3"])
def test_speed_is_kept(name):
    # d/dt exp(t v) is the velocity: its length never changes.
    metric = ALL[name]
    x = points(metric, 4)
    v = _vectors_of_length(metric, x, 1.0).detach()
    end, velocity = torch.func.jvp(
        lambda t: exp_map(metric, x, t * v), (torch.ones(()).double(),), (torch.ones(()).double(),)
    )
    close(norm(metric, end, velocity), norm(metric, x, v), rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_the_report_on_energy(name):
    metric = ALL[name]
    x = points(metric, 4)
    v = _vectors_of_length(metric, x, 1.0).detach()
    flow = geodesic_flow(metric, x, v)
    assert flow.converged.all()
    assert flow.energy_drift.abs().max() < 1e-8
    close(norm(metric, flow.point, flow.velocity).square() - 1, flow.energy_drift, rtol=0, atol=1e-12)


def test_the_drift_of_energy_tells_a_rough_integration():
    metric = GENERIC["polynomial 3"]
    x = points(metric, 4)
    v = _vectors_of_length(metric, x, 2.0)
    flows = [geodesic_flow(metric, x, v, tolerance=t) for t in (1e-4, 1e-7, 1e-10)]
    drifts = torch.stack([flow.energy_drift.abs().max() for flow in flows])
    assert (drifts[:-1] > 10 * drifts[1:]).all(), drifts
    assert (flows[0].steps < flows[2].steps).all()


def test_the_velocity_at_the_end_is_the_derivative():
    metric = GENERIC["polynomial 3"]
    x = points(metric, 4)
    v = _vectors_of_length(metric, x, 1.0).detach()
    one = torch.ones((), dtype=torch.float64)
    _, velocity = torch.func.jvp(lambda t: exp_map(metric, x, t * v), (one,), (one,))
    close(geodesic_flow(metric, x, v).velocity, velocity, rtol=1e-7, atol=1e-7)


def test_failures_name_their_samples():
    v = torch.tensor([[2.0, 0.0], [0.1, 0.1], [-2.0, 0.0]])
    with pytest.warns(GeodesicWarning, match=r"2 of 3 geodesics \(samples \(0,\), \(2,\)\) left the chart"):
        exp_map(Sphere(2), torch.zeros(2), v)
    flow = geodesic_flow(Sphere(2), torch.zeros(2), v)
    assert flow.converged.tolist() == [False, True, False]


def test_flow_property_and_way_back():
    metric = GENERIC["polynomial 3"]
    x = points(metric, 4)
    v = _vectors_of_length(metric, x, 1.0).detach()
    one = torch.ones((), dtype=torch.float64)
    middle, velocity = torch.func.jvp(lambda t: exp_map(metric, x, 0.5 * t * v), (one,), (one,))
    close(exp_map(metric, middle, velocity), exp_map(metric, x, v), rtol=1e-7, atol=1e-7)
    close(exp_map(metric, middle, -velocity), x, rtol=1e-7, atol=1e-7)


def test_order_of_the_integrator_is_eight():
    metric = Hyperbolic(2, model="half_space")
    x = points(metric, 5)
    v = _vectors_of_length(metric, x, 1.0)
    exact = exp_map(metric, x, v, tolerance=1e-13)
    counts = [2, 4, 8]
    errors = torch.tensor([(exp_map(metric, x, v, steps=k) - exact).abs().max() for k in counts]).log2()
    slopes = errors[:-1] - errors[1:]
    assert ((slopes - 8).abs() < 0.5).all(), slopes


def test_each_sample_chooses_its_own_steps():
    metric = Sphere(2)
    x = points(metric, 3)
    v = _vectors_of_length(metric, x, 0.5) * torch.tensor([[0.0], [1e-3], [1.0]], dtype=torch.float64)
    together = exp_map(metric, x, v)
    alone = torch.stack([exp_map(metric, a, b) for a, b in zip(x, v, strict=True)])
    close(together, alone, rtol=1e-9, atol=1e-9)
    close(together[0], x[0])


def test_gradient_against_finite_differences():
    metric = GENERIC["network 3"]
    x = points(metric, 2)
    v = _vectors_of_length(metric, x, 0.7).detach().requires_grad_()
    (direction,) = vectors(x, 1, seed=3)
    weight = next(metric.parameters())
    ends = exp_map(metric, x, v).square().sum()
    by_v, by_weight = torch.autograd.grad(ends, (v, weight))
    h = 1e-5
    with torch.no_grad():
        up, down = (exp_map(metric, x, v + s * h * direction).square().sum() for s in (1, -1))
        close((by_v * direction).sum(), (up - down) / (2 * h), rtol=1e-6, atol=1e-8)
        weight[0, 0] += h
        up = exp_map(metric, x, v).square().sum()
        weight[0, 0] -= 2 * h
        down = exp_map(metric, x, v).square().sum()
        weight[0, 0] += h
    close(by_weight[0, 0], (up - down) / (2 * h), rtol=1e-5, atol=1e-8)


def test_leaving_the_chart_is_told():
    # Through the one pole that the chart leaves out.
    v = torch.tensor([[2.0, 0.0], [0.1, 0.1]])
    with pytest.warns(GeodesicWarning, match=r"1 of 2 geodesics \(sample \(0,\)\) left the chart"):
        end = exp_map(Sphere(2), torch.zeros(2), v)
    assert end[0].isnan().all()
    assert end[1].isfinite().all()


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes_and_dtype(shape):
    x = points(ALL["torus"], *shape, dtype=torch.float32)
    assert exp_map(ALL["torus"], x, 0.1 * x).shape == x.shape
    assert exp_map(ALL["torus"], x, 0.1 * x).dtype == torch.float32
    assert exp_map(ALL["torus"], x, torch.ones(5, *[1] * len(shape), 2)).shape == (5, *shape, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be an integer, at least 1, or None, got 0"),
        ({"steps": 2.0}, "steps must be an integer, at least 1, or None, got 2.0"),
        ({"tolerance": 0.0}, "tolerance must be between 0 and 1, got 0.0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        exp_map(Sphere(2), torch.zeros(2), torch.ones(2), **arguments)


@pytest.mark.parametrize(("model", "outside"), [("ball", [0.0, 3.0]), ("half_space", [0.0, -1.0])])
def test_hyperbolic_space_ends_at_its_edge(model, outside):
    metric = Hyperbolic(2, model=model)
    inside, outside = points(metric), torch.tensor(outside, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"metric\(y\) must be finite"):
        distance(metric, inside, outside)
    # Two steps are far too long for this and jump over the edge.
    with pytest.warns(GeodesicWarning, match="exp_map: 1 of 1 geodesics"):
        assert exp_map(metric, inside, 900 * (outside - inside), steps=2).isnan().all()


@pytest.mark.parametrize("space", [Sphere, Hyperbolic])
@pytest.mark.parametrize("radius", [0.0, -1.0, float("nan")])
def test_a_space_needs_a_radius(space, radius):
    with pytest.raises(ValueError, match="radius must be positive, got"):
        space(2, radius)
