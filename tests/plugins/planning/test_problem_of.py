"""From a task to environment, state, control and problem; and what does not fit is refused with its field."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from ndm_apps.plugins.planning.probe import probe
from ndm_apps.plugins.planning.problem_of import (
    action_of,
    clips_of,
    flattened,
    mirror_of,
    open_environment,
    problem_of,
    state_of,
)
from ndm_apps.plugins.planning.truth import truth_of
from ndm_apps.tasks import load_task
from tests.plugins.planning.test_schema import SHIPPED, edited

NEED_MUJOCO = {"reacher", "pointmaze_u", "pointmaze_medium", "pointmaze_large"}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_tasks_fit_their_environments(name):
    if name in NEED_MUJOCO:
        pytest.importorskip("gymnasium_robotics")
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    probe(task, env, np.random.default_rng(1000))
    observation, _ = env.reset(seed=1000)
    problem = problem_of(task, env, observation)
    assert problem.reached(problem.goal)
    x = np.random.default_rng(1).uniform(problem.box[:, 0], problem.box[:, 1], (7, len(problem.goal)))
    assert problem.residual(x).shape == (7, len(task.cost))
    measured = np.stack(
        [(problem.residual(x + h) - problem.residual(x - h)) / 2e-6 for h in 1e-6 * np.eye(x.shape[1])], -1
    )
    inside = np.abs(x).max(-1) < 3.1  # away from where angles jump
    np.testing.assert_allclose(problem.residual_jacobian(x)[inside], measured[inside], atol=1e-4)


@pytest.mark.parametrize("name", ["pendulum", "swing_up", "acrobot"])
def test_declared_mirrors_are_symmetries_of_the_environment(name):
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    truth = truth_of(task, env)
    columns, controls = mirror_of(task)
    rng = np.random.default_rng(1)
    x, u = rng.normal(size=(20, truth.states)), rng.normal(size=(20, truth.controls))
    np.testing.assert_allclose(truth.step(columns * x, controls * u), columns * truth.step(x, u), atol=1e-12)


def test_the_cost_is_the_reward():
    for name in ("pendulum", "swing_up", "double_integrator"):
        task = load_task(f"planning/{name}")[1]
        env = open_environment(task)
        observation, _ = env.reset(seed=1000)
        problem, rng = problem_of(task, env), np.random.default_rng(1000)
        for _ in range(30):
            x, u = state_of(task, env)(observation), rng.uniform(problem.low, problem.high)
            observation, reward, *_ = env.step(action_of(task, env)(u))
            cost = (problem.residual(x) ** 2).sum() + u @ problem.control_cost @ u
            assert -reward == pytest.approx(cost, rel=1e-5)


def test_discrete_actions_are_the_nearest_levels():
    task = load_task("planning/acrobot")[1]
    act = action_of(task, open_environment(task))
    assert [act(np.array([u])) for u in (-1.0, -0.6, 0.2, 0.9)] == [0, 0, 1, 2]


def test_continuous_actions_are_clipped_and_of_the_right_kind():
    task = load_task("planning/pendulum")[1]
    action = action_of(task, open_environment(task))(np.array([5.0]))
    assert action.dtype == np.float32 and action.tolist() == [2.0]
    maze = load_task("planning/maze_u")[1]
    assert np.linalg.norm(action_of(maze, open_environment(maze))(np.array([3.0, 4.0]))) == pytest.approx(1.0)


def test_goals_that_change_are_read_off_the_first_observation():
    task = load_task("planning/maze_u")[1]
    env = open_environment(task)
    first, second = (env.reset(seed=seed)[0] for seed in (1000, 1001))
    assert problem_of(task, env, first).goal.tolist() == first[2:].tolist() != second[2:].tolist()
    with pytest.raises(ValueError, match=r"observation: got None, must be the first of the episode, for gx, gy"):
        problem_of(task, env)
    with pytest.raises(
        ValueError, match=r"goal.state.x: gx is 90 in this episode, must be inside the box of x: \[1, 4\]"
    ):
        problem_of(task, env, np.array([1.0, 1.0, 90.0, 1.0]))


def test_clips_and_mirrors():
    task = load_task("planning/pendulum")[1]
    assert clips_of(task).tolist() == [[-np.inf, np.inf], [-8.0, 8.0]]
    assert mirror_of(load_task("planning/mountain_car")[1]) is None


class Odd(gymnasium.Env):
    """An environment that can be made to misbehave."""

    def __init__(self, observation=0.0, reward=0.0, ends=False, actions="box", start=0.0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = {
            "box": spaces.Box(-1.0, 1.0, (1,)),
            "two": spaces.Box(-1.0, 1.0, (2,)),
            "endless": spaces.Box(-np.inf, np.inf, (1,)),
            "many": spaces.MultiDiscrete([2, 2]),
            "discrete": spaces.Discrete(3),
        }[actions]
        self.given = float(observation), float(reward), ends, start

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([self.given[3]]), {}

    def step(self, action):
        observation, reward, ends, _ = self.given
        return np.array([observation]), reward, ends, False, {}


def odd(levels=None, **kwargs):
    return {
        "domain": "planning",
        "environment": {"entry_point": f"{__name__}:Odd", "steps": 10, "kwargs": kwargs},
        "state": {"x": "o0"},
        "box": {"x": [-1, 1]},
        "controls": {"names": ["u"], "cost": 1.0, "levels": levels},
        "cost": ["x"],
        "experience": 10,
        "goal": {"state": {"x": 0}, "reached": "x < 0.1"},
        "score": {"kind": "return", "success": "truncated"},
    }


def looked_at(content):
    task = load_task(content)[1]
    probe(task, open_environment(task), np.random.default_rng(0))


def test_an_environment_of_the_users_own_is_fine():
    looked_at(odd())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            edited(("environment", "id"), "Pendulm-v1"),
            r"environment.id: Gymnasium knows no 'Pendulm-v1'; did you mean 'Pendulum-v1'\?",
        ),
        (edited(("environment", "kwargs"), {"gee": 1}), r"environment.id: 'Pendulum-v1' cannot be made: .*gee"),
        (edited(("state", "theta"), "o7"), r"state: uses o7, but the observation has 3 entries"),
        (edited(("controls", "levels"), [[0], [1]]), r"controls.levels: got levels, but .* are continuous"),
        (
            edited(("environment",), {"entry_point": "nowhere:None_", "steps": 5}),
            r"entry_point: 'nowhere:None_' cannot be",
        ),
        (
            edited(("environment",), {"entry_point": "numpy:Missing", "steps": 5}),
            r"entry_point: 'numpy:Missing' cannot be",
        ),
        (odd(observation="nan"), r"state.x: o0 is not finite for the observation \[nan\]"),
        (odd(reward="inf"), r"environment: gives the reward inf"),
        (odd(ends=True), r"environment: each of 5 episodes ends at its first step"),
        (odd(start=3.0), r"box.x: got \[-1, 1\], but an episode starts at 3"),
        (odd(actions="two"), r"controls.names: got 1, but the environment's actions have shape \(2,\)"),
        (odd(actions="endless"), r"controls: the environment's actions are not bounded"),
        (odd(actions="many"), r"actions of kind MultiDiscrete, must be Box or Discrete"),
        (odd(actions="discrete"), r"controls.levels: got none, but .* discrete: must be the 3 controls"),
        (odd(actions="discrete", levels=[[0.0], [1.0]]), r"controls.levels: got 2, but"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(content, says):
    with pytest.raises(ValueError, match=says) as error:
        looked_at(content)
    assert "\n" not in str(error.value)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium_robotics", None)
    for name in [name for name in gymnasium.registry if name.startswith("PointMaze")]:
        monkeypatch.delitem(gymnasium.registry, name)
    with pytest.raises(ValueError, match=r"'PointMaze_UMaze-v3'.*need: pip install 'ndm_apps\[mujoco\]'\)"):
        open_environment(load_task("planning/pointmaze_u")[1])


def test_observations_by_name_are_flattened_in_alphabetical_order():
    env = gymnasium.make("Pendulum-v1")
    env.observation_space = spaces.Dict({"b": spaces.Box(-1, 1, (2,)), "a": spaces.Discrete(2)})
    assert flattened(env, {"b": np.array([0.5, -0.5]), "a": 1}).tolist() == [0.0, 1.0, 0.5, -0.5]
