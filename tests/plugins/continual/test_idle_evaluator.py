"""An evaluator that is not asked in training must measure the same as one that is."""

import ndm_apps.torchvision_shim  # noqa: F401  isort: skip  (before anything that imports torchvision)

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics, loss_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive

from ndm_apps.plugins.continual import NDMStrategy
from ndm_apps.plugins.continual.baselines.naive import ResidentNaive
from ndm_apps.plugins.continual.baselines.networks import network
from ndm_apps.plugins.continual.resident import experiences

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 4
TESTS = [(X[:20], Y[:20]), (X[20:], Y[20:])]


class EvaluateInTheMidst(SupervisedPlugin):
    """Evaluate in training, after every epoch, as a user's plugin may."""

    def __init__(self, tests):
        super().__init__()
        self.tests, self.found = tests, []

    def after_training_epoch(self, strategy, **kwargs):
        mode = strategy._save_train_state()
        self.found.append(strategy.eval(self.tests))
        strategy._load_train_state(mode)


def trained(kind, metrics, **options):
    torch.manual_seed(0)
    model = network((3,), (8,), 4)
    tests = experiences("test", TESTS)
    midst = EvaluateInTheMidst(tests)
    asked = []
    evaluator = EvaluationPlugin(*metrics(), collect_all=True)
    original = evaluator._update_metrics_and_loggers
    evaluator._update_metrics_and_loggers = lambda strategy, hook: (asked.append(hook), original(strategy, hook))[1]
    strategy = kind(
        model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), train_mb_size=8, train_epochs=2,
        evaluator=evaluator, plugins=[midst], **options,
    )  # fmt: skip
    for experience in experiences("train", [(X, Y), (X + 1, Y)]):
        strategy.train(experience, eval_streams=[tests], shuffle=False)
        midst.found.append(strategy.eval(tests))
    return strategy, midst.found, evaluator.get_all_metrics(), asked


@pytest.mark.parametrize("eval_every", [-1, 0, 1])
@pytest.mark.parametrize(
    ("metrics", "idles"),
    [
        (lambda: [accuracy_metrics(experience=True)], True),
        (lambda: [accuracy_metrics(experience=True, stream=True), loss_metrics(experience=True)], True),
        (lambda: [accuracy_metrics(trained_experience=True)], False),
        (lambda: [accuracy_metrics(minibatch=True, experience=True)], False),
        (lambda: [forgetting_metrics(experience=True)], False),
        (list, True),
    ],
)
def test_the_same_metrics_and_weights_as_avalanche(metrics, idles, eval_every):
    ours, theirs = (trained(kind, metrics, eval_every=eval_every) for kind in (ResidentNaive, Naive))
    assert ours[1] == theirs[1] and ours[2] == theirs[2]
    for a, b in zip(ours[0].model.parameters(), theirs[0].model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert ("before_training_iteration" in ours[3]) is not idles
    assert "before_training_iteration" in theirs[3]
    assert ours[0].evaluator in ours[0].plugins


@pytest.mark.parametrize(
    ("metrics", "plugins", "asked"),
    [(dict(experience=True), [], False), (dict(minibatch=True), [], True), ({}, [SupervisedPlugin()], True)],
)
def test_nothing_is_predicted_in_training_for_nobody(metrics, plugins, asked, monkeypatch):
    learner = NDMStrategy(plugins=plugins, train_mb_size=8, evaluator=EvaluationPlugin(accuracy_metrics(**metrics)))
    predicted, forward = [], learner.forward
    monkeypatch.setattr(learner, "forward", lambda: (predicted.append(len(learner.mb_x)), forward())[1])
    learner.train(experiences("train", [(X, Y)]), eval_streams=[])
    assert sum(predicted) == (60 if asked else 0)
    learner.eval(experiences("test", TESTS))
    assert sum(predicted) == (120 if asked else 60)
