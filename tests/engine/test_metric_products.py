import curvlinops
import pytest
import torch
from torch import nn

from ndm_apps.engine.natural_gradient.output_metric import constant_metric, output_metric
from ndm_apps.engine.natural_gradient.products import Pullback, Value, conjugate_gradient


def points(n, *shape, seed=1):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, outputs)).double()


def hyperbolic(f):
    """A metric on outputs that varies and is no likelihood's."""
    eye = torch.eye(f.shape[-1], dtype=f.dtype)
    return (1 + f.square().sum(-1))[..., None, None] * eye + f[..., :, None] * f[..., None, :]


METRICS = {"gaussian": output_metric("gaussian"), "categorical": output_metric("categorical")}
METRICS["function"] = output_metric(hyperbolic)
METRICS["constant"] = constant_metric(hyperbolic(points(3, 7, seed=5)))


def matrix(metric, f):
    """Return the metric's matrices column by column."""
    eye = torch.eye(f.shape[-1], dtype=f.dtype)
    return torch.stack([metric.product(f, column.expand_as(f)) for column in eye], dim=-1)


@pytest.mark.parametrize("name", METRICS)
def test_root_and_product_and_divergence_agree(name):
    metric, f = METRICS[name], points(3, 7)
    h = matrix(metric, f)
    root = metric.root(f)
    r = torch.stack([root(column.expand_as(f).clone()) for column in torch.eye(3).double()], dim=-1)
    torch.testing.assert_close(r @ r.mT, h, rtol=1e-12, atol=1e-14)
    second = torch.func.vmap(torch.func.hessian(lambda v, at: metric.divergence(at, v)), in_dims=(0, 0))
    if name != "constant":  # it knows its matrices at these outputs only
        torch.testing.assert_close(second(torch.zeros_like(f), f), h, rtol=1e-10, atol=1e-12)
        first = torch.func.vmap(torch.func.grad(lambda v, at: metric.divergence(at, v)))(torch.zeros_like(f), f)
        assert first.abs().max() < 1e-14


def test_divergence_of_categories_is_kullback_leibler():
    f, change = points(5, 9), points(5, 9, seed=2)
    p, q = (torch.distributions.Categorical(logits=logits) for logits in (f, f + change))
    expected = torch.distributions.kl_divergence(p, q)
    torch.testing.assert_close(METRICS["categorical"].divergence(f, change), expected, rtol=1e-12, atol=1e-14)
    small = METRICS["categorical"].divergence(f.float(), 1e-4 * change.float())
    exact = METRICS["categorical"].divergence(f.float().double(), (1e-4 * change.float()).double())
    torch.testing.assert_close(
        small.double(), exact, rtol=1e-3, atol=0.0
    )  # a difference of logarithms loses all digits


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_products_are_those_of_curvlinops(likelihood):
    model, x = network(), points(4, 10)
    parameters = list(model.parameters())
    categorical = likelihood == "categorical"
    loss = nn.CrossEntropyLoss() if categorical else nn.MSELoss(reduction="sum")
    target = torch.arange(10) % 3 if categorical else points(3, 10, seed=2)
    oracle = curvlinops.GGNLinearOperator(model, loss, parameters, [(x, target)])
    v = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype) for p in parameters]
    scale = 1.0 if categorical else 1 / (2 * 10)  # ours is the mean of halves
    ours = Pullback([Value(model(x), output_metric(likelihood))], parameters).product(v)
    for mine, theirs in zip(ours, oracle @ v, strict=True):
        torch.testing.assert_close(mine, scale * theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "categorical", "function"])
def test_product_is_the_pull_back(name):
    """Against the dense definition, with two values that share parameters."""
    first, second = network(), nn.Linear(3, 2).double()
    x = points(4, 7)
    parameters = [*first.parameters(), *second.parameters()]

    def values():
        f = first(x)
        return [Value(f, METRICS[name]), Value(second(f), METRICS["gaussian"])]

    pullback = Pullback(values(), parameters)
    v = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype) for p in parameters]
    expected = 0
    for value, metric in values():
        rows = [torch.autograd.grad(o, parameters, retain_graph=True, materialize_grads=True) for o in value.flatten()]
        jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        pushed = (jacobian @ torch.cat([part.flatten() for part in v])).view_as(value)
        h = matrix(metric, value.detach())
        expected = expected + jacobian.mT @ (h @ pushed[..., None]).flatten() / 7
    product = torch.cat([part.flatten() for part in pullback.product(v)])
    torch.testing.assert_close(product, expected, rtol=1e-10, atol=1e-12)


def test_parameters_out_of_reach_are_left_out():
    model, other = network(), nn.Linear(2, 2).double()
    pullback = Pullback([Value(model(points(4, 5)), METRICS["gaussian"])], [*other.parameters(), *model.parameters()])
    assert all(p is q for p, q in zip(pullback.parameters, model.parameters(), strict=True))


def test_conjugate_gradient_solves_in_as_many_steps_as_dimensions():
    a = points(6, 9)
    m, b = a.mT @ a, points(6)
    solution = torch.linalg.solve(m, b)
    ours = conjugate_gradient(lambda v: m @ v, b, torch.zeros(6).double(), iterations=6, tolerance=0.0)
    torch.testing.assert_close(ours, solution, rtol=1e-8, atol=1e-10)
    calls = []
    conjugate_gradient(lambda v: calls.append(v) or m @ v, b, solution, iterations=6, tolerance=1e-6)
    assert len(calls) == 1  # a good start is recognised


def test_conjugate_gradient_of_a_singular_matrix_gives_a_least_solution():
    a = points(6, 3)
    m = a.mT @ a
    b = m @ points(6)
    ours = conjugate_gradient(lambda v: m @ v, b, torch.zeros(6).double(), iterations=20, tolerance=1e-12)
    torch.testing.assert_close(ours, torch.linalg.pinv(m) @ b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("poisson", "metric must be one of"),
        (lambda f: f, "metric must return matrices of shape"),
        (lambda f: -torch.eye(3).double().expand(*f.shape, 3), "positive definite"),
    ],
)
def test_wrong_metrics(metric, message):
    with pytest.raises(ValueError, match=message):
        output_metric(metric).root(points(3, 2))
