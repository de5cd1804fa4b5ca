import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.agent import GeodesicAgent
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.plugins.planning.settings import NDMSettings
from ndm_apps.tasks import load_task

TASK = load_task("planning/pendulum")[1]
QUICK = NDMSettings(
    planner=PlannerSettings(nodes=300, rounds=1, seeds=2), learner=LearnerSettings(structure="kinetic", random=1.0)
)


@pytest.fixture(scope="module")
def agent() -> GeodesicAgent:
    return GeodesicAgent(open_environment(TASK), TASK, settings=QUICK, seed=1000).learn(100)


def test_a_pendulum_is_swung_up_from_a_hundred_steps(agent):
    observation, _ = agent.env.reset(seed=1001)
    upright = []
    for step in range(150):
        observation, *_ = agent.env.step(agent.act(observation, first=step == 0))
        upright.append(observation[0])
    assert agent.learned.steps == 100
    assert min(upright[-30:]) > 0.95


def test_what_was_learnt_survives_a_file(agent, tmp_path):
    agent.save(tmp_path / "agent.safetensors")
    other = GeodesicAgent(open_environment(TASK), TASK, settings=QUICK, seed=1000).load(tmp_path / "agent.safetensors")
    observation, _ = agent.env.reset(seed=1002)
    np.testing.assert_array_equal(agent.act(observation, first=True), other.act(observation, first=True))
    assert other.learned.rounds == agent.learned.rounds


def test_a_file_of_another_task_is_refused(agent, tmp_path):
    agent.save(tmp_path / "agent.safetensors")
    task = load_task("planning/cartpole")[1]
    with pytest.raises(InputError, match="x, v, theta, omega"):
        GeodesicAgent(open_environment(task), task).load(tmp_path / "agent.safetensors")


def test_acting_before_learning_is_refused():
    env = open_environment(TASK)
    with pytest.raises(ValueError, match="nothing has been learnt"):
        GeodesicAgent(env, TASK).act(env.reset(seed=1000)[0])


def test_an_observation_that_is_not_finite_is_refused(agent):
    with pytest.raises(ValueError, match=r"state\.theta"):
        agent.act(np.array([np.nan, 0.0, 0.0], dtype=np.float32))


def test_a_point_among_walls_is_refused():
    task = load_task("planning/maze_u")[1]
    with pytest.raises(ValueError, match="kinematic"):
        GeodesicAgent(open_environment(task), task)
