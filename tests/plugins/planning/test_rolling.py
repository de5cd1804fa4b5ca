import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.profile import timed
from ndm_apps.plugins.planning.quickest import Mass, quickest
from ndm_apps.plugins.planning.rolling import RollingController, RollingModel
from tests.plugins.planning import walls

STEP, PUSH, DECAY, MOST = 0.02, 0.2, 0.99, 3.0


def pushed(x, u):
    """Roll; a wall stops the velocity across it."""
    v = DECAY * x[2:] + PUSH * np.clip(u, -1, 1)
    v = np.clip(v, -MOST, MOST)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = STEP * v[axis]
        if not walls.free(x[:2] + step):
            v[axis] = 0.0
    y = x[:2] + STEP * v
    if not walls.free(y):
        y, v = x[:2], np.zeros(2)
    return np.concatenate((y, v))


def transitions(steps=6000, seed=0):
    rng = np.random.default_rng(seed)
    x, rows = np.array([0.4, 0.4, 0.0, 0.0]), []
    while len(rows) < steps:
        u = rng.uniform(-1, 1, 2)
        for _ in range(rng.integers(1, 20)):
            y = pushed(x, u)
            rows.append((x, u, y))
            x = y
        if rng.random() < 0.1:
            p = rng.uniform(0, 2, 2)
            x = np.concatenate((p, np.zeros(2))) if walls.free(p) else x
    return Transitions(*map(np.array, zip(*rows, strict=True)))


@pytest.fixture(scope="module")
def model():
    return RollingModel.fit(transitions(), (0, 1), (2, 3), np.full(2, MOST))


def test_free_motion_is_learnt_among_contacts(model):
    assert model.decay == pytest.approx(DECAY * np.eye(2), abs=1e-6)
    assert model.push == pytest.approx(PUSH * np.eye(2), abs=1e-6)
    assert model.step == pytest.approx(STEP, abs=1e-6)


def test_points_behind_walls_are_in_walls(model):
    assert walls.free(model.metric.walls.points).mean() < 0.1


def test_the_ball_rolls_round_the_wall(model):
    goal = np.array([1.7, 0.4, 0.0, 0.0])
    problem = walls.problem(goal)
    problem = type(problem)(
        **{**vars(problem), "reached": lambda x: np.linalg.norm((x - goal)[..., :2], axis=-1) < 0.15}
    )
    controller, x = RollingController(model, problem), np.array([0.3, 0.4, 0.0, 0.0])
    controller.start(x)
    straight = walls.shortest([0.3, 0.4], goal[:2]) / (STEP * MOST)  # at full speed all the way
    for _ in range(int(2.5 * straight)):
        u = controller.control(x)
        assert np.abs(u).max() <= 1
        x = pushed(x, u)
        if problem.reached(x):
            break
    assert problem.reached(x)


def test_a_bend_is_passed_as_fast_as_the_force_allows():
    angle = np.linspace(0.0, np.pi, 400)
    arc = np.stack((np.cos(angle), np.sin(angle)), -1)
    way = timed(arc, speed=0.0, most=np.full(2, 99.0), force=np.ones(2), spacing=0.01, rounding=0.02)
    speed = np.linalg.norm(way.velocities, axis=-1)
    assert speed[20:-20].max() == pytest.approx(1.0, rel=0.05)  # v^2 = a r
    assert (np.diff(way.times) > 0).all()


def test_speed_is_capped_along_each_axis():
    line = np.array([[0.0, 0.0], [30.0, 0.0]])
    way = timed(line, speed=0.0, most=np.full(2, 2.0), force=np.ones(2), spacing=0.1, rounding=0.2)
    assert np.abs(way.velocities).max() == pytest.approx(2.0)
    assert way.times[-1] == pytest.approx(2.0 + 28.0 / 2.0, rel=0.01)


def test_the_quickest_motion_obeys_the_model_and_keeps_out():
    mass = Mass(np.eye(2), 0.1 * np.eye(2), 0.1, np.ones(2), np.full(2, 9.0))

    def disc(x):
        gap = x - [1.0, 0.0]
        radius = np.linalg.norm(gap, axis=-1)
        return 0.5 - radius, -gap / radius[..., None]

    guess = np.stack((np.linspace(0.0, 2.0, 61), 0.7 * np.sin(np.linspace(0.0, np.pi, 61))), -1)
    path, controls = quickest(mass, disc, guess, np.zeros(2))
    x, v = path[0], np.zeros(2)
    for target, u in zip(path[1:], controls, strict=True):
        v = v + 0.1 * u
        x = x + 0.1 * v
        assert x == pytest.approx(target, abs=1e-9)
    assert np.abs(controls).max() < 1.06
    assert disc(path)[0].max() < 0.06
    assert len(controls) < 40
