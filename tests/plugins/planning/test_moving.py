"""Points among walls and in currents: which moves are learnt from, and the controllers that they give."""

import numpy as np
import pytest

from ndm_apps.plugins.planning.current import CurrentController
from ndm_apps.plugins.planning.evaluate import evaluate, scores
from ndm_apps.plugins.planning.kinematic import KinematicController
from ndm_apps.plugins.planning.moving import moves, moving
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of
from ndm_apps.plugins.planning.references import optimum_of
from ndm_apps.tasks import load_task


def learnt(name, steps):
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    return task, env, moves(task, env, steps, 2**31 + 1000)


@pytest.mark.parametrize(("name", "steps"), [("zermelo_wind", 100), ("maze_u", 300)])
def test_moves_are_what_the_environment_does_and_repeat(name, steps):
    _, env, seen = learnt(name, steps)
    assert len(seen.x) == steps
    np.testing.assert_allclose(env.unwrapped.dynamics.step(seen.x, seen.u), seen.y, atol=1e-5)
    for part, again in zip(seen, learnt(name, steps)[2], strict=True):
        np.testing.assert_array_equal(part, again)


def test_currents_are_steered_through_in_the_least_time():
    task, env, seen = learnt("zermelo_shear", 200)
    episodes = evaluate(task, env, moving(task, seen), range(1000, 1004), optimum_of(task, env))
    result = scores(task, episodes)
    assert result["success_rate"] == 1.0 and 0.999 < result["ratio_to_optimum"] < 1.01


def test_each_kind_of_point_has_its_controller():
    for name, kind in (("zermelo_wind", CurrentController), ("maze_u", KinematicController)):
        task, env, seen = learnt(name, 500)
        observation, _ = env.reset(seed=1000)
        assert isinstance(moving(task, seen)(problem_of(task, env, observation)), kind)


def test_a_task_without_a_point_is_refused():
    task = load_task("planning/pendulum")[1]
    with pytest.raises(ValueError, match="kinematic: missing"):
        moves(task, open_environment(task), 100, 1)
