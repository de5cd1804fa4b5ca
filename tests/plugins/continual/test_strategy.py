import pytest
import torch

from ndm_apps.plugins.continual import NDMClassifier, NDMStrategy, ShiftDetector
from ndm_apps.plugins.continual.immersion.lift import RandomLift
from ndm_apps.plugins.continual.resident import experiences, online_experience
from tests.plugins.continual.blobs import blobs

from avalanche.core import SupervisedPlugin  # isort: skip
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics  # isort: skip
from avalanche.training.plugins import EvaluationPlugin  # isort: skip

TASKS = [blobs([a, a + 1], seed=a) for a in (0, 2, 4)]
TESTS = [blobs([a, a + 1], seed=100 + a) for a in (0, 2, 4)]


def strategy(**settings):
    return NDMStrategy(
        immersion=RandomLift(50), evaluator=EvaluationPlugin(accuracy_metrics(experience=True)), **settings
    )


def accuracies(learner):
    return [value for name, value in learner.eval(experiences("test", TESTS)).items() if "Acc_Exp" in name]


def test_nothing_is_forgotten_and_order_does_not_matter():
    forward, backward = strategy(), strategy()
    # The immersion is fitted on the first mini-batch: start both with the same one.
    start = (TASKS[0][0][:32], TASKS[0][1][:32])
    for learner, tasks in ((forward, TASKS), (backward, TASKS[::-1])):
        for task in [start, *tasks]:
            learner.train(experiences("train", [task]), eval_streams=[], shuffle=False)
    assert min(accuracies(forward)) > 0.95
    x = torch.cat([x for x, _ in TESTS])
    torch.testing.assert_close(forward.model(x), backward.model(x), rtol=1e-3, atol=1e-3)


def test_boundaries_are_not_used():
    whole, chunked = strategy(), strategy()
    whole.train(experiences("train", TASKS), eval_streams=[], shuffle=False)
    x, y = (torch.cat(column) for column in zip(*TASKS, strict=True))
    for number in range(0, len(x), 32):
        here = slice(number, number + 32)
        chunked.train(online_experience(x[here], y[here], number), eval_streams=[])
    torch.testing.assert_close(whole.model(x), chunked.model(x), rtol=1e-3, atol=1e-3)


def test_charts_grow_with_the_distributions():
    learner = strategy(detector=ShiftDetector(8, arm_samples=30, arm_scores=30, burn_in=64))
    learner.train(experiences("train", TASKS), eval_streams=[], shuffle=False)
    assert [alarm // 400 for alarm in learner.alarms] == [1, 2]
    assert learner.charts == 3


def test_detector_does_not_change_what_is_learnt():
    plain, watching = strategy(), strategy(detector=ShiftDetector(8, warmup=64))
    for learner in (plain, watching):
        learner.train(experiences("train", TASKS), eval_streams=[], shuffle=False)
    assert torch.equal(plain.model(TESTS[0][0]), watching.model(TESTS[0][0]))


def test_avalanche_metrics_and_plugins_keep_working():
    class Counter(SupervisedPlugin):
        calls: dict = {}  # noqa: RUF012

        def before_training_iteration(self, strategy, **kwargs):
            self.calls["iteration"] = self.calls.get("iteration", 0) + 1

        def after_forward(self, strategy, **kwargs):
            assert strategy.mb_output.shape[0] == len(strategy.mb_y)
            self.calls["forward"] = self.calls.get("forward", 0) + 1

    metrics = EvaluationPlugin(accuracy_metrics(epoch=True, experience=True), loss_metrics(epoch=True, experience=True))
    learner = NDMStrategy(immersion=RandomLift(20), train_mb_size=50, evaluator=metrics, plugins=[Counter()])
    shown = learner.train(experiences("train", TASKS), eval_streams=[], shuffle=False)
    assert any("Top1_Acc_Epoch" in name and value > 0.5 for name, value in shown.items())
    assert Counter.calls == {"iteration": 24, "forward": 24}
    assert all(value > 0.95 for name, value in learner.eval(experiences("test", TESTS)).items() if "Acc_Exp" in name)


def test_state_round_trip_is_exact():
    whole, first, second = (strategy(detector=ShiftDetector(8, warmup=64)) for _ in range(3))
    whole.train(experiences("train", TASKS), eval_streams=[], shuffle=False)
    first.train(experiences("train", TASKS[:1]), eval_streams=[], shuffle=False)
    second.load_state_dict(first.state_dict())
    second.train(experiences("train", TASKS[1:]), eval_streams=[], shuffle=False)
    assert torch.equal(second.model(TESTS[0][0]), whole.model(TESTS[0][0]))
    assert second.alarms == whole.alarms


X, Y = TASKS[1]
SPOILT = X.clone()
SPOILT[5, 3] = torch.nan
BAD = {
    "not finite": (SPOILT, Y, "sample 5 of the mini-batch is not finite"),
    "too large": (1e30 * X, Y, "too large|small enough"),
    "another size": (X[:, :5], Y, r"x: got samples of shape \(5,\), earlier ones had \(10,\)"),
    "bytes": (X.byte(), Y, "x: got torch.uint8 of shape"),
    "negative label": (X, Y - 3, "y: got label -1, labels must be at least 0"),
    "unknown label": (X, Y + 3, "y: got label 6, labels must be below 6"),
    "float label": (X, Y.float(), r"y: got torch.float32 of shape \(32,\), must be integer labels"),
}


@pytest.mark.parametrize("asked", [True, False], ids=["predicting", "not predicting"])
@pytest.mark.parametrize("domains", [None, 1, 4])
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mini_batch_is_refused_and_leaves_no_trace(kind, domains, asked):
    x, y, message = BAD[kind]
    detector = {"warmup": 64, "arm_samples": 20, "arm_scores": 20, "burn_in": 90}

    def make():
        watched = {} if domains is None else {"detector": ShiftDetector(8, **detector), "domains": domains}
        metrics = EvaluationPlugin(accuracy_metrics(minibatch=asked, experience=True), loggers=[])
        return NDMStrategy(immersion=RandomLift(50), evaluator=metrics, classes=6, **watched)

    with_it, without = make(), make()
    for part in TASKS[:2]:
        for learner in (with_it, without):
            learner.train(experiences("train", [part]), eval_streams=[], shuffle=False)
        with pytest.raises(ValueError, match=message):
            with_it.train(online_experience(x[:32], y[:32], 0), eval_streams=[], shuffle=False)
    assert torch.equal(with_it.model(TESTS[0][0]), without.model(TESTS[0][0]))
    assert with_it.alarms == without.alarms
    assert domains is None or with_it.detector.samples_seen == without.detector.samples_seen == 800


def test_what_is_refused_does_not_wait_for_the_immersion():
    learner = NDMClassifier(RandomLift(10, samples=500))
    learner.learn(*TASKS[0])
    for x, y, message in BAD.values():
        if message not in (BAD["too large"][2], BAD["unknown label"][2]):
            with pytest.raises(ValueError, match=message):
                learner.learn(x[:32], y[:32])
    assert learner.front.waiting == 400
    learner.learn(*TASKS[1])
    assert learner.readouts.shared.counts.sum() == 800


def test_nothing_fades_for_samples_that_are_refused():
    learner = NDMClassifier(RandomLift(10), half_life=10.0)
    learner.learn(*TASKS[0])
    before = learner.readouts.home.counts.clone()
    with pytest.raises(ValueError, match="small enough"):
        learner.learn(1e30 * X, Y)
    assert torch.equal(learner.readouts.home.counts, before)


def test_an_empty_experience_changes_nothing():
    for make in (strategy, watching):
        plain, with_empty = make(), make()
        plain.train(experiences("train", TASKS[:1]), eval_streams=[], shuffle=False)
        with_empty.train(
            experiences("train", [(X[:0], Y[:0]), TASKS[0], (X[:0], Y[:0])]), eval_streams=[], shuffle=False
        )
        assert torch.equal(with_empty.model(TESTS[0][0]), plain.model(TESTS[0][0]))


def test_frozen_model_gives_the_same_logits_and_exports():
    learner = NDMClassifier(RandomLift(10))
    learner.learn(*TASKS[0])
    x = TESTS[0][0][:4]
    torch.testing.assert_close(learner.frozen()(x), learner(x))
    program = torch.export.export(learner.frozen(), (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(program.module()(TESTS[0][0]), learner(TESTS[0][0]))


def test_batch_of_one_and_unseen_labels():
    learner = strategy()
    learner.train(experiences("train", [(TASKS[0][0][:32], TASKS[0][1][:32])]), eval_streams=[])
    learner.train(online_experience(TASKS[0][0][:1], TASKS[0][1][:1], 1), eval_streams=[])
    assert accuracies(learner)[2] == 0.0


def test_evaluation_before_any_training_and_between_experiences():
    learner = strategy(eval_every=1)
    learner.train(experiences("train", TASKS[:2]), eval_streams=[experiences("test", TESTS)])
    assert min(accuracies(learner)[:2]) > 0.95
    assert max(accuracies(strategy())) < 0.6  # nothing learnt: every sample is taken for class 0


def domains():
    """Return one distribution, then the same with its features in another order, and test sets of both."""
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    arrays = [blobs([0, 1, 2], seed=seed) for seed in (0, 1, 2, 3)]
    return [(x[:, order] if number % 2 else x, y) for number, (x, y) in enumerate(arrays)]


def watching():
    detector = ShiftDetector(8, warmup=64, arm_samples=20, arm_scores=20, burn_in=90)
    return strategy(detector=detector, domains=4)


def test_domains_are_learnt_apart_and_resumed_bit_for_bit():
    first, second, *tests = domains()
    whole = watching()
    pieces = list(zip(*(torch.cat(column).split(32) for column in zip(first, second, strict=True)), strict=True))
    halves = [watching() for _ in range(3)]
    for number, (x, y) in enumerate(pieces):
        for learner in (whole, halves[0] if number < 4 else halves[1] if number < len(pieces) * 3 // 4 else halves[2]):
            learner.train(online_experience(x, y, number), eval_streams=[], shuffle=False)
        if number == 3:
            halves[1].load_state_dict(halves[0].state_dict())
        if number == len(pieces) * 3 // 4 - 1:
            halves[2].load_state_dict(halves[1].state_dict())
    assert len(whole.alarms) == 1 and whole.model.readouts.domains.numbers == [0, 1]
    assert halves[2].alarms == whole.alarms and whole.frozen() is None
    for x, y in tests:
        assert torch.equal(halves[2].model(x), whole.model(x))
        assert (whole.model(x).argmax(1) == y).double().mean() > 0.95


def test_one_domain_fades_several_do_not():
    with pytest.raises(ValueError, match="half_life must be None with 4 domains, got 100"):
        strategy(domains=4, half_life=100.0)
