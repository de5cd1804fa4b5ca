import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.model import baked, build_network, perceptron, predicting_parameters, widest
from ndm_apps.plugins.supervised.schema import MLPSettings, NDMSettings


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_perceptron_is_the_widest_that_fits(layers):
    def size(width):
        return predicting_parameters(perceptron(12, 5, width=width, layers=layers))

    width = widest(12, 5, layers, 4000)
    assert size(width) <= 4000 < size(width + 1)


def test_a_perceptron_that_cannot_fit_is_refused():
    with pytest.raises(InputError, match="parameters: got 10, must be at least 23 for 1 layers on 12 inputs"):
        widest(12, 5, 1, 10)


def test_metric_nets_do_not_count_as_predicting():
    small, large = (
        build_network(NDMSettings(metric_hidden=(width,), coupling_hidden=(8,)), 6, 3) for width in (4, 400)
    )
    assert predicting_parameters(small) == predicting_parameters(large)
    logits, geometries = small(torch.zeros(2, 6))
    trained = [p for p in small.parameters() if p.requires_grad]
    used = torch.autograd.grad(logits.sum(), trained, allow_unused=True)
    assert sum(p.numel() for p, g in zip(trained, used, strict=True) if g is not None) == predicting_parameters(small)
    assert len(geometries) == 2


def test_spectral_normalisation_sets_the_largest_singular_value_and_is_baked_in_exactly():
    torch.manual_seed(0)
    network = build_network(MLPSettings(parameters=2000, spectral_norm=0.7), 8, 4).double()
    for _ in range(200):
        network.train()(torch.zeros(1, 8, dtype=torch.float64))
    network.eval()
    x = torch.randn(5, 8, dtype=torch.float64)
    before = network(x)
    plain = baked(network)
    norms = [torch.linalg.matrix_norm(p, 2) for p in plain.parameters() if p.ndim == 2]
    torch.testing.assert_close(torch.stack(norms), torch.full((3,), 0.7, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(plain(x), before)
