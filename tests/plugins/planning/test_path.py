"""Gauss-Newton on paths against closed forms of linear systems."""

from dataclasses import replace

import numpy as np
import pytest

from ndm_apps.plugins.planning.lqr import Regulator, regulator_at
from ndm_apps.plugins.planning.path import PathSolver, Stage
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.scales import scales_of
from tests.plugins.planning.models import Linear, mass, problem

SCHEDULE = [Stage(1e-4, 10.0, 20), Stage(1e-6, 100.0, 20), Stage(1e-8, 1000.0, 40)]


def solver_of(model, task, regulated=True):
    generator = np.random.default_rng(1000)
    scales = scales_of(task, model.angles, generator)
    regulator = regulator_at(model, task, scales, generator) if regulated else None
    return PathSolver(model, task, scales, Potential(model, task, scales, 1.0), regulator), regulator


def test_a_regulated_path_costs_what_the_riccati_equation_says():
    solver, regulator = solver_of(mass(), problem(bound=100.0))
    assert isinstance(regulator, Regulator)
    start = np.array([0.6, 0.3])
    path = solver.solve(np.tile(start, (31, 1)) * np.linspace(1, 0, 31)[:, None], SCHEDULE)
    assert path.converged
    assert path.cost == pytest.approx(start @ regulator.value @ start, rel=1e-4)
    np.testing.assert_allclose(path.controls[0], regulator.control(start), rtol=1e-3)


def test_least_action_to_an_exact_end_is_the_least_norm_control():
    model, task = mass(), problem("action", bound=100.0, goal=(1.0, 0.0))
    solver, _ = solver_of(model, task, regulated=False)
    steps = 40
    path = solver.solve(np.linspace([0.0, 0.0], [1.0, 0.0], steps + 1), SCHEDULE)
    reach = np.hstack([np.linalg.matrix_power(model.a, steps - 1 - k) @ model.b for k in range(steps)])
    controls = np.linalg.pinv(reach) @ [1.0, 0.0]
    assert path.converged
    np.testing.assert_array_equal(path.states[-1], [1.0, 0.0])
    np.testing.assert_allclose(path.controls[:, 0], controls, atol=1e-3 * np.abs(controls).max())
    assert path.cost == pytest.approx(0.1 * controls @ controls, rel=1e-3)


def test_bounds_are_kept_where_they_matter():
    model, task = mass(), problem("action", bound=0.3, goal=(1.0, 0.0))
    free, _ = solver_of(model, replace(task, low=np.array([-9.0]), high=np.array([9.0])), regulated=False)
    bound, _ = solver_of(model, task, regulated=False)
    straight = np.linspace([0.0, 0.0], [1.0, 0.0], 41)
    wild, kept = free.solve(straight, SCHEDULE), bound.solve(straight, SCHEDULE)
    assert np.abs(wild.controls).max() > 0.35
    assert kept.converged and np.abs(kept.controls).max() <= 0.3
    assert kept.cost > wild.cost
    x = straight[0]
    for u in kept.controls:
        x = model.step(x, u)
    np.testing.assert_allclose(x, [1.0, 0.0], atol=0.02)


def test_an_end_out_of_reach_does_not_converge():
    model, task = mass(), problem("action", bound=0.01, goal=(1.0, 0.0))
    solver, _ = solver_of(model, task, regulated=False)
    path = solver.solve(np.linspace([0.0, 0.0], [1.0, 0.0], 11), SCHEDULE)
    assert not path.feasible and not path.converged


def test_a_large_epsilon_cheats_and_says_so():
    solver, _ = solver_of(mass(), problem("action", goal=(1.0, 0.0)), regulated=False)
    path = solver.solve(np.linspace([0.0, 0.0], [1.0, 0.0], 11), [Stage(10.0, 100.0, 50)])
    assert not path.feasible


def test_limits_push_paths_away():
    model = mass()
    near, far = (solver_of(model, problem("cost", bound=100.0, limits=limit))[0] for limit in (0.7, np.inf))
    start = np.array([0.5, 1.0])
    seed = np.linspace(start, [0.0, 0.0], 41)
    assert far.solve(seed, SCHEDULE).states[:, 0].max() > 0.63
    assert near.solve(seed, SCHEDULE).states[:, 0].max() < 0.6


def test_the_slope_of_the_potential_is_its_derivative():
    model = Linear(mass().a, mass().b, doubt=0.3)
    task = problem(limits=1.0)
    potential = Potential(model, task, scales_of(task, (), np.random.default_rng(1000)), 2.0)
    x = np.random.default_rng(1001).uniform(-1.9, 1.9, (20, 2))
    residual, slope = potential.linearised(x)
    np.testing.assert_allclose((residual**2).sum(-1), potential.cost(x))
    for i, step in enumerate(np.eye(2) * 1e-6):
        numeric = (potential.residual(x + step) - potential.residual(x - step)) / 2e-6
        np.testing.assert_allclose(slope[..., i], numeric, atol=1e-5 * (1 + np.abs(numeric).max()))


def test_uncertain_states_cost_more():
    task = problem()
    scales = scales_of(task, (), np.random.default_rng(1000))
    sure, unsure = mass(), Linear(mass().a, mass().b, doubt=0.3)
    x = np.array([[1.0, 0.0]])
    assert Potential(unsure, task, scales, 1.0).cost(x) > Potential(sure, task, scales, 1.0).cost(x)
    assert Potential(unsure, task, scales, 0.0).cost(x) == Potential(sure, task, scales, 1.0).cost(x)
