"""Optima beside closed forms, bounds and simulation."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ndm_apps.plugins.planning.environments.arm import TwoLinkArm
from ndm_apps.plugins.planning.environments.maze import walls_of
from ndm_apps.plugins.planning.problem_of import open_environment, problem_of, state_of
from ndm_apps.plugins.planning.references import fast_marching, mountain_car, optimum_of, pendulum, riccati, zermelo
from ndm_apps.plugins.planning.references.bang import bang_steps
from ndm_apps.plugins.planning.truth import MOUNTAIN_CAR, PENDULUM
from ndm_apps.tasks import load_task


def test_the_pendulum_value_solves_bellmans_equation_off_the_grid():
    rng = np.random.default_rng(1000)
    x = rng.uniform([-3, -3], [3, 3], (40, 2))
    torques = np.linspace(-2, 2, 81)[:, None]
    for at in x:
        after = PENDULUM.step(at, torques)
        after[:, 0] = (after[:, 0] + np.pi) % (2 * np.pi) - np.pi
        later = [pendulum.least_cost(y, 39) for y in after]
        wanted = at[0] ** 2 + 0.1 * at[1] ** 2 + (0.001 * torques[:, 0] ** 2 + later).min()
        assert pendulum.least_cost(at, 40) == pytest.approx(wanted, rel=0.01, abs=0.2)


def test_the_pendulum_reference_is_the_published_one():
    x = np.random.default_rng(1001).uniform([-np.pi, -1], [np.pi, 1], (20_000, 2))
    costs = np.array([pendulum.least_cost(at, 200) for at in x])
    assert costs.mean() == pytest.approx(137.4, abs=4 * costs.std() / len(costs) ** 0.5)


def test_near_the_top_the_pendulum_costs_what_the_linear_regulator_does():
    _, a, b = PENDULUM.linearised(np.zeros(2))
    p = riccati.value_matrix(a, b, np.diag([1.0, 0.1]), np.diag([0.001]), 200)
    for x in ([0.1, 0.0], [0.1, -0.3], [-0.05, 0.3]):
        assert pendulum.least_cost(np.array(x), 200) == pytest.approx(x @ p @ x, abs=0.004)


@pytest.mark.parametrize("start", [-0.6, -0.5, -0.4])
def test_mountain_car_paths_are_the_environments_own(start):
    path = mountain_car._polished(max(mountain_car._pumped(start, 500), key=len))
    forces = mountain_car._forces(path)
    x = np.array([start, 0.0])
    for force in forces:
        x = MOUNTAIN_CAR.step(x, np.array([force]))
    assert x[0] == pytest.approx(0.45, abs=1e-6) and x[1] >= 0
    # More time never costs more; the published figures are 99.40 within 500 steps and 99.61 within 950.
    energies = [mountain_car.least_energy(start, steps) for steps in (150, 500, 950)]
    assert energies[0] > energies[1] > energies[2]
    assert 99.3 < 100 - energies[1] < 99.6 < 100 - energies[2] + 0.02 < 99.65


def test_mountain_car_normal_equations_are_those_of_finite_differences():
    path = max(mountain_car._pumped(-0.5, 200), key=len)
    path = path + 0.3 * np.minimum(path + 0.9, 0.0)  # some of it behind the wall
    residuals = mountain_car._residuals(path)
    banded, gradient = mountain_car._normal_equations(path, *residuals)

    def change(n):
        moved = [path.copy(), path.copy()]
        moved[0][n + 1] += 1e-7
        moved[1][n + 1] -= 1e-7
        ahead, behind = (np.concatenate(mountain_car._residuals(each)) for each in moved)
        return (ahead - behind) / 2e-7

    jacobian = np.stack([change(n) for n in range(len(path) - 2)], -1)
    full = jacobian.T @ jacobian
    scale = np.abs(full).max()
    np.testing.assert_allclose(gradient, jacobian.T @ np.concatenate(residuals), atol=1e-5 * np.abs(gradient).max())
    for offset in range(3):
        np.testing.assert_allclose(banded[2 - offset, offset:], np.diag(full, offset), atol=1e-5 * scale)


def test_maze_lengths_around_a_corner_are_exact_to_a_half_per_cent():
    walls = walls_of("u")
    start, goal, radius = np.array([1.5, 1.5]), np.array([1.7, 3.4]), 0.1
    corners = [start, np.array([3.0, 2.0]), np.array([3.0, 3.0]), goal]
    exact = sum(np.linalg.norm(b - a) for a, b in pairwise(corners)) - radius
    found = fast_marching.maze_length(walls, start, goal, radius)
    assert exact <= found <= 1.005 * exact
    around = fast_marching.maze_length(walls, start, goal, radius, inflated=0.2)
    assert around > found
    assert fast_marching.maze_length(walls, start, start + np.array([0.3, 0.2]), radius) == pytest.approx(
        0.13**0.5 - 0.1, abs=1e-3
    )
    apart = walls_of(["11111", "10101", "11111"])
    assert fast_marching.maze_length(apart, np.array([1.5, 1.5]), np.array([3.5, 1.5]), radius) == np.inf


def test_torus_lengths_go_the_short_way_round_and_around_obstacles():
    empty = np.zeros((180, 180), dtype=bool)
    start, goal = np.array([3.0, 0.0]), np.array([-3.0, 0.5])
    assert fast_marching.torus_length(empty, start, goal, 0.1) == pytest.approx(
        np.hypot(2 * np.pi - 6, 0.5) - 0.1, abs=1e-3
    )
    axis = fast_marching.torus_axis(720)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    disc = np.hypot(points[..., 0], points[..., 1]) < 0.5
    # Two tangents and the arc between them.
    half = np.arccos(0.5)
    exact = 2 * (np.sqrt(1 - 0.25)) + 0.5 * (np.pi - 2 * half)
    found = fast_marching.torus_length(disc, np.array([-1.0, 0.0]), np.array([1.0, 0.0]), 0.0)
    assert found == pytest.approx(exact, rel=0.01)
    env = TwoLinkArm()
    assert not env.free(points).all()


def test_zermelo_without_shear_is_the_drifting_circle():
    rng = np.random.default_rng(1000)
    for _ in range(20):
        start, goal = rng.uniform(-2, 2, (2, 2))
        wind = rng.uniform(-0.6, 0.6, 2)
        time = zermelo.least_time(start, goal, 0.1, wind, 0.0)
        assert np.linalg.norm(goal - start - wind * time) == pytest.approx(time + 0.1)
        assert zermelo.least_time(start, goal, 0.1, wind, 1e-6) == pytest.approx(time, rel=1e-4)
    assert zermelo.least_time(start, start + 0.01, 0.1, wind, 0.0) == 0.0


def test_extremals_are_those_of_the_differential_equations():
    wind, shear = np.array([0.1, -0.2]), 0.4
    for heading in np.linspace(-3.0, 3.0, 7):
        start, time = np.array([0.3, -0.7]), 1.7

        def rates(_, z):
            _, y, psi = z
            return [np.cos(psi) + wind[0] + shear * y, np.sin(psi) + wind[1], -shear * np.cos(psi) ** 2]

        end = solve_ivp(rates, (0, time), [*start, heading], rtol=1e-11, atol=1e-12).y[:, -1]
        found, turned = zermelo.extremal(start, heading, time, wind, shear)
        np.testing.assert_allclose(
            [*found, np.cos(turned), np.sin(turned)], [*end[:2], np.cos(end[2]), np.sin(end[2])], atol=1e-8
        )


def test_no_constant_heading_beats_zermelos_least_time():
    rng = np.random.default_rng(1001)
    for _ in range(5):
        start, goal = rng.uniform(-2, 2, (2, 2))
        least = zermelo.least_time(start, goal, 0.1, np.zeros(2), 0.4)
        assert np.isfinite(least)
        times, arrived = np.linspace(0, least * 0.999, 400), False
        for heading in np.linspace(-np.pi, np.pi, 200):
            y = start[1] + np.sin(heading) * times
            x = start[0] + np.cos(heading) * times + 0.4 * (start[1] * times + np.sin(heading) * times**2 / 2)
            arrived |= bool((np.hypot(x - goal[0], y - goal[1]) < 0.1 - 1e-6).any())
        assert not arrived


def test_finite_episodes_tend_to_the_endless_regulator():
    rng = np.random.default_rng(1000)
    a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 2))
    q, r = np.eye(3), np.eye(2)
    np.testing.assert_allclose(riccati.value_matrix(a, b, q, r, 200), riccati.value_matrix(a, b, q, r), rtol=1e-8)
    assert np.linalg.eigvalsh(riccati.value_matrix(a, b, q, r, 5) - riccati.value_matrix(a, b, q, r, 4)).min() > -1e-9


def test_bang_time_grows_with_distance_and_meets_the_speed_limit():
    steps = [bang_steps(distance) for distance in np.linspace(0.01, 8, 50)]
    assert steps == sorted(steps)
    assert bang_steps(8.0) - bang_steps(7.0) == 20


@pytest.mark.parametrize("name", ["pendulum", "double_integrator", "maze_u", "arm", "zermelo_shear"])
def test_tasks_have_positive_optima(name):
    task = load_task(f"planning/{name}")[1]
    env = open_environment(task)
    optimum = optimum_of(task, env)
    observation, _ = env.reset(seed=1001)
    least = optimum(state_of(task, env)(observation), problem_of(task, env, observation))
    assert 0 < least < 400


def test_a_missing_package_is_told_before_anything_is_learnt(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfmm", None)
    task = load_task("planning/maze_u")[1]
    with pytest.raises(
        ValueError, match=r"score.optimum: fast_marching needs scikit-fmm \(pip install 'ndm_apps\[bench\]'"
    ):
        optimum_of(task, open_environment(task))


def test_an_optimum_of_another_environment_is_refused():
    task = load_task("planning/acrobot")[1]
    wrong = task.model_copy(update={"score": task.score.model_copy(update={"optimum": "zermelo"})})
    with pytest.raises(
        ValueError, match=r"score.optimum: got 'zermelo', which is known for ndm/Zermelo-v0, not for 'Acr"
    ):
        optimum_of(wrong, open_environment(wrong))
    assert optimum_of(task, open_environment(task)) is None
