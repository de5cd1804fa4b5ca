import pytest
import torch

from ndm_apps.geometry import Hyperbolic, Sphere, christoffel, inner, ricci, riemann, sectional_curvature
from ndm_apps.geometry.closed_form import kulkarni_nomizu
from ndm_apps.geometry.curvature import orthonormal_pair
from ndm_apps.geometry.lie_group import LeftInvariant
from tests.geometry.examples import ALL, ANALYTIC, points, size, vectors

close = torch.testing.assert_close
CURVED = [name for name in ALL if name != "line"]


@pytest.mark.parametrize("name", ALL)
def test_christoffel_is_symmetric_and_keeps_the_metric(name):
    metric = ALL[name]
    x = points(metric, 3)
    gamma = christoffel(metric, x)
    close(gamma, gamma.mT, rtol=1e-12, atol=1e-12)
    # nabla g = 0, with the derivatives of g taken another way.
    dg = torch.stack([torch.func.jacrev(metric)(p).movedim(-1, 0) for p in x])
    g = metric(x)
    transported = torch.einsum("...lj,...lki->...kij", g, gamma) + torch.einsum("...il,...lkj->...kij", g, gamma)
    close(transported, dg, rtol=1e-11, atol=1e-11 * size(dg))


def test_christoffel_of_the_half_plane():
    x = torch.tensor([0.3, 2.0], dtype=torch.float64)
    expected = torch.zeros(2, 2, 2, dtype=torch.float64)
    expected[0, 0, 1] = expected[0, 1, 0] = expected[1, 1, 1] = -0.5
    expected[1, 0, 0] = 0.5
    close(christoffel(Hyperbolic(2, model="half_space"), x), expected)


@pytest.mark.parametrize("name", ALL)
def test_symmetries_of_riemann(name):
    metric = ALL[name]
    r = riemann(metric, points(metric, 3))
    atol = 1e-11 * size(r)
    close(r, -r.transpose(-4, -3), rtol=0, atol=atol)
    close(r, -r.transpose(-2, -1), rtol=0, atol=atol)
    close(r, torch.einsum("...abcd->...cdab", r), rtol=0, atol=atol)
    bianchi = r + torch.einsum("...abcd->...bcad", r) + torch.einsum("...abcd->...cabd", r)
    close(bianchi, torch.zeros_like(r), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ANALYTIC)
def test_riemann_and_ricci_give_the_closed_forms(name):
    metric = ANALYTIC[name]
    x = points(metric, 4)
    for got, exact in ((riemann(metric, x), metric.riemann(x)), (ricci(metric, x), metric.ricci(x))):
        close(got, exact, rtol=1e-10, atol=1e-10 * size(exact))


@pytest.mark.parametrize("name", ANALYTIC)
def test_closed_forms_agree_with_each_other(name):
    metric = ANALYTIC[name]
    x = points(metric, 4)
    trace = torch.einsum("...ij,...ij->...", torch.linalg.inv(metric(x)), metric.ricci(x))
    close(metric.scalar_curvature(x), trace, rtol=1e-11, atol=1e-11 * size(trace))


def test_the_unit_sphere_as_a_group():
    metric = LeftInvariant((2.0, 2.0, 2.0))
    x = points(metric, 4)
    close(riemann(metric, x), kulkarni_nomizu(metric(x), metric(x)) / 2, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("structure", [(1.0, 1.0, 1.0), (1.0, 2.0, 2.0), (1.0, -1.0, 0.0)])
def test_traces_of_ricci_are_constant_on_a_group_by_forward_mode_too(structure):
    metric = LeftInvariant(structure)
    x, (direction,) = points(metric, 4), vectors(points(metric, 4), 1)

    def trace_of_square(y):
        raised = torch.linalg.inv(metric(y)) @ ricci(metric, y)
        return (raised @ raised).diagonal(dim1=-2, dim2=-1).sum(-1)

    value, derivative = torch.func.jvp(trace_of_square, (x,), (direction,))
    a, b, c = (sum(structure) / 2 - k for k in structure)
    close(value, torch.full_like(value, 4 * ((b * c) ** 2 + (c * a) ** 2 + (a * b) ** 2)), rtol=1e-11, atol=0)
    close(derivative, torch.zeros_like(derivative), rtol=0, atol=1e-11)


def test_riemann_of_a_product_has_no_mixed_part():
    metric = ANALYTIC["S2 x H2"]
    x = points(metric, 4)
    expected = torch.zeros(4, 4, 4, 4, 4, dtype=torch.float64)
    expected[:, :2, :2, :2, :2] = metric.first.riemann(x[:, :2])
    expected[:, 2:, 2:, 2:, 2:] = metric.second.riemann(x[:, 2:])
    close(riemann(metric, x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_ricci_is_symmetric_and_its_trace_is_the_scalar_curvature(name):
    metric = ALL[name]
    x = points(metric, 3)
    ric = ricci(metric, x)
    scale = size(ric)
    close(ric, ric.mT, rtol=0, atol=1e-11 * scale)
    trace = torch.einsum("...ij,...ij->...", torch.linalg.inv(metric(x)), ric)
    if name in ANALYTIC:
        exact = metric.scalar_curvature(x)
        close(trace, exact, rtol=1e-10, atol=1e-10 * size(exact))


@pytest.mark.parametrize("name", CURVED)
def test_sectional_curvature_is_riemann_on_a_plane(name):
    metric = ALL[name]
    x = points(metric, 5)
    u, v = vectors(x, 2)
    r = torch.einsum("...abcd,...a,...b,...c,...d->...", riemann(metric, x), u, v, v, u)
    area = inner(metric, x, u, u) * inner(metric, x, v, v) - inner(metric, x, u, v) ** 2
    got = sectional_curvature(metric, x, u, v)
    close(got, r / area, rtol=1e-9, atol=1e-9 * size(got))


def test_sectional_curvature_depends_on_the_plane_alone():
    metric = ALL["polynomial 5"]
    x = points(metric, 4)
    u, v = vectors(x, 2)
    expected = sectional_curvature(metric, x, u, v)
    close(sectional_curvature(metric, x, v, u), expected, rtol=1e-10, atol=1e-10)
    close(sectional_curvature(metric, x, 1e-3 * u, v - 4 * u), expected, rtol=1e-9, atol=1e-9)
    close(sectional_curvature(metric, x, u, u + 1e-5 * v), expected, rtol=1e-6, atol=1e-6)


def test_nearly_parallel_vectors_are_made_orthogonal_to_rounding():
    a, c = vectors(torch.zeros(50, 5, dtype=torch.float64), 2)
    (first, second), sine = orthonormal_pair(a, a + 1e-7 * c)
    assert (sine < 1e-6).all()
    assert (first * second).sum(-1).abs().max() < 1e-14
    close(second.norm(dim=-1), torch.ones(50, dtype=torch.float64), rtol=1e-14, atol=0)


def test_sectional_curvature_broadcasts():
    metric = Sphere(3, radius=2.0)
    x = points(metric, 5, 1)
    u, v = torch.eye(3, dtype=torch.float64)[:2]
    close(sectional_curvature(metric, x, u, v.expand(4, 3)), torch.full((5, 4), 0.25, dtype=torch.float64))


def test_signs_are_those_of_the_unit_sphere():
    x = torch.zeros(3, dtype=torch.float64)
    e1, e2, _ = torch.eye(3, dtype=torch.float64) / 2  # g = 4 I at the pole: these have length 1
    r = torch.einsum("abcd,a,b,c,d->", riemann(Sphere(3), x), e1, e2, e2, e1)
    close(r, torch.tensor(1.0, dtype=torch.float64))
    close(ricci(Sphere(3), x), 2 * Sphere(3)(x))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes(shape):
    metric = ALL["polynomial 3"]
    x = points(metric, *shape)
    u, v = vectors(x, 2)
    assert christoffel(metric, x).shape == (*shape, 3, 3, 3)
    assert riemann(metric, x).shape == (*shape, 3, 3, 3, 3)
    assert ricci(metric, x).shape == (*shape, 3, 3)
    assert sectional_curvature(metric, x, u, v).shape == shape


def test_gradient_of_riemann_against_finite_differences():
    metric = ALL["polynomial 3"]
    (x,) = points(metric, 1)
    (direction,) = vectors(x, 1)
    x.requires_grad_()
    weight = torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weight * riemann(metric, x)).sum(), x)
    h = 1e-5
    with torch.no_grad():
        ends = [(weight * riemann(metric, x + s * h * direction)).sum() for s in (1, -1)]
    close(gradient @ direction, (ends[0] - ends[1]) / (2 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("bad", ["parallel", "zero u", "zero v"])
def test_two_vectors_that_span_no_plane_are_refused(bad):
    x = points(Sphere(3), 2, 3)
    u, v = vectors(x, 2)
    if bad == "parallel":
        v[1, 2] = -2 * u[1, 2]
    else:
        (u if bad == "zero u" else v)[1, 2] = 0
    with pytest.raises(ValueError, match=r"u and v must span a plane, got parallel or zero vectors at sample \(1, 2\)"):
        sectional_curvature(Sphere(3), x, u, v)
