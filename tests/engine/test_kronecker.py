import curvlinops
import pytest
import torch
from torch import nn

from ndm_apps.engine.natural_gradient import NaturalGradient
from ndm_apps.engine.natural_gradient.output_metric import output_metric
from ndm_apps.engine.natural_gradient.products import Pullback, Value


def points(n, *shape, seed=1):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def observed(model, x, **settings):
    optimiser = NaturalGradient(model, **settings)
    model(x)
    return optimiser


def dense(model, x, metric):
    """Return the pulled-back metric as a matrix over the model's parameters."""
    parameters = list(model.parameters())
    pullback = Pullback([Value(model(x), output_metric(metric))], parameters)
    sizes = [p.numel() for p in parameters]
    columns = []
    for row in torch.eye(sum(sizes)).double():
        v = [part.view_as(p) for part, p in zip(row.split(sizes), parameters, strict=True)]
        columns.append(torch.cat([part.flatten() for part in pullback.product(v)]))
    return torch.stack(columns, dim=1)


def covariance(f):
    """A metric on outputs that is no likelihood's."""
    return f[..., :, None] * f[..., None, :] + 0.5 * torch.eye(f.shape[-1]).double()


METRICS = ["gaussian", "categorical", covariance]


@pytest.mark.parametrize("metric", METRICS)
def test_a_block_is_exact_where_it_is_a_kronecker_product(metric):
    """That is where the outputs' metric is the same for all inputs of a linear model."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    x = points(3, 6) if metric == "gaussian" else points(3, 6)[:1].expand(6, 3)
    a, g = observed(model, x, metric=metric, samples=None).factors(model)
    order = torch.cat([torch.cat([torch.arange(3) + 3 * row, torch.tensor([12 + row])]) for row in range(4)])
    torch.testing.assert_close(torch.kron(g, a), dense(model, x, metric)[order][:, order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("metric", ["gaussian", "categorical"])
def test_factors_are_those_of_curvlinops(metric):
    model, x = network(), points(4, 20)
    categorical = metric == "categorical"
    loss = nn.CrossEntropyLoss() if categorical else nn.MSELoss(reduction="sum")
    target = torch.arange(20) % 3 if categorical else points(3, 20, seed=2)
    oracle = curvlinops.KFACLinearOperator(
        model,
        loss,
        list(model.parameters()),
        [(x, target)],
        fisher_type="type-2",
        separate_weight_and_bias=False,
        check_deterministic=False,  # it would add up the factors of each check
    )
    oracle.compute_kronecker_factors()
    optimiser = observed(model, x, metric=metric, samples=None)
    scale = 1.0 if categorical else 1 / (2 * 20)  # ours is the mean of halves
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            a, g = optimiser.factors(layer)
            theirs = torch.kron(oracle._gradient_covariances[name], oracle._input_covariances[name])
            torch.testing.assert_close(torch.kron(g, a), scale * theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_sampled_factors_are_unbiased(metric):
    model, x = network(), points(4, 8)
    exact = observed(model, x, metric=metric, samples=None)
    sampled = observed(model, x, metric=metric, samples=4000)
    for layer in (model[0], model[2], model[4]):
        expected = exact.factors(layer)[1]
        error = (sampled.factors(layer)[1] - expected).abs().max() / expected.abs().max()
        assert 0 < error < 0.05


@pytest.mark.parametrize("samples", [None, 1])
@pytest.mark.parametrize("metric", METRICS)
def test_other_parameters_have_the_diagonal(metric, samples):
    torch.manual_seed(0)
    model = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)).double()
    x = points(4, 6)
    exact = dense(model, x, metric).diagonal()[:8]
    optimiser = NaturalGradient(model, metric=metric, samples=samples, decay=0.9999, every=1, refresh=10**6)
    for _ in range(1000):
        model(x)
    ours = torch.cat([block["diagonal"] for block in optimiser.state_dict()["blocks"] if "diagonal" in block])
    torch.testing.assert_close(ours, exact, rtol=0.2, atol=0.02 * exact.max().item())
