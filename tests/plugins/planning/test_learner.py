import numpy as np
import pytest

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.plugins.planning.collect import Experience, follow, wander
from ndm_apps.plugins.planning.learner import Learned, fit_dynamics, learn
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.tasks import load_task

TASK = load_task("planning/pendulum")[1]


class Steady:
    """A controller that counts its starts and pushes one way."""

    def __init__(self, push: float) -> None:
        self.push, self.starts = push, 0

    def start(self, x):
        self.starts += 1

    def control(self, x):
        return np.array([self.push])


@pytest.fixture
def experience() -> Experience:
    return Experience(TASK, open_environment(TASK), 1000)


def test_random_steps_join_up_and_stay_within_bounds(experience):
    wander(experience, 250, np.random.default_rng(1000))
    seen = experience.seen
    assert experience.steps == len(seen.x) == 250
    assert np.abs(seen.u).max() <= 2
    gaps = np.abs(experience.chart.difference(seen.y[:-1], seen.x[1:])).max(-1)
    assert (gaps > 1e-6).sum() == len(experience.starts) - 1 == 2


def test_the_same_seed_gives_the_same_steps():
    runs = []
    for _ in range(2):
        experience = Experience(TASK, open_environment(TASK), 1000)
        wander(experience, 50, np.random.default_rng(1000))
        runs.append(experience.seen)
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_controller_is_followed_to_the_end_of_the_episode_or_to_a_surprise(experience):
    looks = []
    assert follow(experience, Steady(1.0), 500, 30, lambda seen: looks.append(len(seen.x)) or False)
    assert experience.steps == 200
    assert looks == [30] * 6 + [20]
    assert not follow(experience, Steady(1.0), 500, 30, lambda seen: True)
    assert experience.steps == 230


def test_an_episode_that_fails_is_no_agreement():
    task = load_task("planning/cartpole")[1]
    experience = Experience(task, open_environment(task), 1000)
    assert not follow(experience, Steady(10.0), 100, 30, lambda seen: False)
    assert experience.failed
    assert experience.steps < 30


@pytest.mark.parametrize("structure", ["net", "kinetic"])
def test_learning_survives_a_file_and_goes_on(structure, tmp_path):
    settings = LearnerSettings(structure=structure, random=0.5, members=1, hidden=8, iterations=20, surprise=1e-9)
    controllers, saved = [], []

    def controller_of(dynamics, problem, starts):
        controllers.append(Steady(0.5))
        return controllers[-1]

    env = open_environment(TASK)
    learned = learn(TASK, env, settings, 80, 1000, controller_of, on_round=saved.append)
    assert learned.steps == 80
    assert [steps for steps, _ in learned.rounds] == [40, 65, 80]
    assert len(saved) == 3
    assert not learned.agreed
    save_state(tmp_path / "learned", learned.state_dict())
    again = Learned.from_state(TASK, load_state(tmp_path / "learned"))
    x, u = np.array([[0.3, -1.0]]), np.array([[1.5]])
    np.testing.assert_array_equal(again.dynamics.step(x, u), learned.dynamics.step(x, u))
    for one, other in zip(again.dynamics.linearised(x), learned.dynamics.linearised(x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert learn(TASK, env, settings, 90, 1000, controller_of, known=again).steps == 90


def test_learning_stops_when_nothing_surprises():
    settings = LearnerSettings(structure="kinetic", random=0.2)
    learned = learn(TASK, open_environment(TASK), settings, 1000, 1000, lambda *_: Steady(0.5))
    assert learned.agreed
    assert learned.steps == 400
    assert learned.rounds[-1][1] < 1e-4


def test_auto_takes_the_metric_where_there_is_one_and_networks_where_there_is_none(experience):
    wander(experience, 100, np.random.default_rng(1000))
    settings = LearnerSettings(members=1, hidden=8, iterations=20)
    kinetic = fit_dynamics(experience.chart, experience.seen, settings, seed=1000)
    assert type(kinetic).__name__ == "KineticDynamics"
    task = load_task("planning/mountain_car")[1]
    car = Experience(task, open_environment(task), 1000)
    wander(car, 300, np.random.default_rng(1000), episode=300)
    assert type(fit_dynamics(car.chart, car.seen, settings, seed=1000)).__name__ == "NetDynamics"


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="steps: got 5"):
        learn(TASK, open_environment(TASK), LearnerSettings(), 5, 1000, lambda *_: Steady(0.0))
