"""Mixed precision leaves geometry in full precision; compiled passes fall back where compiling fails."""

import warnings

import pytest
import torch
from torch import nn

from ndm_apps.engine import NDM, GeometricLoss
from ndm_apps.engine.precision import compiled, in_full_precision, mixed_precision


@pytest.mark.parametrize("mixing", [False, True])
def test_geometry_after_a_mixed_pass_is_exact_at_its_points(mixing):
    torch.manual_seed(0)
    net, x = NDM(3, head=2, mixing=mixing), torch.randn(6, 3)
    with mixed_precision(torch.device("cpu")):
        outputs, layers = net(x)
    assert outputs.dtype == torch.bfloat16
    layers = in_full_precision(layers, torch.float32)
    for layer in layers:
        assert {layer.point.dtype, layer.g.dtype, layer.curvature.dtype} == {torch.float32}
        assert torch.equal(layer.curvature, layer.metric.scalar_curvature(layer.point))
    GeometricLoss()(layers).total.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.layers[0].parameters())


def test_a_mixed_pass_is_the_plain_one_to_three_digits():
    torch.manual_seed(0)
    net, x = NDM(3, head=2), torch.randn(6, 3)
    plain = net(x)[0]
    with mixed_precision(torch.device("cpu"), enabled=False):
        assert torch.equal(net(x)[0], plain)
    with mixed_precision(torch.device("cpu")):
        rounded = net(x)[0].float()
    assert 0 < (rounded - plain).abs().max() < 0.05 * plain.abs().max()


def test_where_compiling_fails_the_module_goes_on_with_one_warning(monkeypatch):
    def broken(module):
        def call(*arguments):
            raise RuntimeError("no compiler\nhere")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    layer, x = nn.Linear(2, 2), torch.ones(3, 2)
    forward = compiled(layer)
    with pytest.warns(
        RuntimeWarning, match=r"torch.compile failed \(RuntimeError: no compiler here\); going on without"
    ):
        assert torch.equal(forward(x), layer(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(forward(x), layer(x))


def test_a_fault_of_the_module_is_not_taken_for_one_of_the_compiler(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compiled(nn.Linear(2, 2))(torch.ones(3, 5))
