import numpy as np
import pytest

from ndm_apps.plugins.planning.metric import ActionMetric, fit_metric_net
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of
from ndm_apps.plugins.planning.truth import CART_POLE
from ndm_apps.tasks import load_task


@pytest.fixture(scope="module")
def metric() -> ActionMetric:
    task = load_task("planning/swing_up")[1]
    problem = problem_of(task, open_environment(task))
    return ActionMetric.around(CART_POLE, problem, states(problem, 500, 1000), eps=0.1)


def states(problem, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(problem.box[:, 0], problem.box[:, 1], (count, len(problem.box)))


def test_the_action_of_a_control_is_its_cost_as_eps_vanishes(metric):
    x = states(metric.problem, 5, 1001)
    sharp = ActionMetric(CART_POLE, metric.problem, 1.0, eps=1e-9)
    gain = CART_POLE.affine(x)[1][..., 0] / (np.ptp(metric.problem.box, axis=1) / 2)
    action = np.einsum("ni,nij,nj->n", gain, sharp(x), gain)
    np.testing.assert_allclose(action, metric.problem.control_cost[0, 0], rtol=1e-3)


def test_across_the_control_the_metric_is_one_over_eps(metric):
    values = np.linalg.eigvalsh(metric(states(metric.problem, 50, 1001)))
    np.testing.assert_allclose(values[:, 1:], 10.0)
    assert values[:, 0].min() > 0.5
    assert values[:, 0].max() < 2


def test_the_net_reproduces_the_closed_form(metric):
    learned = fit_metric_net(metric, states(metric.problem, 600, 1000), hidden=16, steps=60)
    x = states(metric.problem, 100, 1001)
    closed = metric(x)
    error = np.linalg.norm(learned(x) - closed, axis=(1, 2)) / np.linalg.norm(closed, axis=(1, 2))
    assert learned.error < 0.2
    assert error.mean() < 0.05


def test_the_error_tells_a_net_that_was_not_trained(metric):
    x = states(metric.problem, 200, 1000)
    assert fit_metric_net(metric, x, hidden=16, steps=1).error > 1
