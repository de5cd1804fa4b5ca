"""From methods to controllers."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.methods import planning_on, starts_of
from ndm_apps.plugins.planning.nearest import NearestGoal
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of, state_of
from ndm_apps.plugins.planning.settings import METHODS, ModelBasedSettings
from ndm_apps.plugins.planning.truth import truth_of
from ndm_apps.tasks import load_task

TASK = load_task("planning/double_integrator")[1]


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if issubclass(kind, ModelBasedSettings)])
def test_every_planner_acts_within_bounds_and_repeats_from_its_seed(method):
    env = open_environment(TASK)
    problem, x = problem_of(TASK, env), np.array([1.0, -0.5])
    acted = []
    for _ in range(2):
        make = planning_on(truth_of(TASK, env), METHODS[method](), method, np.random.default_rng(1000), x[None])
        controller = make(problem)
        assert method != "ndm" or isinstance(controller, GeodesicController)
        controller.start(x)
        acted.append(controller.control(x))
    np.testing.assert_array_equal(*acted)
    assert acted[0].shape == (1,) and (problem.low <= acted[0]).all() and (acted[0] <= problem.high).all()


def test_a_sampling_planner_sees_further_with_the_value_at_its_end():
    env = open_environment(TASK)
    problem, x = problem_of(TASK, env), np.array([1.0, 0.0])
    pushes = []
    for terminal in ("none", "value"):
        settings = METHODS["cem"](planner={"horizon": 2, "terminal": terminal})
        make = planning_on(truth_of(TASK, env), settings, "cem", np.random.default_rng(1000), x[None])
        controller = make(problem)
        controller.start(x)
        pushes.append(abs(float(controller.control(x)[0])))
    assert pushes[1] > 2 * pushes[0]  # what two steps do to the place is next to nothing


def test_problems_that_differ_between_episodes_have_a_planner_without_a_value():
    env = open_environment(TASK)
    make = planning_on(truth_of(TASK, env), METHODS["ndm"](), "ndm", np.random.default_rng(1000), None)
    assert isinstance(make(problem_of(TASK, env)), NearestGoal)


def test_starts_are_those_of_the_environment_on_seeds_of_their_own():
    env = open_environment(TASK)
    starts = starts_of(TASK, env, np.random.default_rng(1000))
    assert starts.shape == (16, 2) and np.abs(starts).max() <= 1.0 and len(np.unique(starts, axis=0)) == 16
    evaluated = [state_of(TASK, env)(env.reset(seed=seed)[0]).tolist() for seed in range(20)]
    assert not any(start in evaluated for start in starts.tolist())
