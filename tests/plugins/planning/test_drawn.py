"""Which pictures a run has, by what acted."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.drawn import drawn
from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.plugins.planning.moving import moves, moving
from ndm_apps.plugins.planning.planner import GeodesicPlanner
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of
from ndm_apps.plugins.planning.truth import truth_of
from ndm_apps.tasks import load_task


def opened(name):
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    observation, _ = env.reset(seed=1000)
    return task, env, problem_of(task, env, observation)


def episode(problem):
    states = np.random.default_rng(1000).uniform(problem.box[:, 0], problem.box[:, 1], (6, len(problem.box)))
    return Episode(1000, states, np.zeros((5, 1)), -np.ones(5), True, 5.0, 4.0, np.zeros(2), np.zeros((5, 2)))


@pytest.mark.parametrize("name", ["pendulum", "swing_up"])
def test_a_geodesic_controller_shows_value_plan_and_motion(name):
    task, env, problem = opened(name)
    small = PlannerSettings(nodes=300, rounds=0, noisy=0)
    planner = GeodesicPlanner(truth_of(task, env), problem, small, generator=np.random.default_rng(1000))
    found = drawn(task, env, [episode(problem), episode(problem)], GeodesicController(planner))
    assert set(found) == {"measures", "portrait", "value", "phase"}
    axes = found["phase"].figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("theta", "omega")


@pytest.mark.parametrize(("name", "key"), [("maze_u", "metric"), ("arm", "metric"), ("zermelo_wind", "current")])
def test_points_show_what_they_move_in(name, key):
    task, env, problem = opened(name)
    controller = moving(task, moves(task, env, 800, 2**31 + 1))(problem)
    assert set(drawn(task, env, [episode(problem)], controller)) == {"measures", "portrait", key}


def test_others_show_the_episodes_alone():
    task, env, problem = opened("pendulum")
    assert set(drawn(task, env, [episode(problem)], object())) == {"measures", "portrait"}
