"""Our own environments: Gymnasium's checks, pictures, walls that stop, discs that end."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ndm_apps.plugins.planning.environments
from ndm_apps.plugins.planning.environments.arm import TwoLinkArm, largest_part
from ndm_apps.plugins.planning.environments.kinematic import entry, stopped_by
from ndm_apps.plugins.planning.environments.maze import Maze, walls_of
from ndm_apps.plugins.planning.environments.zermelo import Zermelo

OWN = [
    ("ndm/CartPoleSwingUp-v0", {}),
    ("ndm/DoubleIntegrator-v0", {}),
    ("ndm/Maze-v0", {"maze": "medium"}),
    ("ndm/TwoLinkArm-v0", {}),
    ("ndm/Zermelo-v0", {"shear": 0.2}),
]


def test_all_of_ours_are_here():
    registered = {name for name in gymnasium.registry if name.startswith("ndm/")}
    assert registered == {name for name, _ in OWN}
    assert ndm_apps.plugins.planning.environments.__doc__


@pytest.mark.filterwarnings("ignore:.*WARN")
@pytest.mark.parametrize(("name", "kwargs"), OWN)
def test_gymnasium_accepts_it(name, kwargs):
    check_env(gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True, **kwargs).unwrapped)


@pytest.mark.parametrize(("name", "kwargs"), OWN)
def test_it_repeats_from_a_seed_and_its_picture_moves(name, kwargs):
    runs, pictures = [], []
    for _ in range(2):
        env = gymnasium.make(name, render_mode="rgb_array", **kwargs)
        env.action_space.seed(5)
        seen = [env.reset(seed=1000)[0]]
        pictures.append(env.render())
        seen += [env.step(env.action_space.sample())[0] for _ in range(20)]
        runs.append(np.stack(seen))
    np.testing.assert_array_equal(*runs)
    assert pictures[0].dtype == np.uint8 and pictures[0].ndim == 3
    assert (env.render() != pictures[0]).any()


@pytest.mark.parametrize("make", [lambda: Maze("u"), TwoLinkArm])
def test_no_move_ends_in_a_wall_and_free_ones_are_as_asked(make):
    env = make()
    rng = np.random.default_rng(1000)
    starts = []
    for seed in range(300):
        env.reset(seed=seed)
        starts.append(env._x)
    x = np.stack(starts)
    assert env.free(x).all()
    for _ in range(30):
        u = rng.normal(size=x.shape)
        u /= np.linalg.norm(u, axis=-1, keepdims=True)
        asked = env.dynamics.smooth(x, u)
        got = env.dynamics.step(x, u)
        assert env.free(got).all()
        straight = (got == asked).all(-1)
        assert 0.3 < straight.mean() <= 1.0
        along = ((got - x) * u).sum(-1)
        np.testing.assert_allclose(got - x, along[:, None] * u, atol=1e-9)  # stopped, not deflected
        x = got


def test_a_move_stops_at_the_wall():
    env = Maze("u")
    x = np.array([3.95, 2.5])
    assert env.dynamics.step(x, np.array([1.0, 0.0]))[0] == pytest.approx(3.99, abs=1e-5)
    assert stopped_by(env.free, x, x - np.array([0.1, 0.0])).tolist() == [3.85, 2.5]


def test_the_last_move_counts_up_to_the_disc_and_refused_ones_as_far_as_they_get():
    env = gymnasium.make("ndm/Maze-v0").unwrapped
    env.reset(seed=1)
    env._x, env.goal = np.array([1.5, 1.5]), np.array([1.95, 1.5])
    total, reached, steps = 0.0, False, 0
    while not reached:
        _, reward, reached, _, info = env.step(np.array([1.0, 0.0]))
        total, steps = total + reward, steps + 1
    assert info["is_success"] and steps == 4
    assert total == pytest.approx(-0.35)
    env._x, env.goal = np.array([3.96, 2.5]), np.array([1.5, 3.5])
    assert env.step(np.array([1.0, 0.0]))[1] == pytest.approx(-0.03, abs=1e-5)


def test_long_actions_are_shortened():
    env = Maze("u")
    env.reset(seed=0)
    env._x, env.goal = np.array([1.5, 1.5]), np.array([1.5, 3.5])
    env.step(np.array([1.0, 1.0]))
    assert np.linalg.norm(env._x - 1.5) == pytest.approx(0.1)


def test_the_arm_turns_through_half_a_turn_and_is_stopped_by_discs():
    env = TwoLinkArm()
    env.reset(seed=0)
    env._x, env.goal = np.array([np.pi - 0.05, 0.0]), np.array([0.0, 1.0])
    env.step(np.array([1.0, 0.0]))
    assert env._x[0] == pytest.approx(-np.pi + 0.05)
    tip_in_disc = np.array([np.arctan2(0.8, 1.2), 0.0])
    assert not env.free(tip_in_disc) and env.free(np.array([-2.4, 0.0]))


def test_parts_of_the_torus_join_over_the_seam():
    free = np.zeros((6, 6), dtype=bool)
    free[[0, 5, 0, 2], [0, 0, 5, 2]] = True
    part = largest_part(free)
    assert part.sum() == 3 and not part[2, 2]


def test_a_boat_drifts_with_the_flow():
    env = Zermelo(wind=(0.5, 0.2))
    np.testing.assert_allclose(env.dynamics.step(np.zeros(2), np.zeros(2)), [0.025, 0.01])
    sheared = Zermelo(wind=(0.0, 0.0), shear=0.4)
    np.testing.assert_allclose(sheared.flow(np.array([[0.0, 1.0], [0.0, -2.0]])), [[0.4, 0.0], [-0.8, 0.0]])


def test_leaving_the_rail_ends_and_costs_the_rest():
    env = gymnasium.make("ndm/CartPoleSwingUp-v0")
    env.reset(seed=0)
    terminated, rewards = False, []
    while not terminated:
        _, reward, terminated, truncated, _ = env.step(np.array([10.0]))
        assert not truncated
        rewards.append(reward)
    assert rewards[-1] < -10 * (200 - len(rewards)) and min(rewards[:-1]) > -30


@pytest.mark.parametrize("hit", [(2.0, True), (0.4, False)])
def test_entry_of_a_disc(hit):
    length, reached = hit
    share, found = entry(np.array([0.6, 0.8]), length * np.array([0.6, 0.8]), 0.5)
    assert found is reached and share == pytest.approx(0.25 if reached else 1.0)
    assert entry(np.array([1.0, 0.0]), np.zeros(2), 0.5) == (1.0, False)
    assert entry(np.array([1.0, 0.0]), np.array([-1.0, 0.0]), 0.5) == (1.0, False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: walls_of("huge"), r"kwargs.maze: got 'huge', must be one of u, medium, large"),
        (lambda: walls_of(["111", "10", "111"]), "of one length"),
        (lambda: walls_of(["111", "1x1", "111"]), "texts of 0 and 1"),
        (lambda: walls_of(["111", "100", "111"]), "walls all around"),
        (lambda: walls_of(["111", "111", "111"]), "a free cell"),
        (lambda: Zermelo(wind=(0.8, 0.7)), "as fast as the boat"),
    ],
)
def test_what_cannot_be_made_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_walls_that_touch_at_a_corner_leave_no_gap():
    env = Maze("medium")
    corners = [
        (x, y)
        for y in range(1, 8)
        for x in range(1, 8)
        if env.walls[y - 1, x - 1] == env.walls[y, x] != env.walls[y - 1, x] == env.walls[y, x - 1]
    ]
    assert corners
    for x, y in corners:
        corner = np.array([x, y], dtype=float)
        sign = np.array([1.0, 1.0]) if env.walls[y - 1, x] else np.array([1.0, -1.0])
        for shift in np.linspace(-0.02, 0.02, 41)[:, None] * sign[::-1] * [1.0, -1.0]:
            start = corner + 0.035 * sign + shift
            if env.free(start):
                end = env.dynamics.step(start, -sign / np.sqrt(2))
                assert ((end - corner) @ sign) > 0
