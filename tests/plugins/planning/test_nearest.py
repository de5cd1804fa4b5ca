"""Goals of an arm that reaches one place in two postures."""

from dataclasses import replace

import numpy as np
import pytest

from ndm_apps.plugins.planning.nearest import NearestGoal, goals_of
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from tests.plugins.planning import models

STEP = 0.1
#: Joint angles, then their rates; torques turn the joints of an arm of two links of length 1.
ARM = models.Linear(
    np.block([[np.eye(2), STEP * np.eye(2)], [np.zeros((2, 2)), np.eye(2)]]),
    np.concatenate([STEP**2 / 2 * np.eye(2), STEP * np.eye(2)]),
    angles=(0, 1),
)
TIP = np.array([0.5, 0.8])


def tip(x):
    first, both = x[..., 0], x[..., 0] + x[..., 1]
    return np.stack([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both)], axis=-1)


def jacobian(x):
    first, both = x[..., 0], x[..., 0] + x[..., 1]
    turn = np.stack([np.stack([-np.sin(first), np.cos(first)], -1), np.stack([-np.sin(both), np.cos(both)], -1)], -1)
    slope = np.zeros((*x.shape[:-1], 4, 4))
    slope[..., :2, 0], slope[..., :2, 1] = turn.sum(-1), turn[..., 1]
    slope[..., 2, 2] = slope[..., 3, 3] = 0.1
    return slope


def postures():
    """Return both by the law of cosines, (2, 4)."""
    bend = np.arccos((TIP @ TIP - 2) / 2) * np.array([1.0, -1.0])
    first = np.arctan2(TIP[1], TIP[0]) - np.arctan2(np.sin(bend), 1 + np.cos(bend))
    return np.stack([first, bend, np.zeros(2), np.zeros(2)], axis=-1)


@pytest.fixture(scope="module")
def problem():
    box = np.array([[-np.pi, np.pi]] * 2 + [[-5.0, 5.0]] * 2)
    return replace(
        models.problem(goal=(0.0, 0.0, 0.0, 0.0), weights=(1.0, 1.0, 1.0, 1.0), horizon=60),
        residual=lambda x: np.concatenate([tip(x) - TIP, 0.1 * x[..., 2:]], axis=-1),
        residual_jacobian=jacobian,
        control_cost=0.01 * np.eye(2),
        low=-2 * np.ones(2),
        high=2 * np.ones(2),
        goal=postures()[0],
        box=box,
        limits=np.array([[-np.inf, np.inf]] * 4),
    )


def test_both_postures_are_found(problem):
    found = goals_of(ARM, problem, np.random.default_rng(1000))
    np.testing.assert_array_equal(found[0], problem.goal)
    np.testing.assert_allclose(found, postures(), atol=2e-2)


@pytest.mark.parametrize("nearer", [0, 1])
def test_the_posture_that_is_cheaper_from_the_start_is_reached(problem, nearer):
    controller = NearestGoal(ARM, problem, PlannerSettings(), np.random.default_rng(1000))
    x = postures()[nearer] + [0.5, 0.3, 0.0, 0.0]
    controller.start(x)
    for _ in range(60):
        x = ARM.step(x, controller.control(x))
    np.testing.assert_allclose(x[:2], postures()[nearer, :2], atol=2e-2)
    assert not controller.chosen.planner.valued
