import pytest
import torch

from ndm_apps.geometry import christoffel, laplacian
from ndm_apps.geometry.operators import differential, function_jet, hessian
from tests.geometry.examples import ALL, points, size

close = torch.testing.assert_close


def _wave(x):
    return (x[..., 0] - 0.5 * x[..., -1]).sin() + 0.3 * x[..., 0] ** 2 * x[..., -1]


@pytest.mark.parametrize("name", ALL)
def test_hessian_by_the_textbook_and_its_trace(name):
    metric = ALL[name]
    x = points(metric, 4)
    found = hessian(metric, _wave, x)
    partial = torch.stack([torch.func.hessian(_wave)(p) for p in x])
    df = torch.stack([torch.func.grad(_wave)(p) for p in x])
    close(differential(_wave, x), df, rtol=1e-12, atol=1e-12)
    expected = partial - torch.einsum("pkij,pk->pij", christoffel(metric, x), df)
    close(found, expected, rtol=1e-10, atol=1e-10 * size(expected))
    inverse = torch.linalg.inv(metric(x))
    trace = (inverse * found).sum(dim=(-2, -1))
    close(laplacian(metric, _wave, x), trace, rtol=1e-10, atol=1e-10 * size(trace))
    jet = function_jet(metric, _wave, x)
    close(jet.gradient.square().sum(-1), torch.einsum("pij,pi,pj->p", inverse, df, df), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_shapes(shape):
    x = points(ALL["polynomial 3"], *shape)
    assert hessian(ALL["polynomial 3"], _wave, x).shape == (*shape, 3, 3)
    assert laplacian(ALL["polynomial 3"], _wave, x).shape == shape


def test_a_function_must_be_scalar():
    with pytest.raises(ValueError, match=r"function must map \(\.\.\., n\) to \(\.\.\.\)"):
        hessian(ALL["S2"], lambda x: x, points(ALL["S2"], 3))
