import pytest
import torch
from torch import nn

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.natural_gradient import NaturalGradient
from ndm_apps.engine.network import NDM


def points(n, *shape, seed=1):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def half_square(output, target):
    return (output - target).square().sum(-1).mean() / 2


def exact_fisher(model, x, likelihood):
    """Return the Fisher matrix over weight and bias (row by row, bias last) of a model whose one layer is linear."""
    layer = next(module for module in model.modules() if isinstance(module, nn.Linear))
    total = 0
    for row in x:
        output = model(row[None])[0]
        jacobian = torch.stack(
            [
                torch.cat([w, b[:, None]], dim=1).flatten()
                for w, b in (torch.autograd.grad(o, [layer.weight, layer.bias], retain_graph=True) for o in output)
            ]
        )
        p = output.detach().softmax(-1)
        hessian = torch.eye(len(p)).double() if likelihood == "gaussian" else torch.diag(p) - p[:, None] * p
        total = total + jacobian.mT @ hessian @ jacobian
    return total / len(x)


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_factors_are_the_exact_fisher_block(likelihood):
    """The block is a Kronecker product where the outputs' Fisher matrix is the same for all inputs."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    x = points(3, 6)
    if likelihood == "categorical":
        x = x[:1].expand(6, 3)
    optimiser = NaturalGradient(model, likelihood=likelihood)
    model(x)
    a, g = optimiser.factors(model)
    torch.testing.assert_close(torch.kron(g, a), exact_fisher(model, x, likelihood), rtol=1e-12, atol=1e-14)


def test_factors_of_softmax_are_means_of_their_own():
    torch.manual_seed(0)
    model = nn.Linear(3, 4).double()
    x = points(3, 6)
    optimiser = NaturalGradient(model, likelihood="categorical")
    p = model(x).detach().softmax(-1)
    a, g = optimiser.factors(model)
    rows = torch.cat([x, torch.ones(6, 1)], dim=1)
    torch.testing.assert_close(a, rows.mT @ rows / 6)
    torch.testing.assert_close(g, torch.diag(p.mean(0)) - p.mT @ p / 6)


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_sampled_factors_are_unbiased(likelihood):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    x = points(2, 8)
    exact = NaturalGradient(model, likelihood=likelihood)
    generator = torch.Generator().manual_seed(0)
    sampled = NaturalGradient(model, likelihood=likelihood, samples=4000, generator=generator)
    model(x)
    for layer in (model[0], model[2]):
        expected = exact.factors(layer)[1]
        error = (sampled.factors(layer)[1] - expected).abs().max() / expected.abs().max()
        assert 0 < error < 0.05


@pytest.mark.parametrize("bias", [True, False])
def test_one_step_solves_linear_regression(bias):
    torch.manual_seed(0)
    model = nn.Linear(4, 2, bias=bias).double()
    x, y = points(4, 30), points(2, 30, seed=2)
    optimiser = NaturalGradient(model, lr=1.0, damping=0.0)
    half_square(model(x), y).backward()
    optimiser.step()
    rows = torch.cat([x, torch.ones(30, 1)], dim=1) if bias else x
    solution = torch.linalg.lstsq(rows, y).solution.mT
    torch.testing.assert_close(model.weight, solution[:, :4], rtol=1e-10, atol=1e-12)
    if bias:
        torch.testing.assert_close(model.bias, solution[:, 4], rtol=1e-10, atol=1e-12)


def test_degenerate_inputs_without_damping_give_the_least_change():
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    x, y = points(3, 2), points(1, 2, seed=2)  # fewer points than weights
    optimiser = NaturalGradient(model, lr=1.0, damping=0.0)
    half_square(model(x), y).backward()
    optimiser.step()
    torch.testing.assert_close(model.weight.mT, torch.linalg.pinv(x) @ y, rtol=1e-8, atol=1e-10)


def test_damping_is_that_of_the_whole_block():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x, y = points(3, 9), points(2, 9, seed=2)
    fisher = exact_fisher(model, x, "gaussian") + 0.3 * torch.eye(8)
    optimiser = NaturalGradient(model, lr=1.0, damping=0.3)
    before = torch.cat([model.weight, model.bias[:, None]], dim=1).detach().clone()
    half_square(model(x), y).backward()
    gradient = torch.cat([model.weight.grad, model.bias.grad[:, None]], dim=1)
    optimiser.step()
    moved = torch.cat([model.weight, model.bias[:, None]], dim=1) - before
    torch.testing.assert_close(moved.flatten(), -torch.linalg.solve(fisher, gradient.flatten()))


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
    torch.testing.assert_close(*outputs, rtol=1e-7, atol=1e-9)


def test_other_parameters_take_plain_gradient_steps():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()
    unused = nn.Linear(2, 2).double()
    model.append(nn.Identity())
    model[-1].extra = unused
    twin = [parameter.detach().clone().requires_grad_() for parameter in model[1].parameters()]
    optimiser = NaturalGradient(model, lr=0.1, momentum=0.9)
    plain = torch.optim.SGD(twin, lr=0.1, momentum=0.9)
    before = unused.weight.detach().clone()
    for _ in range(3):
        optimiser.zero_grad()
        half_square(model(points(2, 5)), 1.0).backward()
        for copy, parameter in zip(twin, model[1].parameters(), strict=True):
            copy.grad = parameter.grad.clone()
        optimiser.step()
        plain.step()
    for copy, parameter in zip(twin, model[1].parameters(), strict=True):
        torch.testing.assert_close(parameter, copy)
    assert torch.equal(unused.weight, before)


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
    observed = []
    for seed in range(3):
        model(points(2, 3, seed=seed))
        observed.append(optimiser.factors(model)[0])
    assert torch.equal(observed[0], observed[1]) and not torch.equal(observed[1], observed[2])
    optimiser.detach()
    model(points(2, 3, seed=7))
    model(points(2, 3, seed=8))
    assert torch.equal(optimiser.factors(model)[0], observed[2])


def test_observing_leaves_gradients_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x = points(2, 5)
    half_square(model(x), 1.0).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    NaturalGradient(model)
    half_square(model(x), 1.0).backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(expected, model.parameters(), strict=True))


def fresh(every):
    torch.manual_seed(0)
    model = NDM(2, 3, depth=1, coupling_hidden=(8,), metric_hidden=(4,)).double()
    return model, NaturalGradient(model, lr=0.05, momentum=0.9, damping=1e-2, likelihood="categorical", every=every)


def train(model, optimiser, start, stop):
    x = points(2, 40)
    label = (x.prod(-1) > 0).long() + (x[:, 0] > 1)
    losses = []
    for _ in range(start, stop):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x)[0], label)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_trains_an_ndm_faster_than_plain_gradient_descent():
    model, optimiser = fresh(every=1)
    losses = train(model, optimiser, 0, 60)
    optimiser.factors(model.layers[0].coordinates.maps[0].conditioner.layers[0])  # coordinate maps are preconditioned
    twin, _ = fresh(every=1)
    plain = train(twin, torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9), 0, 60)
    assert losses[-1] < 0.8 * plain[-1] < 0.2 * losses[0]


def test_resumes_to_the_bit(tmp_path):
    straight = train(*fresh(every=3), 0, 20)
    model, optimiser = fresh(every=3)
    train(model, optimiser, 0, 10)
    save_state(tmp_path / "s", [model.state_dict(), optimiser.state_dict()])
    other, resumed = fresh(every=3)
    saved = load_state(tmp_path / "s")
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert train(other, resumed, 10, 20) == straight[10:]


def test_beats_plain_gradient_descent_on_a_badly_scaled_problem():
    x = points(3, 50) * torch.tensor([1.0, 10.0, 0.1]).double()
    y = x @ torch.tensor([[1.0], [0.1], [10.0]]).double()
    losses = {}
    for name in ("natural", "plain"):
        torch.manual_seed(0)
        model = nn.Linear(3, 1).double()
        optimiser = (
            NaturalGradient(model, lr=0.5, damping=0.0)
            if name == "natural"
            else torch.optim.SGD(model.parameters(), 0.01)
        )
        for _ in range(30):
            optimiser.zero_grad()
            loss = half_square(model(x), y)
            loss.backward()
            optimiser.step()
        losses[name] = loss.item()
    assert losses["natural"] < 1e-12 < 1e-3 < losses["plain"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"lr": -1.0},
        {"momentum": 1.0},
        {"damping": float("nan")},
        {"likelihood": "poisson"},
        {"samples": 0},
        {"decay": 1.0},
        {"every": 0},
    ],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
        NaturalGradient(nn.Linear(2, 1), **arguments)
