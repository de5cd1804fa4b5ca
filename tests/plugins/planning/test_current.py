import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.current import CurrentController, CurrentModel
from ndm_apps.plugins.planning.references.zermelo import least_time
from tests.plugins.planning import walls

WIND, SPEED = np.array([0.03, 0.015]), 0.05


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    x, u = rng.uniform(-2, 2, (60, 2)), rng.normal(size=(60, 2))
    return CurrentModel.fit(Transitions(x, u, x + WIND + SPEED * u))


def test_drift_and_gain_are_learnt(model):
    assert model.drift[0] == pytest.approx(WIND)
    assert np.abs(model.drift[1:]).max() < 1e-12
    assert model.gain == pytest.approx(SPEED * np.eye(2))


def test_the_fastest_way_takes_the_least_time(model):
    start, goal = np.array([0.2, 0.3]), np.array([1.5, 1.0])
    least = least_time(start, goal, 0.0, WIND / SPEED, 0.0) / SPEED
    assert float(model.way(start, goal).length) == pytest.approx(least, rel=1e-6)


def test_the_boat_enters_the_goal_where_it_is_soonest(model):
    start, goal = np.array([1.8, 0.3]), np.array([0.3, 1.0])
    controller = CurrentController(model, walls.problem(goal))
    controller.start(start)
    x = start
    for _ in range(int(controller.steps)):
        u = controller.control(x)
        assert np.linalg.norm(u) == pytest.approx(1.0)
        x = x + WIND + SPEED * u
    assert controller.steps == pytest.approx(least_time(start, goal, 0.05, WIND / SPEED, 0.0) / SPEED, rel=1e-4)
    assert np.linalg.norm(x - goal) < 0.05 + 2 * SPEED


def test_a_current_as_fast_as_the_boat_is_refused(model):
    with pytest.raises(ValueError, match=r"wind\(x\) must be shorter than 1"):
        CurrentModel(model.drift * 2, model.gain).way(np.zeros(2), np.ones(2))
