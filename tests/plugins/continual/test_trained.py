import pytest
import torch

from ndm_apps.plugins.continual import ShiftDetector
from ndm_apps.plugins.continual.resident import experiences
from ndm_apps.plugins.continual.trained import TrainedNDMStrategy
from tests.plugins.continual.blobs import blobs

from avalanche.evaluation.metrics import accuracy_metrics  # isort: skip
from avalanche.training.plugins import EvaluationPlugin  # isort: skip

SILENT = EvaluationPlugin(loggers=[])
TASKS = [blobs([a, a + 1], 300, seed=a) for a in (0, 2, 4)]
TEST = [torch.cat(column) for column in zip(*(blobs([a, a + 1], 300, seed=100 + a) for a in (0, 2, 4)), strict=True)]


def strategy(arm_samples=30, **settings):
    torch.manual_seed(0)
    detector = ShiftDetector(8, arm_samples=arm_samples, arm_scores=30, burn_in=64)
    return TrainedNDMStrategy(features=10, classes=6, detector=detector, evaluator=SILENT, **settings)


def trained(learner, tasks=TASKS):
    learner.train(experiences("train", tasks), eval_streams=[], shuffle=False)
    return learner


def accuracy(learner):
    return float((learner.model(TEST[0]).argmax(1) == TEST[1]).float().mean())


@pytest.mark.parametrize("structure", ["conformal", "diagonal"])
def test_growing_charts_keeps_what_one_network_forgets(structure):
    with_charts = trained(strategy(structure=structure))
    assert with_charts.charts == 3 and accuracy(with_charts) > 0.9
    one = strategy(structure=structure, arm_samples=10_000)  # never armed, so it never raises an alarm
    assert trained(one).charts == 1 and accuracy(one) < accuracy(with_charts) - 0.1


def test_old_charts_are_frozen_to_the_bit():
    learner = trained(strategy(), TASKS[:2])
    before = [parameter.clone() for parameter in learner.model.networks[0].parameters()]
    trained(learner, TASKS[2:])
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.networks[0].parameters(), strict=True))


def test_geometric_loss_falls_when_it_is_weighted():
    def geometric_loss(learner):
        with torch.no_grad():
            return learner.geometric(learner.model.networks[-1](learner.model.scaling(TASKS[2][0]))[1]).total

    free, flat = (trained(strategy(geometric=weight)) for weight in (0.0, 1.0))
    assert geometric_loss(flat) < 0.1 * geometric_loss(free)


def test_state_round_trip_is_exact():
    whole, first, second = strategy(), strategy(), strategy()
    trained(whole)
    trained(first, TASKS[:2])
    second.load_state_dict(first.state_dict())
    trained(second, TASKS[2:])
    assert torch.equal(second.model(TEST[0]), whole.model(TEST[0])) and second.alarms == whole.alarms


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
    assert all(parameter.requires_grad for parameter in learner.model.networks[0].parameters())
