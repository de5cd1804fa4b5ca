import copy
import math

import pytest
import torch
from torch import nn

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.coordinates import alternating_couplings
from ndm_apps.engine.evolution import GeometricLoss
from ndm_apps.engine.layer import ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.mlp_curvature import Pattern, column_blocks, factor_curvature
from ndm_apps.geometry import Hyperbolic, log_volume_element, scalar_curvature, scalar_curvature_from_jets

# A new structure joins this list and inherits the laws.
STRUCTURES = {
    "cholesky": {},
    "diagonal": {},
    "conformal": {},
    "low_rank": {"rank": 2},
    "block": {"block": 2},
}
HIDDEN = [(7,), (6, 5), (4, 6, 5)]


def disturbed(structure, n, hidden=(6, 5), eps=0.1):
    torch.manual_seed(0)
    net = MetricNet(n, hidden, structure, eps, **STRUCTURES[structure]).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return net


def points(n, *shape):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_is_a_metric_bounded_below_by_eps(structure, n):
    net = disturbed(structure, n)
    g = net(points(n, 2, 6))
    assert isinstance(net, nn.Module)
    assert g.shape == (2, 6, n, n)
    assert torch.equal(g, g.mT)
    assert torch.linalg.eigvalsh(g).min() >= 0.1 * (1 - 1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_starts_near_the_identity(structure):
    torch.manual_seed(0)
    net = MetricNet(4, structure=structure, **STRUCTURES[structure])
    x = torch.randn(50, 4)
    assert (net(x) - torch.eye(4)).abs().max() < 0.2
    assert not torch.allclose(net(x), torch.eye(4), atol=1e-3)
    assert net.scalar_curvature(x).abs().max() < 1


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_curvature_is_that_of_the_general_formula(structure, n, hidden):
    net = disturbed(structure, n, hidden)
    x = points(n, 2, 4)
    fast, general = net.scalar_curvature(x), scalar_curvature_from_jets(net, x)
    assert fast.shape == (2, 4)
    if n > 1:
        assert general.abs().max() > 1e-2
    # Rounding grows with the terms that cancel, not with R, which is zero for n = 1.
    torch.testing.assert_close(fast, general, rtol=1e-10, atol=1e-12 * max(1.0, general.abs().max().item()))


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_gradient_of_mean_squared_curvature(structure, hidden):
    net = disturbed(structure, 3, hidden)
    x = points(3, 8)
    gradients = []
    for curvature in (net.scalar_curvature(x), scalar_curvature_from_jets(net, x)):
        gradients.append(torch.autograd.grad(curvature.square().mean(), list(net.parameters()), allow_unused=True))
    for fast, general in zip(*gradients, strict=True):
        scale = general.abs().max().item()
        torch.testing.assert_close(fast, general, rtol=1e-8, atol=1e-10 * scale)


def test_gradient_in_x():
    net = disturbed("cholesky", 2, (5,))
    assert torch.autograd.gradcheck(net.scalar_curvature, points(2, 3).requires_grad_())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_log_volume(structure):
    net, x = disturbed(structure, 3), points(3, 2, 5)
    torch.testing.assert_close(net.log_volume(x), log_volume_element(net, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("structure", ["cholesky", "block", "low_rank"])
def test_curvature_does_not_depend_on_the_cut_of_the_batch(structure, monkeypatch):
    net, x = disturbed(structure, 3), points(3, 11)
    whole = net.scalar_curvature(x)
    monkeypatch.setattr("ndm_apps.engine.mlp_curvature._CHUNK", 4 * 6 * 12)
    torch.testing.assert_close(net.scalar_curvature(x), whole, rtol=1e-12, atol=1e-13)


def test_block_couples_only_within_blocks():
    g = disturbed("block", 5)(points(5, 20))
    group = torch.arange(5) // 2
    inside = group[:, None] == group
    assert (g[:, ~inside] == 0).all() and (g[:, inside] != 0).all()


def test_low_rank_is_diagonal_plus_rank():
    net = MetricNet(6, (8,), "low_rank", rank=1).double()
    with torch.no_grad():
        net.mlp.layers[-1].bias.normal_(generator=torch.Generator().manual_seed(0))
    g = net(points(6, 4))
    off_diagonal_block = g[:, :3, 3:]  # no diagonal entry of g in it, so the rank of U is all it has
    singular = torch.linalg.svdvals(off_diagonal_block)
    assert (singular[:, 0] > 1e-3).all() and (singular[:, 1] < 1e-12).all()


def test_closed_form_hyperbolic_plane():
    """Two units, one at tanh'' = 0, match value, slope and bend of L = I / y at one point, so R = -2 there."""
    y, z = 1.3, math.atanh(0.5)
    slope, bend = 1 - 0.25, -2 * 0.5 * (1 - 0.25)
    second = 2 / y**3 / bend
    first = -1 / y**2 - second * slope
    hidden = [(torch.tensor([[0.0, 1.0]] * 2).double(), torch.tensor([-y, z - y], dtype=torch.float64))]
    eye = torch.eye(2, dtype=torch.float64).flatten()
    output = torch.stack([first * eye, second * eye], dim=-1), (1 / y - 0.5 * second) * eye
    x = torch.tensor([[0.7, y]], dtype=torch.float64)
    reference = scalar_curvature(Hyperbolic(2, model="half_space"), x)
    whole = Pattern(torch.arange(4), 2, column_blocks(torch.ones(2, 2)))
    torch.testing.assert_close(factor_curvature(hidden, output, whole, x, 0.0), reference, rtol=1e-12, atol=0)


def test_geometry_takes_the_short_way(monkeypatch):
    net, x = disturbed("cholesky", 3), points(3, 2)
    monkeypatch.setattr("ndm_apps.geometry.scalar.scalar_curvature_from_jets", None)
    assert torch.equal(scalar_curvature(net, x), net.scalar_curvature(x))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_empty_batch_and_state(structure):
    net = disturbed(structure, 3)
    assert net.scalar_curvature(points(3, 0)).shape == (0,)
    other = MetricNet(3, (6, 5), structure, 0.1, **STRUCTURES[structure]).double()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(points(3, 2)), net(points(3, 2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be"),
        ({"hidden": ()}, "hidden must be"),
        ({"hidden": (3, 0)}, "hidden must be"),
        ({"structure": "kolesky"}, "'block', 'cholesky', 'conformal', 'diagonal', 'low_rank'"),
        ({"eps": 0.0}, "eps must be"),
        ({"eps": float("nan")}, "eps must be"),
        ({"condition": 1.0}, "condition must be above 1, got 1.0"),
        ({"condition": float("nan")}, "condition must be"),
        ({"rank": 2}, "rank must be"),
        ({"structure": "low_rank", "rank": 0}, "rank must be"),
        ({"structure": "low_rank", "block": 2}, "block must be"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MetricNet(**{"n": 2, **arguments})


@pytest.mark.parametrize("call", ["forward", "log_volume", "scalar_curvature"])
def test_wrong_points(call):
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 3\), got \(5, 2\)"):
        getattr(MetricNet(3), call)(torch.zeros(5, 2))


def ill_conditioned_points(net, count=40):
    """Points far apart, where the metric of a disturbed net differs most."""
    return 3 * points(net.n, count)


def condition_numbers(net, x):
    values = torch.linalg.eigvalsh(net(x))
    return values[..., -1] / values[..., 0]


@pytest.mark.parametrize("structure", [name for name in STRUCTURES if name != "conformal"])
def test_bound_condition_takes_the_least_eps_that_is_enough(structure):
    net = disturbed(structure, 3, eps=1e-3)
    net.condition, x = 5.0, ill_conditioned_points(net)
    assert condition_numbers(net, x).max() > 10
    eps = net.bound_condition(x)
    assert eps == net.eps > 1e-3
    assert condition_numbers(net, x).max().item() == pytest.approx(5.0, rel=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_curvature_and_volume_stay_exact_when_eps_moves(structure):
    net, x = disturbed(structure, 3, eps=1e-3), points(3, 6)
    net.condition = 2.0
    before = net.scalar_curvature(x)
    net.bound_condition(ill_conditioned_points(net))
    if structure != "conformal":
        assert not torch.allclose(net.scalar_curvature(x), before, rtol=1e-3)
    torch.testing.assert_close(net.scalar_curvature(x), scalar_curvature_from_jets(net, x), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(net.log_volume(x), log_volume_element(net, x), rtol=1e-12, atol=1e-12)


def test_eps_goes_back_slowly_to_where_it_started():
    net = disturbed("cholesky", 3, eps=1e-3)
    net.condition = 5.0
    raised = net.bound_condition(ill_conditioned_points(net))
    flat = torch.zeros(1, 3, dtype=torch.float64)  # one point, itself within the bound
    net.condition = 1e5
    history = [net.bound_condition(flat) for _ in range(2000)]
    assert history[:2] == pytest.approx([0.99 * raised, 0.99**2 * raised])
    assert history[-1] == 1e-3


def test_condition_follows_the_precision_and_may_be_switched_off():
    torch.manual_seed(0)
    net = MetricNet(2, (4,), "diagonal", eps=1e-9)
    with torch.no_grad():
        net.mlp.layers[-1].bias.copy_(torch.tensor([0.0, 12.0]))  # condition number e^24
    x = torch.zeros(1, 2)
    net.bound_condition(x)
    assert condition_numbers(net, x).item() == pytest.approx(1e4, rel=1e-3)
    double = MetricNet(2, (4,), "diagonal", eps=1e-9).double()
    double.load_state_dict({**net.state_dict(), "_extra_state": torch.tensor(1e-9)})
    double.bound_condition(x.double())
    assert condition_numbers(double, x.double()).item() == pytest.approx(1e6, rel=1e-6)
    net.condition, before = math.inf, net.eps
    assert net.bound_condition(x) == before


def test_eps_is_saved_with_the_weights(tmp_path):
    net = disturbed("cholesky", 3, eps=1e-3)
    net.condition, x = 5.0, ill_conditioned_points(net)
    net.bound_condition(x)
    save_state(tmp_path / "net", net.state_dict())
    other = MetricNet(3, (6, 5), "cholesky", 1e-3).double()
    other.load_state_dict(load_state(tmp_path / "net"))
    assert other.eps == net.eps and torch.equal(other(x), net(x))
    assert copy.deepcopy(net).float().double().eps == net.eps


@pytest.mark.parametrize("structure", STRUCTURES)
def test_bound_condition_takes_any_batch(structure):
    net = disturbed(structure, 3)
    for shape in [(), (0,), (2, 5)]:
        assert net.bound_condition(points(3, *shape)) == 0.1
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 3\), got \(5, 2\)"):
        net.bound_condition(torch.zeros(5, 2))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_metric_that_is_not_finite_is_refused_by_name(structure):
    net, x = disturbed(structure, 3), points(3, 2, 5)
    with torch.no_grad():
        net.mlp.layers[-1].bias[0] = math.inf
    with pytest.raises(ValueError, match=r"metric\(x\) must be finite, got nan or inf at sample \(0, 0\)"):
        net.bound_condition(x)


@pytest.mark.parametrize("call", ["log_volume", "scalar_curvature"])
def test_a_metric_that_is_not_positive_definite_is_refused_by_name(call):
    net, x = disturbed("cholesky", 3).float(), points(3, 2, 5).float()
    net.structure.eps = -1e3
    with pytest.raises(ValueError, match=r"metric\(x\) must be positive definite, got smallest eigenvalue -.*\(0, 0\)"):
        getattr(net, call)(x)


def test_one_metric_serves_several_layers():
    torch.manual_seed(0)
    metric = MetricNet(3, (5,)).double()
    layers = nn.ModuleList(ManifoldLayer(alternating_couplings(3, 2, (4,)).double(), metric) for _ in range(3))
    alone = sum(p.numel() for p in metric.parameters())
    coordinates = sum(p.numel() for layer in layers for p in layer.coordinates.parameters())
    assert sum(p.numel() for p in layers.parameters()) == alone + coordinates
    x, geometries = points(3, 8), []
    for layer in layers:
        x, geometry = layer(x)
        geometries.append(geometry)
    loss = GeometricLoss(compatibility=0.1)
    whole = torch.autograd.grad(loss(geometries).total, list(metric.parameters()), retain_graph=True)
    assert all(gradient.isfinite().all() for gradient in whole)
    loss = GeometricLoss(volume=0.0)
    together = torch.autograd.grad(loss(geometries).total, metric.mlp.layers[0].weight, retain_graph=True)[0]
    each = [
        torch.autograd.grad(loss(one).total, metric.mlp.layers[0].weight, retain_graph=True)[0] for one in geometries
    ]
    torch.testing.assert_close(together, sum(each) / 3, rtol=1e-9, atol=1e-12)
