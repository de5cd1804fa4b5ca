import math

import pytest
import torch
from torch import nn

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.evolution import GeometricLoss
from ndm_apps.engine.layer import Geometry
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.network import NDM
from ndm_apps.engine.weighting import Constraint, GradientBalance, constant, linear_warmup


def problem():
    """A task that pulls p to 1, and a geometric loss that pulls it to 0 a thousand times as hard."""
    p = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    return p, lambda: (p - 1).square().sum(), lambda: 1000 * p.square().sum()


def moons(count=128):
    generator = torch.Generator().manual_seed(0)
    angle, label = torch.pi * torch.rand(count, generator=generator), torch.arange(count) % 2
    sign = 1.0 - 2.0 * label
    return torch.stack([sign * angle.cos() + label, sign * angle.sin() + 0.5 * label], -1), label


def norms(task, geometric, parameters):
    gradients = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (task, geometric)]
    return [math.sqrt(sum(part.square().sum().item() for part in side)) for side in gradients]


@pytest.mark.parametrize(("ratio", "smoothing"), [(0.1, 0.0), (1.0, 0.0), (1.0, 0.5)])
def test_balance_holds_on_a_network(ratio, smoothing):
    torch.manual_seed(0)
    net, geometric = NDM(2, 2, depth=1, metric_hidden=(8,), coupling_hidden=(8,)), GeometricLoss()
    x, label = moons()
    shared = list(net.layers[0].coordinates.parameters())
    weight, optimiser = GradientBalance(shared, ratio, smoothing=smoothing), torch.optim.Adam(net.parameters(), 1e-3)
    reached = []
    for step in range(30):
        outputs, geometries = net(x)
        task, total = nn.functional.cross_entropy(outputs, label), geometric(geometries).total
        found = weight(step, task, total)
        pull, push = norms(task, total, shared)
        reached.append(found * push / pull / ratio)
        optimiser.zero_grad()
        (task + found * total).backward()
        optimiser.step()
    reached = torch.tensor(reached)
    tolerance = 0.25 if smoothing else 1e-3
    assert (reached.median() - 1).abs() < tolerance
    assert smoothing or ((reached - 1).abs() < tolerance).all()


def test_balance_averages_logarithms_and_measures_every_so_often():
    p, task, geometric = problem()
    weight = GradientBalance([p], 1.0, smoothing=0.75, every=2, start=5.0)
    with torch.no_grad():
        p.fill_(0.5)
    assert weight(0, task(), geometric()) == pytest.approx(1e-3)
    with torch.no_grad():
        p.fill_(0.9)  # the balance is 0.1 / 900
    assert weight(1, task(), geometric()) == pytest.approx(1e-3)
    expected = 1e-3**0.75 * (0.1 / 900) ** 0.25
    assert weight(2, task(), geometric()) == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf])
def test_balance_is_kept_where_there_is_nothing_to_measure(scale):
    p, task, geometric = problem()
    with torch.no_grad():
        p.fill_(0.5)
    weight = GradientBalance([p])
    before = weight(0, task(), geometric())
    assert weight(1, task(), scale * geometric()) == before
    assert weight(2, task().detach(), geometric()) == before


def test_balance_leaves_out_what_only_one_loss_depends_on():
    p, task, geometric = problem()
    head = torch.full((2,), 100.0, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        p.fill_(0.5)
    with_head = GradientBalance([p, head])(0, task() + head.square().sum(), geometric())
    assert with_head == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="parameters must hold some on which both"):
        GradientBalance([head])(0, head.sum(), p.sum())


@pytest.mark.parametrize("start", [1e-6, 1e3])
@pytest.mark.parametrize("budget", [0.01, 100.0])
def test_constraint_is_met_with_the_multiplier_of_the_closed_form(budget, start):
    """Of |p - 1|^2 subject to c |p|^2 <= b the solution is p = s, s = sqrt(b / 3c), with lambda = (1 - s) / (c s)."""
    p, task, geometric = problem()
    weight = Constraint(budget, rate=0.1, start=start)
    for step in range(400):
        found = weight(step, task(), geometric())
        (gradient,) = torch.autograd.grad(task() + found * geometric(), p)
        with torch.no_grad():
            p -= 0.4 / (1 + 1000 * found) * gradient
    size = math.sqrt(budget / 3000)
    assert geometric().item() == pytest.approx(budget, rel=1e-3)
    assert found == pytest.approx((1 - size) / (1000 * size), rel=1e-2)


def test_constraint_that_costs_nothing_lets_the_weight_go():
    _, task, geometric = problem()
    weight = Constraint(1e5, rate=0.1)
    found = [weight(step, task(), geometric()) for step in range(400)]
    assert found[-1] == pytest.approx(1e-8 * math.exp(-0.2))


def fit_a_bell(weight, steps=300):
    """Fit a conformal metric that is curved; return L_geo step by step, and the last weight."""
    torch.manual_seed(0)
    net, geometric = MetricNet(2, (12,), "conformal").double(), GeometricLoss(volume=0.0)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    x = 2 * torch.rand(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    target = (-x.square().sum(-1)).exp()[:, None, None] * torch.eye(2)
    history = []
    for step in range(steps):
        total = geometric(Geometry(x, torch.zeros(64), net)).total
        task = (net(x) - target).square().mean()
        found = weight(step, task, total)
        optimiser.zero_grad()
        (task + found * total).backward()
        optimiser.step()
        history.append(total.item())
    return history, found


def test_constraint_holds_on_a_metric_that_would_curve_ten_times_as_much():
    free, _ = fit_a_bell(constant(0.0))
    held, weight = fit_a_bell(Constraint(1.0))
    assert free[-1] > 10
    assert held[-1] == pytest.approx(1.0, abs=0.05) and weight > 1e-4


def test_a_huge_excess_moves_the_weight_no_further_than_any_other():
    weight = Constraint(1.0, rate=0.5, damping=0.0)
    assert weight(0, None, torch.tensor(1e30)) == pytest.approx(math.exp(0.5))
    assert weight(1, None, torch.tensor(math.nan)) == pytest.approx(math.exp(1.0))
    assert weight(2, None, torch.tensor(0.0)) == pytest.approx(math.exp(0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: constant(0.3),
        lambda p: linear_warmup(2.0, 3),
        lambda p: GradientBalance([p], 0.3),
        lambda p: Constraint(0.5, rate=0.3),
    ],
)
def test_one_interface_and_resumed_runs(make, tmp_path):
    p, task, geometric = problem()
    first, second = make(p), make(p)
    for step in range(6):
        with torch.no_grad():
            p.fill_(0.1 * (step + 1))
        if step == 3:
            save_state(tmp_path / "weight", first.state_dict())
            second.load_state_dict(load_state(tmp_path / "weight"))
        value = first(step, task(), geometric())
        assert isinstance(value, float) and value >= 0
        if step >= 3:
            assert second(step, task(), geometric()) == value
    with pytest.raises(ValueError, match=r"state must have the keys .*, got \['other'\]"):
        first.load_state_dict({"other": 1.0})


def test_schedules_need_the_step_alone():
    assert [constant(0.3)(step) for step in (0, 9)] == [0.3, 0.3]
    for weight in (GradientBalance([torch.zeros(1, requires_grad=True)]), Constraint(1.0)):
        with pytest.raises(ValueError, match="geometric must be"):
            weight(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: GradientBalance([]), "parameters must hold"),
        (lambda p: GradientBalance([p.detach()]), "parameters must hold"),
        (lambda p: GradientBalance([p], 0.0), "ratio must be positive and finite, got 0.0"),
        (lambda p: GradientBalance([p], smoothing=1.0), "smoothing must be from 0 to below 1, got 1.0"),
        (lambda p: GradientBalance([p], every=0), "every must be at least 1, got 0"),
        (lambda p: GradientBalance([p], start=0.0), "start must be between 1e-08 and 1e"),
        (lambda p: Constraint(0.0), "budget must be positive and finite, got 0.0"),
        (lambda p: Constraint(1.0, rate=-1.0), "rate must be"),
        (lambda p: Constraint(1.0, damping=math.inf), "damping must be"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(1, requires_grad=True))
