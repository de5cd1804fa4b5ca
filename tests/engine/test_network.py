import copy

import pytest
import torch
from torch import nn

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.engine.coordinates import Affine, alternating_couplings
from ndm_apps.engine.evolution import GeometricLoss
from ndm_apps.engine.layer import Geometry, ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.network import NDM
from ndm_apps.engine.weighting import linear_warmup
from ndm_apps.geometry import Hyperbolic, Sphere, scalar_curvature, scalar_curvature_from_jets, volume_element


def points(n, *shape):
    return torch.randn(*shape, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("structure", ["cholesky", "diagonal", "conformal"])
def test_layer_returns_the_geometry_at_the_new_point(structure):
    torch.manual_seed(0)
    layer = ManifoldLayer(alternating_couplings(3, 2, (4,)), MetricNet(3, (5,), structure)).double()
    x = points(3, 2, 4)
    z, geometry = layer(x)
    assert torch.equal(z, geometry.point)
    assert torch.equal(geometry.log_abs_det, layer.coordinates(x)[1])
    assert torch.equal(geometry.g, layer.metric(z))
    torch.testing.assert_close(geometry.curvature, scalar_curvature_from_jets(layer.metric, z), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(geometry.log_volume.exp(), volume_element(layer.metric, z), rtol=1e-12, atol=0)
    some = geometry.at(torch.tensor([5, 0]))
    torch.testing.assert_close(some.curvature, geometry.curvature.flatten()[[5, 0]], rtol=1e-12, atol=1e-14)


def test_geometry_of_a_metric_without_network():
    geometry = Geometry(points(2, 6), torch.zeros(6), Sphere(2))
    torch.testing.assert_close(geometry.curvature, torch.full((6,), 2.0).double())
    torch.testing.assert_close(geometry.log_volume.exp(), volume_element(Sphere(2), geometry.point))


def test_curvature_is_computed_when_asked_for_and_once(monkeypatch):
    calls = []
    net = MetricNet(2).double()
    monkeypatch.setattr(MetricNet, "scalar_curvature", lambda self, x: calls.append(1) or x.sum(-1))
    geometry = ManifoldLayer(Affine(2), net).double()(points(2, 3))[1]
    assert calls == []
    assert geometry.curvature is geometry.curvature and calls == [1]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_network_shapes_and_which_layers_carry_a_metric(n):
    net = NDM(n, 3, depth=4, metric_layers=[1, 3]).double()
    outputs, geometries = net(points(n, 2, 6))
    assert outputs.shape == (2, 6, 3)
    assert [id(geometry.metric) for geometry in geometries] == [id(net.layers[i].metric) for i in (1, 3)]
    assert NDM(n, 3, metric_layers=())(torch.zeros(2, n))[1] == []


def test_network_head_and_starting_point():
    net = NDM(2, nn.Identity()).double()
    x = points(2, 6)
    assert torch.equal(net(x)[0], x)  # all coordinate maps start as the identity


class Outputs(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[0]


@pytest.mark.parametrize("coordinates", ["affine", "smooth", "spline"])
def test_outputs_can_be_exported(coordinates):
    model = Outputs(NDM(3, 2, coordinates=coordinates, mixing=True, normalise=True))
    program = torch.export.export(model, (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(program.module()(x), model(x))


def disturb(net):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return net


def test_geometries_form_a_chain_over_layers_without_metric():
    torch.manual_seed(0)
    net = disturb(NDM(3, 2, depth=4, metric_layers=[1, 3], coupling_hidden=(8,), coordinates="smooth").double())
    x = points(3, 2, 5)
    _, (first, second) = net(x)
    assert first.origin is x and second.origin is first.point
    assert first.maps == tuple(layer.coordinates for layer in net.layers[:2])
    assert torch.equal(second.chart(first.point), second.point)
    for geometry in (first, second):
        torch.testing.assert_close(geometry.log_abs_det, torch.linalg.slogdet(geometry.jacobian).logabsdet)
    whole = second.jacobian @ first.jacobian
    torch.testing.assert_close(net.global_metric()(x), whole.mT @ second.g @ whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net.global_metric(0)(x), first.pullback, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net.global_metric(-2)(x), first.pullback, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(scalar_curvature(net.global_metric(), x), second.curvature)


@pytest.mark.parametrize("carrier", [1, -2])
def test_global_metric_of_no_such_layer(carrier):
    with pytest.raises(ValueError, match=rf"carrier must be one of the 1 layers with a metric, got {carrier}"):
        NDM(2, 1, metric_layers=[1]).global_metric(carrier)


def test_points_that_come_from_nowhere_have_no_jacobian():
    geometry = Geometry(points(2, 5), torch.zeros(5), Sphere(2))
    for name in ("jacobian", "pullback"):
        with pytest.raises(ValueError, match="origin"):
            getattr(geometry, name)
    assert geometry.at(torch.tensor([1])).origin is None


def test_one_metric_for_all_layers():
    net = NDM(3, 2, depth=3, metric_layers=[0, 2], structure="low_rank", rank=2, shared_metric=True)
    _, (first, second) = net(torch.zeros(4, 3))
    assert first.metric is second.metric is net.layers[2].metric
    assert net.layers[1].metric is None
    alone = NDM(3, 2, depth=3, metric_layers=[0], structure="low_rank", rank=2)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in alone.parameters())


def test_hybrid_network_with_encoder_and_head():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4))
    head = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 10))
    net = NDM(4, head, coordinates="spline", mixing=True, normalise=True, encoder=encoder)
    images = torch.randn(20, 1, 8, 8)
    net.initialise(images)
    outputs, geometries = net(images)
    assert outputs.shape == (20, 10)
    z, _ = net.layers[0].coordinates(net.encode(images))
    torch.testing.assert_close(z, geometries[0].point)
    torch.testing.assert_close(z.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(4), rtol=1e-4, atol=0)
    assert torch.equal(geometries[0].origin, net.encode(images))
    (outputs.sum() + sum(geometry.pullback.sum() for geometry in geometries)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with pytest.raises(ValueError, match=r"encoder\(x\) must have shape \(..., 3\), got \(20, 4\)"):
        NDM(3, 2, encoder=encoder)(images)


def test_names_in_the_state_of_the_default_network_are_those_of_saved_ones():
    names = [name for name in NDM(2, 3, depth=1).state_dict() if ".metric." not in name]
    maps = [f"layers.0.coordinates.maps.{i}.conditioner.layers.{j}" for i in range(2) for j in range(2)]
    assert names == [f"{part}.{kind}" for part in (*maps, "head") for kind in ("weight", "bias")]


@pytest.mark.parametrize("options", [{}, {"coordinates": "smooth", "mixing": True, "shared_metric": True}])
def test_state_round_trip(options, tmp_path):
    torch.manual_seed(0)
    net, other = disturb(NDM(3, 2, **options)), NDM(3, 2, **options)
    save_state(tmp_path / "net.safetensors", net.state_dict())
    other.load_state_dict(load_state(tmp_path / "net.safetensors"))
    x = points(3, 5).float()
    for one in (other, copy.deepcopy(net)):
        assert torch.equal(one(x)[0], net(x)[0])
        assert torch.equal(one(x)[1][1].g, net(x)[1][1].g)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth"),
        ({"coordinates": "cubic"}, r"coordinates must be one of \['affine', 'smooth', 'spline'\], got 'cubic'"),
        ({"rank": 2}, "rank must be at least 1 and goes with structure 'low_rank', got 2"),
        ({"metric_layers": [2]}, r"metric_layers must be among 0 \.\.\. 1, got \[2\]"),
        ({"head": 0}, "head"),
        ({"n": 0}, "n must be"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NDM(**{"n": 2, "head": 1, **arguments})
    with pytest.raises(ValueError, match="x must have shape"):
        NDM(2, 1)(torch.zeros(4, 3))


def test_loss_on_known_manifolds():
    layers = [Geometry(points(2, 5).exp(), torch.zeros(5), metric) for metric in (Sphere(2), Hyperbolic(2))]
    layers[1] = Geometry(layers[1].point / 20, torch.zeros(5), Hyperbolic(2))  # inside the unit disk
    terms = GeometricLoss(curvature=0.5, volume=3.0)(layers)
    variance = sum(volume_element(layer.metric, layer.point).var(correction=0).item() for layer in layers) / 2
    assert terms.curvature.item() == pytest.approx(4.0, rel=1e-9)
    assert terms.volume.item() == pytest.approx(variance, rel=1e-9)
    assert terms.total.item() == pytest.approx(0.5 * 4.0 + 3.0 * variance, rel=1e-9)


def test_terms_of_weight_zero_are_not_computed():
    flat, even = (Geometry(points(2, 5), torch.zeros(5), Sphere(2)) for _ in range(2))
    no_curvature, no_volume = GeometricLoss(curvature=0.0)(flat), GeometricLoss(volume=0.0)(even)
    assert no_curvature.curvature.isnan() and no_curvature.total == no_curvature.volume
    assert no_volume.volume.isnan() and no_volume.total.item() == pytest.approx(4.0)
    assert "curvature" not in vars(flat) and "log_volume" not in vars(even)


def test_curvature_at_random_points_is_unbiased_and_reproducible():
    torch.manual_seed(0)
    net = MetricNet(2, (5,)).double()
    geometry = Geometry(points(2, 4, 3), torch.zeros(4, 3), net)
    draws = [
        [loss(geometry).curvature.item() for _ in range(400)]
        for loss in (
            GeometricLoss(curv_points=4, generator=torch.Generator().manual_seed(2), volume=0.0) for _ in range(2)
        )
    ]
    assert draws[0] == draws[1]
    sample = torch.tensor(draws[0], dtype=torch.float64)
    expected = geometry.curvature.square().mean()
    assert sample.std() > 0
    assert (sample.mean() - expected).abs() < 4 * sample.std() / 20
    whole = GeometricLoss(curv_points=12, volume=0.0)(geometry).curvature
    torch.testing.assert_close(whole, expected)


@pytest.mark.parametrize("arguments", [{"curvature": -1.0}, {"volume": float("nan")}, {"curv_points": 0}])
def test_wrong_loss_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GeometricLoss(**arguments)
    with pytest.raises(ValueError, match="geometries"):
        GeometricLoss()([])


def test_warmup():
    schedule = linear_warmup(2.0, 4)
    assert [schedule(step) for step in (0, 1, 4, 100)] == [0.0, 0.5, 2.0, 2.0]
    with pytest.raises(ValueError, match="steps"):
        linear_warmup(1.0, 0)


def two_moons(count, generator):
    angle = torch.pi * torch.rand(count, generator=generator)
    label = torch.randint(2, (count,), generator=generator)
    sign = 1.0 - 2.0 * label
    x = torch.stack([sign * angle.cos() + label, sign * angle.sin() + 0.5 * label], dim=-1)
    return x + 0.1 * torch.randn(count, 2, generator=generator), label


def train(steps=100):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x, label = two_moons(256, generator)
    net = NDM(2, 2, metric_hidden=(16, 16), coupling_hidden=(32,))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    geometric, strength = GeometricLoss(curv_points=64, generator=generator), linear_warmup(0.1, 20)
    history = []
    for step in range(steps):
        outputs, geometries = net(x)
        task, terms = nn.functional.cross_entropy(outputs, label), geometric(geometries)
        optimiser.zero_grad()
        (task + strength(step) * terms.total).backward()
        optimiser.step()
        history.append([task.item(), terms.curvature.item(), terms.volume.item()])
    accuracy = (net(x)[0].argmax(-1) == label).float().mean().item()
    return torch.tensor(history), accuracy


def test_training_on_two_moons():
    history, accuracy = train()
    assert torch.isfinite(history).all()
    assert history[-1, 0] < 0.3 * history[0, 0]
    assert history[-10:, 1:].mean() < 0.5 * history[:10, 1:].mean()
    assert accuracy > 0.95
    again, _ = train(30)
    assert torch.equal(again, history[:30])
