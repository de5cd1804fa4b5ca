import pytest
import torch

from ndm_apps.geometry import (
    Euclidean,
    Hyperbolic,
    christoffel,
    laplacian,
    pullback,
    scalar_curvature,
    scalar_curvature_from_jets,
)
from ndm_apps.geometry.jets import contraction_gradient, first_derivatives, second_derivatives
from tests.geometry.examples import ALL, ANALYTIC, points, size, vectors

close = torch.testing.assert_close


@pytest.mark.parametrize("name", ALL)
def test_derivatives_are_those_of_nested_reverse_mode(name):
    metric = ALL[name]
    x = points(metric, 2)
    u, v = vectors(x.unsqueeze(-2).expand(2, 3, metric.n), 2)
    dg = torch.stack([torch.func.jacrev(metric)(p) for p in x])
    ddg = torch.stack([torch.func.jacrev(torch.func.jacrev(metric))(p) for p in x])
    atol = 1e-11 * size(ddg)
    jet = second_derivatives(metric, x, u, v)
    close(first_derivatives(metric, x, u), torch.einsum("bijk,bpk->bpij", dg, u), rtol=1e-11, atol=atol)
    close(jet.along_u, torch.einsum("bijk,bpk->bpij", dg, u), rtol=1e-11, atol=atol)
    close(jet.along_v, torch.einsum("bijk,bpk->bpij", dg, v), rtol=1e-11, atol=atol)
    close(jet.along_uv, torch.einsum("bijkl,bpk,bpl->bpij", ddg, u, v), rtol=1e-11, atol=atol)
    gradient = torch.einsum("bijk,bpi,bpj->bpk", dg, u, v)
    close(contraction_gradient(metric, x, u, v), gradient, rtol=1e-11, atol=atol)


def _masks(x):
    scale = x[..., -1].clone()
    scale[scale < 0.01] = 1.0  # neither boolean masks nor item() survive vmap
    if scale.max().item() > 1e6:
        raise AssertionError("never here")
    return torch.diag_embed(scale.unsqueeze(-1).expand(x.shape) ** -2)


def _linalg(x):
    inner = Hyperbolic(2, model="half_space")(x)
    values, basis = torch.linalg.eigh(torch.linalg.inv(inner) + torch.diag(torch.tensor([0.0, 1e-3], dtype=x.dtype)))
    return (basis / (values - torch.tensor([0.0, 1e-3], dtype=x.dtype)).unsqueeze(-2)) @ basis.mT


def _by_torch_func(x):
    # A pullback that takes its own derivatives, with the identity written in a roundabout way.
    jacobian = torch.func.vmap(torch.func.jacfwd(lambda y: y.exp().log()))(x.reshape(-1, 2)).reshape(*x.shape, 2)
    return jacobian.mT @ Hyperbolic(2, model="half_space")(x) @ jacobian


@pytest.mark.parametrize("metric", [_masks, _linalg, _by_torch_func])
@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_awkward_metrics_work(metric, method):
    x = points(Hyperbolic(2, model="half_space"), 4)
    got = scalar_curvature(metric, x, method=method, generator=torch.Generator().manual_seed(0))
    close(got, torch.full((4,), -2.0, dtype=torch.float64), rtol=1e-8, atol=0)


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_a_constant_metric_is_flat(method):
    constant = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    x = torch.zeros(5, 2)
    close(scalar_curvature(lambda y: constant.expand(*y.shape, 2), x, method=method), torch.zeros(5))
    close(christoffel(lambda y: constant.expand(*y.shape, 2), x), torch.zeros(5, 2, 2, 2))


def test_points_need_not_be_contiguous():
    x = points(ANALYTIC["S2 x H2"], 4)
    strided = torch.stack((x, -x), -1)[..., 0]
    assert not strided.is_contiguous()
    close(scalar_curvature_from_jets(ANALYTIC["S2 x H2"], strided), scalar_curvature_from_jets(ANALYTIC["S2 x H2"], x))


def test_an_immersed_sphere_is_round():
    # Spherical angles into space: the pullback of the flat metric by a map to more dimensions.
    def immersion(x):
        a, b = x.unbind(-1)
        return torch.stack((a.sin() * b.cos(), a.sin() * b.sin(), a.cos()), -1)

    x = torch.tensor([[1.0, 2.0], [0.4, -1.0]], dtype=torch.float64)
    got = scalar_curvature(pullback(Euclidean(3), immersion), x)
    close(got, torch.full((2,), 2.0, dtype=torch.float64), rtol=1e-10, atol=0)


def test_laplacian_of_coordinates_is_the_trace_of_christoffel():
    metric = ALL["polynomial 3"]
    x = points(metric, 4)
    inverse = torch.linalg.inv(metric(x))
    expected = -torch.einsum("...ab,...cab->...c", inverse, christoffel(metric, x))
    got = torch.stack([laplacian(metric, lambda y, c=c: y[..., c], x) for c in range(3)], -1)
    close(got, expected, rtol=1e-10, atol=1e-10)


def test_laplacian_of_a_square_in_flat_space():
    x = points(ANALYTIC["R4"], 3)
    close(laplacian(ANALYTIC["R4"], lambda y: y.square().sum(-1), x), torch.full((3,), 8.0, dtype=torch.float64))
