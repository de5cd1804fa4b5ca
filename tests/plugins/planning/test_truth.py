"""The equations of environments: they step as the environments do, and their derivatives are exact."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.formulas import wrapped
from ndm_apps.plugins.planning.problem_of import action_of, open_environment, problem_of, state_of
from ndm_apps.plugins.planning.truth import truth_of
from ndm_apps.tasks import load_task

TASKS = ["pendulum", "mountain_car", "cartpole", "swing_up", "acrobot", "double_integrator", "maze_medium", "arm"]
CURRENTS = ["zermelo_wind", "zermelo_shear"]


def opened(name):
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    return task, env, truth_of(task, env)


@pytest.mark.parametrize("name", TASKS + CURRENTS)
def test_the_equations_step_as_the_environment_does(name):
    task, env, truth = opened(name)
    state, action = state_of(task, env), action_of(task, env)
    rng = np.random.default_rng(1000)
    seen = 0
    for seed in range(1000, 1004):
        observation, _ = env.reset(seed=seed)
        problem = problem_of(task, env, observation)
        for _ in range(100):
            x = state(observation)
            u = rng.uniform(problem.low, problem.high) if problem.levels is None else rng.choice(problem.levels)
            if task.controls.bound == "ball":
                u /= max(1.0, np.linalg.norm(u))
            observation, _, terminated, truncated, _ = env.step(action(u))
            gap = truth.step(x, u) - state(observation)
            gap[list(truth.angles)] = wrapped(gap[list(truth.angles)])
            # Observations have single precision, which walls amplify to where a move is stopped.
            assert np.abs(gap).max() < 3e-6 * (1 + np.abs(x).max())
            seen += 1
            if terminated or truncated:
                break
    assert seen > 30


@pytest.mark.parametrize("name", [*TASKS[:6], *CURRENTS])
def test_derivatives_are_those_of_finite_differences(name):
    task, _, truth = opened(name)
    box = np.array(task.bounds) / 2
    x = np.random.default_rng(1001).uniform(box[:, 0], box[:, 1], (20, truth.states))
    f, a, b = truth.linearised(x)
    none = np.zeros((20, truth.controls))
    np.testing.assert_allclose(f, truth.smooth(x, none), atol=1e-14)
    h = 1e-6
    by_state = [(truth.smooth(x + h * e, none) - truth.smooth(x - h * e, none)) / (2 * h) for e in np.eye(truth.states)]
    np.testing.assert_allclose(a, np.stack(by_state, -1), rtol=1e-6, atol=1e-6)
    by_control = [
        (truth.smooth(x, none + h * e) - truth.smooth(x, none - h * e)) / (2 * h) for e in np.eye(truth.controls)
    ]
    np.testing.assert_allclose(b, np.stack(by_control, -1), rtol=1e-6, atol=1e-8)
    for whole, part in zip((f, b), truth.affine(x), strict=True):
        np.testing.assert_array_equal(whole, part)


@pytest.mark.parametrize("name", ["pendulum", "mountain_car", "cartpole", "swing_up", "double_integrator"])
def test_steps_are_affine_in_the_control_where_nothing_is_clipped(name):
    task, _, truth = opened(name)
    x = np.array([np.mean(bounds) + 0.1 * np.ptp(bounds) for bounds in task.bounds])
    f, b = truth.affine(x)
    np.testing.assert_allclose(truth.smooth(x, np.array([0.7])), f + b @ [0.7], atol=1e-12)


def test_batches_are_stacks_of_single_states():
    _, _, truth = opened("swing_up")
    x = np.random.default_rng(3).normal(size=(2, 3, 4))
    for whole, single in zip(truth.linearised(x), truth.linearised(x[1, 2]), strict=True):
        np.testing.assert_allclose(whole[1, 2], single)
    assert truth.spread(x).shape == x.shape and not truth.spread(x).any()


def test_what_is_not_known_is_refused():
    task = load_task("planning/pendulum")[1]
    env = open_environment(task)
    other = task.environment.model_copy(update={"id": "Ant-v5"})
    with pytest.raises(ValueError, match=r"model: got 'known'.*Ant-v5 are not known .*must be 'learned'"):
        truth_of(task.model_copy(update={"environment": other}), env)
    heavier = task.environment.model_copy(update={"kwargs": {"g": 5.0}})
    with pytest.raises(ValueError, match=r"environment.kwargs may change the equations"):
        truth_of(task.model_copy(update={"environment": heavier}), env)
