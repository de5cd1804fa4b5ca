import pytest
import torch

from ndm_apps.engine import GeometricLoss
from ndm_apps.plugins.continual import ShiftDetector
from ndm_apps.plugins.continual.resident import experiences
from ndm_apps.plugins.continual.trained import TrainedNDMStrategy
from ndm_apps.plugins.continual.trained.coordinates import Coordinates
from tests.plugins.continual.blobs import blobs

from avalanche.core import SupervisedPlugin  # isort: skip
from avalanche.evaluation.metrics import accuracy_metrics  # isort: skip
from avalanche.training.plugins import EvaluationPlugin  # isort: skip

SILENT = EvaluationPlugin(loggers=[])
TASKS = [blobs([a, a + 1], 300, seed=a) for a in (0, 2, 4)]
TEST = [torch.cat(column) for column in zip(*(blobs([a, a + 1], 300, seed=100 + a) for a in (0, 2, 4)), strict=True)]

LARGE_NATURAL_STEPS = {"optimizer": "natural", "learning_rate": 0.5, "damping": 0.1}


def strategy(watched=True, **settings):
    detector = ShiftDetector(8, warmup=64, arm_samples=30, arm_scores=30, burn_in=64) if watched else None
    return TrainedNDMStrategy(features=10, classes=6, detector=detector, evaluator=SILENT, **settings)


def trained(learner, tasks=TASKS):
    learner.train(experiences("train", tasks), eval_streams=[], shuffle=False)
    return learner


def accuracy(learner):
    return float((learner.model(TEST[0]).argmax(1) == TEST[1]).float().mean())


@pytest.mark.parametrize("settings", [{}, {"structure": "diagonal"}, LARGE_NATURAL_STEPS])
def test_growing_charts_keeps_what_one_network_forgets(settings):
    with_charts = trained(strategy(**settings))
    assert with_charts.charts == 3 and accuracy(with_charts) > 0.9
    one = trained(strategy(watched=False, **settings))
    assert one.charts == 1 and not one.alarms and accuracy(one) < accuracy(with_charts) - 0.1


def test_old_charts_are_frozen_to_the_bit():
    learner = trained(strategy(), TASKS[:2])
    before = [parameter.clone() for parameter in learner.model.charts.networks["0"].parameters()]
    trained(learner, TASKS[2:])
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.charts.networks["0"].parameters(), strict=True))


def test_geometric_loss_falls_when_it_is_weighted():
    def geometric_loss(learner):
        with torch.no_grad():
            return GeometricLoss()(learner.model.charts.newest[1](learner.model.front(TASKS[2][0]))[1]).total

    free, flat = (trained(strategy(geometric=weight)) for weight in (0.0, 1.0))
    assert geometric_loss(flat) < 0.1 * geometric_loss(free)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "natural", "learning_rate": 0.3}, {"watched": False}])
def test_state_round_trip_is_exact(settings):
    whole, first, second = (strategy(**settings, steps=2) for _ in range(3))
    trained(whole)
    trained(first, TASKS[:2])
    second.load_state_dict(first.state_dict())
    trained(second, TASKS[2:])
    assert torch.equal(second.model(TEST[0]), whole.model(TEST[0])) and second.alarms == whole.alarms


@pytest.mark.parametrize("settings", [{}, {"optimizer": "natural", "learning_rate": 0.1, "bounded": True}])
@pytest.mark.parametrize("compatibility", [0.0, 1.0])
def test_everything_stays_finite_over_the_whole_stream(settings, compatibility):
    learner = trained(strategy(steps=2, points=4, compatibility=compatibility, **settings), [*TASKS, TASKS[0]])
    assert all(parameter.isfinite().all() for parameter in learner.model.parameters())
    assert learner.model(TEST[0]).logsumexp(1).abs().max() < 1e-5  # log-probabilities


def test_networks_are_mixed_by_the_densities_of_their_charts_over_the_labels_they_know():
    learner = trained(strategy(steps=2), TASKS[:2])
    x, (z, detector) = TEST[0], (learner.model.front(TEST[0]), learner.detector)
    energies = torch.stack([chart.energy(detector.embed(x)[0]) for chart in detector.atlas.charts], 1)
    p = torch.zeros(len(x), 6)
    for weight, chart in zip((-energies).softmax(1).T, detector.atlas.charts, strict=True):
        logits = learner.model.charts.networks[str(chart.identity)](z)[0][:, chart.labels]
        p[:, chart.labels] += weight[:, None].float() * logits.softmax(1)
    torch.testing.assert_close(learner.model(x).exp(), p)
    assert learner.charts == 2 and not p[:, 4:].any()  # labels that have not come yet
    assert torch.equal(learner.model.route(x), energies.argmin(1))


def test_a_network_goes_on_in_the_chart_that_took_its_samples_over():
    charts = strategy().model.charts
    first = charts.newest[1]
    charts.follow([0, 1], [])
    second = charts.newest[1]
    assert second is not first and not any(p.requires_grad for p in first.parameters())
    charts.follow([0], [(1, 0)])
    assert charts.newest == (0, second) and all(p.requires_grad for p in second.parameters())
    charts.follow([0, 2, 3], [])
    charts.follow([0, 2], [(3, 0)])  # not the chart it was copied in
    assert list(charts.networks) == ["0", "2"] and charts.networks["0"] is second


def test_a_label_out_of_range_is_refused_and_nothing_learnt():
    learner = trained(strategy(), TASKS[:1])
    before = [parameter.clone() for parameter in learner.model.parameters()]
    with pytest.raises(ValueError, match="got label 6"):
        trained(learner, [(torch.zeros(2, 10), torch.tensor([0, 6]))])
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
    assert learner.detector.samples_seen == 300


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("asked", [True, False], ids=["predicting", "not predicting"])
@pytest.mark.parametrize("before", [1, 10])  # mini-batches: coordinates are fixed after 2 with a detector, 10 without
def test_a_bad_mini_batch_leaves_no_trace(watched, asked, before):
    x, y = TASKS[0]
    first = (x[: 32 * before], y[: 32 * before])
    with_it, without = strategy(watched, steps=1), strategy(watched, steps=1)
    for learner in (with_it, without):
        if asked:
            learner.plugins.insert(0, SupervisedPlugin())
        trained(learner, [first])
    for spoilt in (torch.nan * x[:8], x[:8, :5], *([1e30 * x[:8]] if watched else [])):
        with pytest.raises(ValueError, match="x: "):
            trained(with_it, [(spoilt, y[:8])])
    for learner in (with_it, without):
        trained(learner, TASKS[1:2])
    assert torch.equal(with_it.model(TEST[0]), without.model(TEST[0])) and with_it.alarms == without.alarms


def test_coordinates_are_principal_and_have_one_scale():
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(50, 20, generator=noise, dtype=torch.float64) @ torch.randn(20, 20, generator=noise).double()
    coordinates = Coordinates(5, samples=50)
    coordinates.fit(x)
    z = coordinates(x)
    values = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)[:5]
    torch.testing.assert_close(torch.cov(z.T), torch.diag(values / values.mean()) * 50 / 49)
    wide = Coordinates(20, samples=50)
    wide.fit(x)
    torch.testing.assert_close(torch.pdist(wide(x)) * wide.scale, torch.pdist(x))
    few = Coordinates(5, samples=50)
    few.fit(x[:3])  # span a plane
    assert few(x).shape == (50, 5) and not few(x)[:, 3:].any()


def test_avalanche_metrics_on_a_stream_that_recurs():
    learner = strategy()
    learner.evaluator = EvaluationPlugin(accuracy_metrics(epoch=True), loggers=[])
    learner.plugins = [learner.evaluator if plugin is SILENT else plugin for plugin in learner.plugins]
    shown = learner.train(experiences("train", [*TASKS, TASKS[0]]), eval_streams=[], shuffle=False)
    (last,) = [value for name, value in shown.items() if "Top1_Acc_Epoch" in name]
    assert last > 0.9  # the old chart's network still knows its classes


def test_a_chart_given_up_takes_its_network_along():
    learner = strategy()
    x, y = TASKS[0]
    outliers = (torch.full((8, 10), 30.0), torch.zeros(8, dtype=torch.long))
    trained(learner, [(x, y), outliers, blobs([0, 1], 300, seed=7)])
    assert learner.alarms and learner.charts == len(learner.detector.atlas.charts) == 1
    assert all(parameter.requires_grad for parameter in learner.model.charts.networks["0"].parameters())
