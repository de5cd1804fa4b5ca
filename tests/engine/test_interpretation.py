import json
import math

import pytest
import torch
from scipy.stats import spearmanr

from ndm_apps.engine import NDM
from ndm_apps.engine.interpretation import (
    View,
    boundary_ranks,
    curvature_of_samples,
    flat_stability,
    interpolations,
    interpret,
    layer_discrepancy,
    neighbour_agreement,
    slice_of,
    view_of,
)
from ndm_apps.engine.interpretation.statistics import difference_test, mean_estimate, ranks, spearman, spearman_test
from ndm_apps.engine.interpretation.verdict import verdict
from ndm_apps.engine.pulled_back import PulledBackMetric
from ndm_apps.geometry import Conformal, Euclidean, Sphere


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def same(x):
    return x


def sides(z):
    """Logits of a classifier whose boundary is where the first coordinate is 0."""
    return torch.stack([z[..., 0], -z[..., 0]], dim=-1)


def network(n=3, depth=2, seed=0, **settings):
    torch.manual_seed(seed)
    made = NDM(n, head=3, depth=depth, couplings=2, coupling_hidden=(8,), metric_hidden=(8,), **settings).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


# Statistics


def test_rank_correlation_is_scipys_with_ties():
    a, b = normal(50).mul(3).round(), normal(50, seed=1).mul(2).round()
    assert len(a.unique()) < 20
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-11)
    assert spearman(a, torch.ones(50)) == 0 and spearman(a, 3 - a) == -1
    assert ranks(a).sum() == 49 * 50 / 2


def kolmogorov(p):
    """Distance of p-values from the uniform distribution in units of Kolmogorov's bound at 0.01."""
    levels = torch.arange(1, len(p) + 1) / len(p)
    return float((torch.tensor(p).sort().values - levels).abs().max() * len(p) ** 0.5 / 1.63)


def test_p_values_are_uniform_where_there_is_nothing():
    generator = seeded()
    pairs = torch.randn(200, 2, 15, generator=generator, dtype=torch.float64)
    assert kolmogorov([spearman_test(a, b, generator).p for a, b in pairs]) < 1
    assert kolmogorov([difference_test(a, generator).p for a, _ in pairs]) < 1


def test_p_values_are_small_where_there_is_something():
    a = normal(40)
    found = spearman_test(a, a + 0.5 * normal(40, seed=1), seeded())
    assert found.p < 0.001 and 0 < found.low < found.value < found.high < 1 and found.n == 40
    assert difference_test(a + 1, seeded()).p < 0.001


def test_intervals_cover():
    """Nineteen times in twenty, but for the bootstrap's optimism at 40 values and the noise of 200 draws."""
    draws, generator = normal(200, 40), seeded(1)
    covered = [found.low <= 0 <= found.high for found in (mean_estimate(draw, generator) for draw in draws)]
    assert 0.88 <= sum(covered) / 200 <= 0.99
    rho = math.asin(0.6 / 2) * 6 / math.pi  # Spearman's, of normal variables with Pearson's 0.6
    pairs = [(a, 0.6 * a + 0.8 * b) for a, b in normal(200, 2, 40, seed=2)]
    covered = [found.low <= rho <= found.high for found in (spearman_test(a, b, generator) for a, b in pairs)]
    assert 0.90 <= sum(covered) / 200 <= 0.99


# Views


@pytest.mark.parametrize(("carriers", "carrier"), [(None, 0), (None, -1), ((1,), 0), ((0, 2), 1)])
def test_a_view_goes_through_the_whole_network(carriers, carrier):
    net, x = network(depth=3, metric_layers=carriers), normal(7, 3)
    view = view_of(net, carrier)
    torch.testing.assert_close(view.classify(view.encode(x)), net(x)[0], rtol=1e-12, atol=1e-12)
    geometry = net(x)[1][carrier]
    torch.testing.assert_close(view.metric(view.encode(x)), geometry.g)
    torch.testing.assert_close(view.curvature(view.encode(x)), geometry.curvature)
    torch.testing.assert_close(view.log_volume(view.encode(x)), geometry.log_volume)
    with pytest.raises(ValueError, match="got 3"):
        view_of(net, 3)


def test_slice():
    z = normal(30, 4) * torch.tensor([3.0, 2.0, 0.1, 0.1])
    plane = slice_of(View(same, Sphere(4), sides), z, resolution=9)
    torch.testing.assert_close(plane.curvature, torch.full((9, 9), 12.0).double())
    assert plane.explained > 0.99 and plane.logits.shape == (9, 9, 2)
    for values, grid in ((plane.samples[:, 0], plane.first), (plane.samples[:, 1], plane.second)):
        assert grid[0] < values.min() and values.max() < grid[-1]
    # Columns run along the first component: logits are linear on the plane, and constant steps show it.
    steps = plane.logits[:, 1:, 0] - plane.logits[:, :-1, 0]
    torch.testing.assert_close(steps, steps[:1, :1].expand(9, 8))


# Curvature of samples. Of the metric e^{2 z_0^2} I in the plane R = -4 e^{-2 z_0^2}: it knows the margin 2 |z_0|.
KNOWING = View(same, Conformal(lambda z: z[..., 0].square(), Euclidean(2)), sides)


class Knowing(torch.nn.Module):
    def forward(self, z):
        return KNOWING.metric(z)


def test_curvature_that_knows_the_boundary():
    z = normal(40, 2)
    samples = curvature_of_samples(KNOWING, z)
    torch.testing.assert_close(samples.curvature, -4 * (-2 * z[:, 0].square()).exp())
    curvature, volume = boundary_ranks(samples, seeded())
    assert curvature.value == -1 and volume.value == 1 and curvature.p < 0.001
    assert (
        samples.flat.sum() == 4 and samples.curvature[samples.flat].abs().max() <= samples.curvature.abs().sort()[0][3]
    )


def test_flat_samples_stay_flat_under_little_noise():
    little, some, much = flat_stability(KNOWING, normal(60, 2), seeded(), sizes=(1e-5, 0.3, 3.0))
    assert little.rank > 0.999 and little.kept.value == 1
    assert little.rank > some.rank > much.rank and much.rank < 0.6 and much.kept.value < some.kept.value


# Neighbours and paths


def striped(count, seed):
    """Two classes side by side, each stretched along the boundary."""
    z = normal(count, 2, seed=seed) * torch.tensor([0.03, 3.0])
    z[:, 0] += torch.where(torch.arange(count) % 2 == 0, 0.1, -0.1)
    return z, torch.arange(count) % 2


def test_neighbours_in_a_metric_that_separates_the_classes():
    z, y = striped(60, 0)
    train = striped(200, 1)
    stretched = View(same, lambda p: torch.diag(p.new_tensor([100.0, 1.0])).expand(*p.shape, 2), sides)
    found = neighbour_agreement(stretched, z, y, *train, seeded())
    assert found.geodesic.value > found.euclidean.value + 0.05 and found.gain.p < 0.01
    assert found.gain.value == pytest.approx(found.geodesic.value - found.euclidean.value)
    assert found.converged == 1 and found.geodesic.n == 40
    flat = neighbour_agreement(View(same, Euclidean(2), sides), z, y, *train, seeded())
    assert flat.gain.value == 0 and flat.shared.value == 1
    with pytest.raises(ValueError, match="at least 5 samples, got 4"):
        neighbour_agreement(stretched, z, y, train[0][:4], train[1][:4], seeded())


def ring(count, seed):
    angle = 2 * math.pi * torch.rand(count, generator=seeded(seed), dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], dim=-1) + 0.05 * normal(count, 2, seed=seed)


def test_geodesics_keep_to_the_data_in_a_metric_that_is_small_there():
    z, train = ring(40, 0), ring(300, 1)
    y = (z[:, 0] < 0).long()
    along = Conformal(lambda p: 4 * ((p.square().sum(-1) + 1e-2).sqrt() - 1).square(), Euclidean(2))
    found = interpolations(View(same, along, sides), z, y, train, seeded())
    assert (y[found.pairs[:, 0]] != y[found.pairs[:, 1]]).all() and len(found.pairs) == 24
    assert found.geodesic.nearest.mean() < 0.7 * found.straight.nearest.mean()
    assert (found.geodesic.energy <= found.straight.energy).all() and found.converged.all()
    for lines in (found.geodesic, found.straight):
        torch.testing.assert_close(lines.start + lines.end, torch.ones(24, 17).double())
        torch.testing.assert_close(lines.points[:, [0, -1]], z[found.pairs])
        assert (lines.other < 1e-12).all()
    torch.testing.assert_close(found.log_volume, 2 * along.log_scale(found.geodesic.points))
    with pytest.raises(ValueError, match="two classes"):
        interpolations(View(same, along, sides), z, 0 * y, train, seeded())


# Layers


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_layers_whose_metrics_are_one_tensor_agree(scale):
    net, x = network(), normal(6, 3)
    first, second = net.layers
    pulled = PulledBackMetric(second.metric, [second.coordinates])
    first.metric = PulledBackMetric(lambda z: pulled(z) / scale, [])
    found = layer_discrepancy(net, x)
    torch.testing.assert_close(found.consecutive, torch.full((1, 6), scale - 1).double(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.overall, found.consecutive)
    spectrum = torch.linalg.eigvalsh(net.global_metric()(x))
    torch.testing.assert_close(found.condition, (spectrum[:, -1] / spectrum[:, 0]).detach())
    torch.testing.assert_close(found.log_volume, spectrum.log().sum(-1).detach() / 2)


# All together


def asked(net, count=30, weight=0.1, **settings):
    x, train_x = normal(count, net.n), normal(80, net.n, seed=1)
    labels = [net(part)[0].argmax(1) for part in (x, train_x)]
    return interpret(net, x, labels[0], train_x, labels[1], seeded(), weight=weight, **settings)


def test_values_are_flat_json_with_intervals_around_them():
    values = asked(network()).values
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert all(isinstance(value, int | float | str | list) for value in values.values())
    intervals = [name.removesuffix("_low") for name in values if name.endswith("_low")]
    assert len(intervals) > 15
    for name in intervals:
        assert values[f"{name}_low"] <= values[name] <= values[f"{name}_high"] and values[f"{name}_n"] >= 1
    assert values["accuracy"] == 1 and values["discrepancy_layers_0_1"] > 0
    assert len(values["flat_samples"]) == len(values["flat_labels"]) == 3


def test_the_same_seed_finds_the_same_and_leaves_the_global_generator_alone():
    net = network()
    before = torch.random.get_rng_state()
    assert asked(net).values == asked(net).values
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_layer_and_one_class_leave_questions_out():
    net = network(depth=1)
    x, train_x = normal(20, 3), normal(80, 3, seed=1)
    nothing = torch.zeros(20).long(), torch.zeros(80).long()
    found = interpret(net, x, nothing[0], train_x, nothing[1], seeded(), weight=0.1)
    assert found.interpolations is None and found.layers.consecutive.shape == (0, 20)
    assert not any(name.startswith(("paths", "discrepancy")) for name in found.values)
    assert "none of 3 tests" in found.values["verdict"]


def test_samples_that_are_many_or_twice_there():
    net = network()
    x, y = normal(600, 3), torch.arange(600) % 3
    found = interpret(net, x, y, x.repeat(2, 1)[:900], y.repeat(2)[:900], seeded(), weight=0.1)
    assert found.values["samples"] == 500 and found.values["train_samples"] == 600
    rows = torch.tensor(found.values["flat_samples"])
    assert len(rows) == 50 and torch.equal(y[rows], torch.tensor(found.values["flat_labels"]))
    curvature = net(x[rows])[1][-1].curvature.abs()
    assert curvature.max().item() == pytest.approx(found.values["flat_below"])


def test_wrong_questions():
    net, x, y = network(), normal(12, 3), torch.arange(12) % 3
    for change, message in (
        ({"x": x[:9], "y": y[:9]}, "x must hold at least 10 samples"),
        ({"y": y[:5]}, r"got 12 and labels \(5,\)"),
        ({"train_x": x[:4], "train_y": y[:4]}, "train_x must hold at least 5"),
        ({"carrier": 2}, "carrier must be one of the 2 layers"),
        ({"network": NDM(3, head=1).double()}, "at least 2 classes apart"),
    ):
        arguments = {"network": net, "x": x, "y": y, "train_x": x, "train_y": y, "generator": seeded()} | change
        with pytest.raises(ValueError, match=message):
            interpret(**arguments, weight=0.1)


# What is said


PLAIN = {
    "geometric_weight": 0.1,
    "curvature_mean": 1.0,
    "curvature_sd": 0.5,
    "flat_rank_noise_0.01": 0.99,
    "flat_rank_noise_0.1": 0.95,
    "flat_rank_noise_0.3": 0.4,
    "boundary_curvature_rank": -0.4,
    "boundary_curvature_rank_p": 0.5,
    "boundary_curvature_rank_n": 50,
    "paths_length_ratio": 0.9,
}


@pytest.mark.parametrize(
    ("change", "said", "unsaid"),
    [
        ({}, ["Curvature varies (1 +- 0.5)", "10.0% shorter", "none of 1 tests", "input noise of 10%"], ["untrained"]),
        ({"geometric_weight": 0.0}, ["The metric is untrained"], []),
        ({"curvature_sd": 0.01}, ["nearly constant (1 +- 0.01)"], ["varies"]),
        ({"paths_length_ratio": 0.99995}, ["straight lines but for 5e-05"], ["shorter"]),
        ({"boundary_curvature_rank_p": 0.001}, ["|R| falls with the margin (rank correlation -0.40"], ["none"]),
        ({"boundary_curvature_rank_p": 0.02}, ["none of 1 tests"], ["falls"]),
        ({"boundary_curvature_rank": 0.05, "boundary_curvature_rank_p": 0.001}, ["none of 1 tests"], ["grows"]),
        ({"flat_rank_noise_0.01": 0.2, "flat_rank_noise_0.1": 0.1}, ["does not survive input noise of 1%"], []),
    ],
)
def test_verdict_follows_the_numbers(change, said, unsaid):
    text = verdict(PLAIN | change)
    assert all(clause in text for clause in said) and not any(clause in text for clause in unsaid)
    assert text[0].isupper() and text.endswith(".")


def test_verdict_on_a_metric_that_separates_the_classes():
    """The whole chain: a metric built to know the boundary is found to."""
    net = NDM(2, head=2, depth=1).double()
    net.layers[0].metric = Knowing()
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        net.head.bias.zero_()
    text = asked(net, 60).values["verdict"]
    assert "|R| falls with the margin (rank correlation -1.00" in text and "volume grows with the margin" in text
