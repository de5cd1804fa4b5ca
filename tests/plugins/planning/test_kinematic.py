import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.kinematic import KinematicController, KinematicModel
from ndm_apps.plugins.planning.roadmap import Roadmap
from ndm_apps.plugins.planning.taut import length, resampled, taut
from tests.plugins.planning import walls

START, GOAL = np.array([0.3, 0.3]), np.array([1.7, 0.3])


@pytest.fixture(scope="module")
def model():
    return KinematicModel.fit(walls.transitions())


def walked(controller, x, steps=80):
    controller.start(x)
    path = [x]
    for _ in range(steps):
        path.append(walls.moved(path[-1], controller.control(path[-1])))
        if controller.problem.reached(path[-1]):
            break
    return np.array(path)


def test_moves_are_learnt(model):
    assert model.gain == pytest.approx(walls.STEP * np.eye(2), abs=1e-6)
    assert model.drift == pytest.approx(np.zeros(2), abs=1e-6)


def test_the_geodesic_is_the_taut_string(model):
    ways = Roadmap(model.metric).ways(START, GOAL)
    path = taut(model.metric, ways)
    euclidean = np.linalg.norm(np.diff(path, axis=0), axis=-1).sum()
    assert euclidean == pytest.approx(walls.shortest(START, GOAL), rel=0.05)  # a little wide of the corners
    assert length(model.metric, path) < length(model.metric, resampled(ways[0], 100))
    assert walls.free(resampled(path, 1000)).mean() > 0.99


def test_the_way_is_walked(model):
    path = walked(KinematicController(model, walls.problem(GOAL)), START)
    assert np.linalg.norm(path[-1] - GOAL) < 0.05
    assert np.linalg.norm(np.diff(path, axis=0), axis=-1).sum() < 1.05 * walls.shortest(START, GOAL)


def test_an_unknown_wall_is_learnt_on_the_way(model, monkeypatch):
    controller = KinematicController(model, walls.problem([1.7, 1.7]))
    known = walls.free
    monkeypatch.setattr(walls, "free", lambda p: known(p) & ~((np.abs(p[..., 0] - 1.4) < 0.06) & (p[..., 1] > 1.4)))
    path = walked(controller, np.array([1.0, 1.8]), steps=150)
    assert np.linalg.norm(path[-1] - [1.7, 1.7]) < 0.05
    assert len(controller.roadmap.metric.walls.points) > len(model.metric.walls.points)


def test_where_a_direction_was_refused_the_nearest_other_one_is_taken(model):
    controller = KinematicController(model, walls.problem(GOAL))
    controller.start(START)
    ahead, aside = np.array([0.1, 0.0]), np.array([0.0, 0.1])
    controller.refused.append((START, np.array([1.0, 0.0])))
    turned = controller._turned(ahead)
    assert turned[0] == pytest.approx(abs(turned[1]))  # of the eight directions, one beside the refused one
    np.testing.assert_array_equal(controller._turned(aside), aside)
    controller.at = START + 0.05
    np.testing.assert_array_equal(controller._turned(ahead), ahead)


def test_walls_rise_where_moves_are_refused_again_and_again_and_only_for_the_episode(model):
    controller = KinematicController(model, walls.problem(GOAL))
    controller.start(START)
    for _ in range(8):
        controller.control(START)  # it has not moved
    raised = controller.roadmap.metric
    assert raised.height > model.metric.height
    assert raised.scale(np.array([1.0, 0.6])) > model.metric.scale(np.array([1.0, 0.6]))
    controller.start(START)
    assert controller.roadmap.metric.height == model.metric.height and not controller.refused


def test_ways_round_an_obstacle_on_both_sides():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (6000, 2))
    u = rng.normal(size=(6000, 2))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    outside = np.linalg.norm(x, axis=-1) > 0.4
    x, u = x[outside], u[outside]
    # A disc in the middle; moves that would enter it stay where they are.
    moved = np.where(np.linalg.norm(x + 0.1 * u, axis=-1, keepdims=True) > 0.4, 0.1 * u, 0.0)
    model = KinematicModel.fit(Transitions(x, u, x + moved))
    ways = Roadmap(model.metric).ways(np.array([-0.8, 0.02]), np.array([0.8, 0.0]))
    sides = {np.sign(way[np.abs(way[:, 0]).argmin(), 1]) for way in ways}
    assert sides == {-1.0, 1.0}


def test_a_torus_is_crossed_the_short_way_and_angles_are_unwrapped():
    rng = np.random.default_rng(0)
    x = rng.uniform(-np.pi, np.pi, (6000, 2))
    u = rng.uniform(-1.0, 1.0, (6000, 2))
    model = KinematicModel.fit(Transitions(x, u, x + 0.2 * u), angles=(0, 1))
    path = taut(model.metric, Roadmap(model.metric).ways(np.array([3.0, 0.0]), np.array([3.0 - 2 * np.pi + 1.0, 0.5])))
    assert path[-1] == pytest.approx([4.0, 0.5])
    assert np.linalg.norm(np.diff(path, axis=0), axis=-1).sum() == pytest.approx(np.hypot(1.0, 0.5), rel=0.01)
