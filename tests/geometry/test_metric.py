import pytest
import torch

from ndm_apps.geometry import (
    Sphere,
    christoffel,
    distance,
    exp_map,
    geodesic,
    inner,
    killing_fields,
    laplacian,
    log_map,
    log_volume_element,
    lower_index,
    norm,
    parallel_transport,
    raise_index,
    ricci,
    riemann,
    scalar_curvature,
    scalar_curvature_from_jets,
    sectional_curvature,
    volume_element,
)
from ndm_apps.geometry.differentiable import check_differentiable
from ndm_apps.geometry.killing_tensors import killing_tensors
from ndm_apps.geometry.obstruction import killing_bound
from ndm_apps.geometry.operators import hessian
from tests.geometry.examples import ALL, GENERIC, points, vectors

close = torch.testing.assert_close


def _eye(x):
    return torch.diag_embed(torch.ones_like(x))


def _at_points(function):
    return lambda metric, x: function(metric, x)


def _with_vectors(function, count):
    def call(metric, x):
        return function(metric, x, *torch.eye(2, dtype=getattr(x, "dtype", None))[:count])

    return call


# Everything public that takes (metric, x, ...): a new function joins this list and is tested for its refusals.
FUNCTIONS = {
    "inner": _with_vectors(inner, 2),
    "norm": _with_vectors(norm, 1),
    "lower_index": _with_vectors(lower_index, 1),
    "raise_index": _with_vectors(raise_index, 1),
    "volume_element": _at_points(volume_element),
    "log_volume_element": _at_points(log_volume_element),
    "laplacian": lambda metric, x: laplacian(metric, lambda y: y.sum(-1), x),
    "hessian": lambda metric, x: hessian(metric, lambda y: y.sum(-1), x),
    "christoffel": _at_points(christoffel),
    "riemann": _at_points(riemann),
    "ricci": _at_points(ricci),
    "sectional_curvature": _with_vectors(sectional_curvature, 2),
    "scalar_curvature": _at_points(scalar_curvature),
    "scalar_curvature_from_jets": _at_points(scalar_curvature_from_jets),
    "exp_map": _with_vectors(exp_map, 1),
    "geodesic": lambda metric, x: geodesic(metric, x, x),
    "distance": lambda metric, x: distance(metric, x, x),
    "log_map": lambda metric, x: log_map(metric, x, x),
    "killing_fields": _at_points(killing_fields),
    "killing_tensors": _at_points(killing_tensors),
    "killing_bound": _at_points(killing_bound),
    "stochastic": lambda metric, x: scalar_curvature(metric, x, method="stochastic"),
}


def _transport(metric, curve):
    return parallel_transport(metric, curve, torch.ones(2, dtype=getattr(curve, "dtype", None)))


@pytest.mark.parametrize("name", ALL)
def test_index_gymnastics(name):
    metric = ALL[name]
    x = points(metric, 6)
    u, v = vectors(x, 2)
    close(raise_index(metric, x, lower_index(metric, x, u)), u, rtol=1e-10, atol=1e-10)
    close((lower_index(metric, x, u) * v).sum(-1), inner(metric, x, u, v), rtol=1e-10, atol=1e-10)
    close(inner(metric, x, u, v), inner(metric, x, v, u), rtol=1e-12, atol=1e-12)
    close(norm(metric, x, u) ** 2, inner(metric, x, u, u), rtol=1e-10, atol=1e-10)
    close(volume_element(metric, x) ** 2, torch.linalg.det(metric(x)), rtol=1e-10, atol=1e-12)


def test_vectors_broadcast_against_points():
    x = points(Sphere(3), 5)
    u = torch.randn(4, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert inner(Sphere(3), x, u, u[0, 0]).shape == (4, 5)
    close(raise_index(Sphere(3), x, lower_index(Sphere(3), x, u)), u.expand(4, 5, 3))


def test_volume_of_many_dimensions_does_not_overflow_in_logarithm():
    x = torch.zeros(400)
    close(log_volume_element(lambda y: 1e4 * _eye(y), x), torch.tensor(200 * 4 * 2.302585093))


def test_volume_of_the_sphere_by_sampling_a_grid():
    # Area of the part |x| < 1, the southern hemisphere: 2 pi.
    side = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    x = torch.cartesian_prod(side, side)
    inside = x.square().sum(-1) < 1
    area = volume_element(Sphere(2), x[inside]).sum() / 200**2
    close(area, torch.tensor(2 * torch.pi, dtype=torch.float64), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), "x must be float32 or float64, got torch.int64"),
        (torch.zeros(3, 2, dtype=torch.float16), "x must be float32 or float64, got torch.float16"),
        (torch.zeros(3, 2, dtype=torch.complex64), "x must be float32 or float64, got torch.complex64"),
        (torch.tensor(1.0), r"x must have shape \(\.\.\., n\) with n >= 1, got \(\)"),
        (torch.zeros(3, 0), r"x must have shape \(\.\.\., n\) with n >= 1, got \(3, 0\)"),
        ([[0.0, 0.0]], r"x must be a tensor of shape \(\.\.\., n\), got list"),
        (torch.tensor([[0.0, 0.0], [0.0, torch.nan]]), r"x must be finite, got \[0.0, nan\] at sample \(1,\)"),
    ],
)
def test_bad_points_are_refused(name, x, message):
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](_eye, x)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), "curve must be float32 or float64, got torch.int64"),
        (torch.tensor([[0.0, 0.0], [0.0, torch.nan]]), r"curve must be finite, got \[0.0, nan\] at sample \(1,\)"),
        (torch.zeros(2), r"curve must have shape \(..., points, n\) with points >= 2, got \(2,\)"),
    ],
)
def test_bad_curves_are_refused(curve, message):
    with pytest.raises(ValueError, match=message):
        _transport(_eye, curve)


def _of_another_precision(x):
    return _eye(x) @ torch.eye(2, dtype=torch.float16)


def _spoil(how):
    def metric(x):
        g = _eye(x).clone()
        g[1] = {
            "nan": torch.full((2, 2), torch.nan),
            "skew": torch.tensor([[1.0, 0.5], [-0.5, 1.0]]),
            "indefinite": torch.diag(torch.tensor([1.0, -0.25])),
            "singular": torch.ones(2, 2) * 0,
        }[how].to(x.dtype)
        return g

    return metric


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda x: torch.eye(2), r"metric\(x\) must have shape \(3, 2, 2\) for x of shape \(3, 2\), got \(2, 2\)"),
        (lambda x: _eye(x).double(), r"dtype and device of x, torch.float32 on cpu, got torch.float64 on cpu"),
        (_of_another_precision, r"metric\(x\) must be defined for x of shape \(3, 2\) and dtype torch.float32 on"),
        (lambda x: 1.0, r"metric\(x\) must be a tensor of shape \(\.\.\., n, n\), got float"),
        (_spoil("nan"), r"metric\(x\) must be finite, got nan or inf at sample \(1,\), x = \[0.5, 0.5\]"),
        (_spoil("skew"), r"metric\(x\) must be symmetric, got g - g\^T up to 1 at sample \(1,\)"),
        (_spoil("indefinite"), r"must be positive definite, got smallest eigenvalue -0.25 at sample \(1,\)"),
        (_spoil("singular"), r"must be positive definite, got smallest eigenvalue 0 at sample \(1,\)"),
    ],
)
def test_what_is_not_a_metric_is_refused(name, metric, message):
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name](metric, torch.full((3, 2), 0.5))


def _curved(x):
    return torch.diag_embed(1 + x**2)


def _without_gradients(x):
    with torch.no_grad():
        return _curved(x)


def _half_detached(x):
    return torch.diag_embed(2 + x.sin() + 2 * x.detach().sin())


def _through_lists(x):
    return _curved(torch.tensor(x.tolist(), dtype=x.dtype))


def _through_reverse_mode(x):
    y = x.detach().requires_grad_()
    return torch.diag_embed(1 + torch.autograd.grad(y.pow(3).sum(), y)[0])


NOT_DIFFERENTIABLE = {
    "detached": (lambda x: _curved(x.detach()), "by torch.func, got a first derivative of size 0 where its values say"),
    "half detached": (_half_detached, "by torch.func, got a first derivative of size"),
    "no_grad": (_without_gradients, "by torch.func, got a reverse-mode derivative of size 0 where its values say"),
    "lists": (_through_lists, "by torch.func, got a first derivative of size 0 where its values say"),
    "numpy": (lambda x: _curved(torch.from_numpy(x.numpy())), "twice by torch.func, got: "),
    "autograd.grad": (_through_reverse_mode, "twice by torch.func, got: "),
}


@pytest.mark.parametrize("name", [*FUNCTIONS, "parallel_transport"])
@pytest.mark.parametrize("how", NOT_DIFFERENTIABLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_torch_cannot_differentiate_is_refused(name, how, dtype):
    metric, message = NOT_DIFFERENTIABLE[how]
    function = FUNCTIONS.get(name, _transport)
    with pytest.raises(ValueError, match=r"metric\((x|curve)\) must be differentiable " + message):
        function(metric, torch.tensor([[0.3, 0.5], [0.2, 0.8], [1.0, 0.0]], dtype=dtype))


@pytest.mark.parametrize("x", [torch.zeros(2), torch.ones(3, 2), torch.tensor([[0.9999, 0.5]])])
@pytest.mark.parametrize(
    "metric",
    [
        _eye,
        lambda x: torch.eye(2, dtype=x.dtype).expand(*x.shape, 2),
        lambda x: torch.diag_embed(1 + x**3),
        lambda x: torch.diag_embed(1 + torch.relu(x) + x.abs()),
        lambda x: torch.diag_embed(1 + x.clamp(-1, 1)),
        lambda x: torch.diag_embed(2 + (1 - x[..., :1] ** 2).clamp(min=0).sqrt() * torch.ones_like(x)),
        _curved,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_kinked_and_flat_at_a_point_are_allowed(metric, x, dtype):
    check_differentiable(metric, "x", x.to(dtype))


@pytest.mark.parametrize("name", ALL)
def test_metrics_of_every_kind_are_found_differentiable(name):
    x = points(ALL[name], 1)
    for dtype in (torch.float64, torch.float32) if name not in GENERIC else (torch.float64,):
        check_differentiable(lambda y: ALL[name](y), "x", x.to(dtype))


def test_a_metric_is_inspected_once_and_may_refuse_what_is_off_its_chart():
    calls = []

    def metric(x):
        calls.append(x.shape)
        if (x.abs() > 1).any():
            raise RuntimeError("off the chart")
        return _curved(x)

    x = torch.tensor([[0.2, 0.3], [1.0, 1.0]], dtype=torch.float64)
    volume_element(metric, x)
    inspected = len(calls)
    volume_element(metric, x)
    assert len(calls) == inspected + 1
    calls.clear()
    volume_element(metric, x.flip(0))


def test_an_operation_that_torch_differentiates_wrongly_is_refused_or_right():
    # Forward mode twice of linalg.solve is wrong in torch 2.13: when it is mended this metric will be accepted.
    def metric(x):
        middle = _curved(4 * x) + 0.3
        return torch.linalg.solve(middle, torch.eye(2, dtype=x.dtype).expand_as(middle))

    x = torch.tensor([0.3, 0.5], dtype=torch.float64)
    try:
        got = scalar_curvature(metric, x)
    except ValueError as reason:
        assert "got a second derivative of size" in str(reason)
    else:
        close(got, scalar_curvature(lambda y: torch.linalg.inv(_curved(4 * y) + 0.3), x))


def test_a_single_point_has_no_sample_index():
    with pytest.raises(ValueError, match=r"smallest eigenvalue -1, x = \[0.0, 0.0\]$"):
        volume_element(lambda x: -_eye(x), torch.zeros(2))


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (torch.zeros(2, 3), r"v must have a shape that broadcasts with x, \(5, 2\), got \(2, 3\)"),
        (torch.zeros(4, 2), r"v must have a shape that broadcasts with x, \(5, 2\), got \(4, 2\)"),
        (torch.zeros(5, 2, dtype=torch.float64), "v must have the dtype of x, torch.float32, got torch.float64"),
        (torch.tensor([1, 0]), "v must be float32 or float64, got torch.int64"),
        (torch.full((5, 2), torch.inf), r"v must be finite, got \[inf, inf\] at sample \(0,\)"),
    ],
)
def test_bad_vectors_are_refused(v, message):
    with pytest.raises(ValueError, match=message):
        norm(_eye, torch.zeros(5, 2), v)


@pytest.mark.parametrize("operator", [hessian, laplacian])
def test_a_function_that_torch_cannot_differentiate_is_refused(operator):
    with pytest.raises(ValueError, match=r"function\(x\) must be differentiable by torch.func, got a first derivative"):
        operator(_eye, lambda y: y.detach().square().sum(-1), torch.ones(3, 2))


def test_laplacian_refuses_a_function_that_is_not_scalar():
    with pytest.raises(ValueError, match=r"function must map \(\.\.\., n\) to \(\.\.\.\)"):
        laplacian(_eye, lambda y: y, torch.zeros(3, 2))
