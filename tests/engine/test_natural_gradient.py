import copy
import itertools
import pickle

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.natural_gradient import NaturalGradient
from ndm_apps.engine.network import NDM

METHODS = {
    "kfac": {"samples": None, "every": 1},
    "cg": {"method": "cg", "iterations": 60, "tolerance": 1e-12},
}
plain = {"momentum": 0.0}


def points(n, *shape, seed=1):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_square(output, target):
    return (output - target).square().sum(-1).mean() / 2


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def jacobian(values, parameters):
    rows = [torch.autograd.grad(v, parameters, retain_graph=True, materialize_grads=True) for v in values.flatten()]
    return torch.stack([flat(row) for row in rows])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bias", [True, False])
def test_one_step_solves_linear_regression(bias, method):
    torch.manual_seed(0)
    model = nn.Linear(4, 2, bias=bias).double()
    x, y = points(4, 30), points(2, 30, seed=2)
    optimiser = NaturalGradient(model, lr=1.0, damping=0.0, **METHODS[method])
    half_square(model(x), y).backward()
    optimiser.step()
    rows = torch.cat([x, torch.ones(30, 1)], dim=1) if bias else x
    solution = torch.linalg.lstsq(rows, y).solution.mT
    # The length of the step rests on a difference quotient, which costs a third of the digits.
    torch.testing.assert_close(model.weight, solution[:, :4], rtol=1e-8, atol=1e-9)
    if bias:
        torch.testing.assert_close(model.bias, solution[:, 4], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_step_solves_linear_regression_with_a_frozen_bias(method):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    model.bias.requires_grad_(False)
    x, y = 1 + points(3, 30), points(2, 30, seed=2)
    optimiser = NaturalGradient(model, lr=1.0, damping=0.0, **METHODS[method])
    half_square(model(x), y).backward()
    optimiser.step()
    solution = torch.linalg.lstsq(x, y - model.bias).solution.mT
    torch.testing.assert_close(model.weight, solution, rtol=1e-8, atol=1e-9)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


OTHERS = {
    "weight computed": (lambda: nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 2)), (4, 6)),
    "weight used by the parent": (Attending, (4, 6, 3)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_linear_layers_of_other_kinds_have_a_diagonal_block(name):
    torch.manual_seed(0)
    make, shape = OTHERS[name]
    model = make().double()
    optimiser = NaturalGradient(model)
    half_square(model(points(*shape)), 1.0).backward()
    optimiser.step()
    assert not optimiser.state  # of Adam


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_inputs_without_damping_give_the_least_change(method):
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    x, y = points(3, 2), points(1, 2, seed=2)  # fewer points than weights
    optimiser = NaturalGradient(model, lr=1.0, damping=0.0, **METHODS[method])
    half_square(model(x), y).backward()
    optimiser.step()
    torch.testing.assert_close(model.weight.mT, torch.linalg.pinv(x) @ y, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_damping_is_that_of_the_whole_block(method):
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x, y = points(3, 9), points(2, 9, seed=2)
    parameters = list(model.parameters())
    j = jacobian(model(x), parameters)
    optimiser = NaturalGradient(model, lr=1.0, damping=0.3, **METHODS[method])
    before = flat(parameters)
    half_square(model(x), y).backward()
    gradient = flat(p.grad for p in parameters)
    optimiser.step()
    expected = -torch.linalg.solve(j.mT @ j / 9 + 0.3 * torch.eye(8), gradient)
    torch.testing.assert_close(flat(parameters) - before, expected, rtol=1e-7, atol=1e-9)


def test_invariance_to_linear_changes_of_the_inputs():
    """What makes the gradient natural: training does not depend on the coordinates of the inputs."""
    x, y = points(3, 20), points(2, 20, seed=2)
    mix = torch.tensor([[2.0, 0.3, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 3.0]]).double()
    outputs = []
    for inputs, change in ((x, torch.eye(3).double()), (x @ mix.mT, torch.linalg.inv(mix))):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        with torch.no_grad():
            model[0].weight.copy_(model[0].weight @ change)
        optimiser = NaturalGradient(model, lr=0.5, damping=0.0, decay=0.5)
        for _ in range(5):
            optimiser.zero_grad()
            half_square(model(inputs), y).backward()
            optimiser.step()
        outputs.append(model(inputs))
    torch.testing.assert_close(*outputs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_the_step_ends_where_the_quadratic_model_is_least(method):
    """On the exact metric of the mini-batch, whatever the method says about the direction."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2)).double()
    x, y = points(3, 20), points(2, 20, seed=2)
    parameters = list(model.parameters())
    j = jacobian(model(x), parameters)
    metric = j.mT @ j / 20 + 0.1 * torch.eye(j.shape[1])
    optimiser = NaturalGradient(model, lr=1.0, damping=0.1, method=method, iterations=5, **plain)
    before = flat(parameters)
    half_square(model(x), y).backward()
    gradient = flat(p.grad for p in parameters)
    optimiser.step()
    step = flat(parameters) - before
    assert step.norm() > 1e-2
    assert abs(step @ (gradient + metric @ step)) < 1e-5 * abs(step @ gradient)  # a difference quotient's accuracy


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_what_the_step_does_to_the_loss_is_known_without_the_targets(likelihood):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
    x, y = points(3, 20), torch.arange(20) % 4 if likelihood == "categorical" else points(4, 20, seed=2)
    loss = nn.functional.cross_entropy if likelihood == "categorical" else half_square
    optimiser = NaturalGradient(model, metric=likelihood)
    before = loss(model(x), y)
    before.backward()
    forward = optimiser._observer._last
    optimiser.step()
    after = loss(model(x), y)
    assert after < before - 0.01
    torch.testing.assert_close(forward.loss_change(), after - before, rtol=1e-10, atol=0.0)


def test_a_step_that_raises_the_loss_is_taken_back():
    class Logarithm(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1).double())

        def forward(self, x):
            return self.w.log() + 0 * x

    model = Logarithm()
    optimiser = NaturalGradient(model, lr=1.0, damping=0.01, every=1, **plain)
    losses = []
    for step in range(60):
        optimiser.zero_grad()
        loss = half_square(model(torch.zeros(4, 1).double()), torch.full((4, 1), -5.0).double())
        loss.backward()
        optimiser.step()  # the first one would lead to w = -4
        losses.append(loss.item())
        if step == 0:
            assert model.w.item() == 1.0
            assert optimiser.param_groups[0]["damping"] == pytest.approx(0.04)
    assert losses[-1] < 1e-6
    assert all(later < earlier + 1e-12 for earlier, later in itertools.pairwise(losses))


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_groups_have_their_own_rate_and_damping(method):
    def moved(**second):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
        groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), **second}]
        optimiser = NaturalGradient(model, lr=0.4, params=groups, damping=1.0, method=method, **plain)
        before = [flat(layer.parameters()) for layer in (model[0], model[2])]
        half_square(model(points(3, 20)), points(2, 20, seed=2)).backward()
        optimiser.step()
        return [flat(layer.parameters()) - b for layer, b in zip((model[0], model[2]), before, strict=True)]

    same, frozen, stiff = moved(), moved(lr=0.0), moved(damping=1e6)
    assert frozen[0].norm() > 0.01 and frozen[1].norm() == 0
    assert same[1].norm() > 0.01 > 1e-5 > stiff[1].norm() > 0
    cosine = nn.functional.cosine_similarity
    slow = moved(lr=0.1)
    assert cosine(slow[1], same[1], dim=0) > 1 - 1e-9  # only the rate differs
    torch.testing.assert_close(slow[1].norm() / slow[0].norm(), 0.25 * same[1].norm() / same[0].norm())


def test_metrics_learned_in_the_network_are_pulled_back():
    """The direction of eq. 6, against the dense sum of the pull-backs of all layers' metrics and of the outputs'."""
    torch.manual_seed(0)
    model = NDM(3, 2, depth=2, coupling_hidden=(3,), metric_hidden=(4,)).double()
    x, y = points(3, 8), points(2, 8, seed=2)
    parameters = [p for name, p in model.named_parameters() if "metric" not in name]
    outputs, geometries = model(x)
    j = jacobian(outputs, parameters)
    dense = j.mT @ j / 8 + 0.1 * torch.eye(j.shape[1])
    for geometry in geometries:
        j = jacobian(geometry.point, parameters).view(8, 3, -1)
        dense += 2.0 * torch.einsum("bip,bij,bjq->pq", j, geometry.g.detach(), j) / 8
    optimiser = NaturalGradient(model, lr=1.0, method="cg", learned=2.0, iterations=500, tolerance=1e-12, **plain)
    before = flat(parameters)
    half_square(model(x)[0], y).backward()
    expected = -torch.linalg.solve(dense, flat(p.grad for p in parameters))
    optimiser.step()
    torch.testing.assert_close(flat(parameters) - before, expected, rtol=1e-6, atol=1e-9)
    untrained = [p for name, p in model.named_parameters() if "metric" in name]
    assert all(p.grad is None for p in untrained)


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_learned_metrics_shorten_steps_in_the_layers(method):
    lengths = []
    for learned in (0.0, 100.0):
        torch.manual_seed(0)
        model = NDM(3, 2, depth=1, coupling_hidden=(8,), metric_hidden=(4,)).double()
        optimiser = NaturalGradient(model, method=method, learned=learned, **plain)
        before = flat(model.layers.parameters())
        half_square(model(points(3, 50))[0], points(2, 50, seed=2)).backward()
        optimiser.step()
        lengths.append((flat(model.layers.parameters()) - before).norm().item())
    assert 0 < lengths[1] < 0.2 * lengths[0]


def test_parameters_without_a_metric_take_the_steps_of_adam():
    torch.manual_seed(0)
    model = NDM(2, 1, depth=1, coupling_hidden=(3,), metric_hidden=(3,)).double()
    metric = list(model.layers[0].metric.parameters())
    twin = [p.detach().clone().requires_grad_() for p in metric]
    optimiser = NaturalGradient(model, fallback=0.02)
    adam = torch.optim.Adam(twin, lr=0.02)
    for _ in range(5):
        optimiser.zero_grad()
        output, geometries = model(points(2, 5))
        (half_square(output, 1.0) + geometries[0].g.square().sum()).backward()
        for other, p in zip(twin, metric, strict=True):
            other.grad = p.grad.clone()
        optimiser.step()
        adam.step()
    for other, p in zip(twin, metric, strict=True):
        torch.testing.assert_close(p, other, rtol=1e-6, atol=1e-9)


def test_observes_in_training_only_and_one_pass_in_so_many():
    model = nn.Linear(2, 1).double()
    optimiser = NaturalGradient(model, every=2, decay=0.0)
    model.eval()
    model(points(2, 3))
    model.train()
    with torch.no_grad():
        model(points(2, 3))
    with pytest.raises(ValueError, match="layer"):
        optimiser.factors(model)
    with pytest.raises(RuntimeError, match="forward pass"):
        optimiser.step()
    observed = []
    for seed in range(3):
        model(points(2, 3, seed=seed))
        observed.append(optimiser.factors(model)[0].clone())
    assert torch.equal(observed[0], observed[1]) and not torch.equal(observed[1], observed[2])
    optimiser.detach()
    model(points(2, 3, seed=7))
    model(points(2, 3, seed=8))
    assert torch.equal(optimiser.factors(model)[0], observed[2])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("method", METHODS)
def test_copies_of_the_model_are_not_observed(method, duplicate):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).double()
    optimiser = NaturalGradient(model, **METHODS[method])
    x = points(2, 5)
    loss = model(x).square().mean()
    other = duplicate(model)
    assert torch.equal(other(10 * x), model[1](model[0](10 * x)))  # layers alone are no forward pass of the model
    loss.backward()
    before = [p.detach().clone() for p in other.parameters()]
    optimiser.step()
    assert all(torch.equal(p, old) for p, old in zip(other.parameters(), before, strict=True))
    other(x)
    with pytest.raises(RuntimeError, match="forward pass"):
        optimiser.step()
    with pytest.raises(TypeError, match="state_dict"):
        copy.deepcopy(optimiser)


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_leaves_gradients_buffers_and_random_numbers_alone(method):
    def trained(natural):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)).double()
        optimiser = NaturalGradient(model, lr=0.0, method=method) if natural else torch.optim.SGD(model.parameters(), 0)
        for _ in range(3):
            optimiser.zero_grad()
            half_square(model(points(2, 5)), 1.0).backward()
            optimiser.step()
        return [*(p.grad for p in model.parameters()), *model.buffers(), torch.rand(1)]

    assert all(torch.equal(a, b) for a, b in zip(trained(True), trained(False), strict=True))


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_trains_through_dropout_and_with_a_closure(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 1)).double()
    optimiser = NaturalGradient(model, lr=0.5, method=method)
    x = points(2, 100)

    def closure():
        optimiser.zero_grad()
        loss = half_square(model(x), x.prod(-1, keepdim=True))
        loss.backward()
        return loss

    losses = [optimiser.step(closure).item() for _ in range(40)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:2]) * 5 / 2


def ndm(method="kfac"):
    torch.manual_seed(0)
    model = NDM(2, 3, depth=1, coupling_hidden=(8,), metric_hidden=(4,)).double()
    return model, NaturalGradient(model, lr=0.5, metric="categorical", every=3, learned=0.1, method=method)


def train(model, optimiser, start, stop):
    x = points(2, 40)
    label = (x.prod(-1) > 0).long() + (x[:, 0] > 1)
    losses = []
    for _ in range(start, stop):
        optimiser.zero_grad()
        output, geometries = model(x)
        loss = nn.functional.cross_entropy(output, label)
        (loss + 0.01 * geometries[0].log_volume.square().mean()).backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_trains_an_ndm_faster_than_plain_gradient_descent(method):
    model, optimiser = ndm(method)
    losses = train(model, optimiser, 0, 60)
    twin, _ = ndm()
    plain = train(twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), 0, 60)
    assert losses[-1] < 0.8 * plain[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("method", ["kfac", "cg"])
def test_resumes_to_the_bit(tmp_path, method):
    straight = train(*ndm(method), 0, 20)
    model, optimiser = ndm(method)
    train(model, optimiser, 0, 10)
    save_state(tmp_path / "s", [model.state_dict(), optimiser.state_dict()])
    other, resumed = ndm(method)
    saved = load_state(tmp_path / "s")
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert train(other, resumed, 10, 20) == straight[10:]


@pytest.mark.parametrize("seed", [0, 1])
def test_an_ndm_on_small_batches_of_digits_does_not_diverge(seed):
    """Fixed steps of the same blocks go to infinity here."""
    data = load_digits()
    x = torch.tensor(data.data, dtype=torch.float32)
    x, y = (x - x.mean(0)) / (x.std(0) + 0.1), torch.tensor(data.target)
    torch.manual_seed(seed)
    model = NDM(64, 10, depth=2, structure="conformal")
    optimiser = NaturalGradient(model, metric="categorical")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(60):
        batch = torch.randint(0, len(x), (32,), generator=generator)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[batch])[0], y[batch]).backward()
        optimiser.step()
    assert nn.functional.cross_entropy(model(x)[0], y).item() < 0.6


def test_beats_plain_gradient_descent_on_a_badly_scaled_problem():
    x = points(3, 50) * torch.tensor([1.0, 10.0, 0.1]).double()
    y = x @ torch.tensor([[1.0], [0.1], [10.0]]).double()
    losses = {}
    for name in ("natural", "plain"):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).double()
        optimiser = NaturalGradient(model, 0.5) if name == "natural" else torch.optim.SGD(model.parameters(), 0.01)
        for _ in range(60):
            optimiser.zero_grad()
            loss = half_square(model(x), y)
            loss.backward()
            optimiser.step()
        losses[name] = loss.item()
    assert losses["natural"] < 1e-8 < 1e-3 < losses["plain"]


def test_a_gradient_that_is_not_finite_is_named():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    optimiser = NaturalGradient(model)
    before = flat(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    model[2].bias.grad.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"2\.bias"):
        optimiser.step()
    assert torch.equal(flat(model.parameters()), before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"lr": -1.0},
        {"method": "newton"},
        {"metric": "poisson"},
        {"learned": -1.0},
        {"momentum": 1.0},
        {"damping": float("nan")},
        {"samples": 0},
        {"decay": 1.0},
        {"refresh": 0},
        {"every": 0},
        {"iterations": 0},
        {"tolerance": 1.0},
        {"fallback": float("inf")},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        NaturalGradient(nn.Linear(2, 1), **arguments)
