"""The planner and its closed loop on small tasks with known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ndm_apps.errors import InputError
from ndm_apps.geometry.analytic import Sphere
from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.metric_planner import MetricPlanner
from ndm_apps.plugins.planning.planner import GeodesicPlanner
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from tests.plugins.planning.models import Linear, mass, problem
from tests.plugins.planning.test_value import PENDULUM_AS, minimum_time

SMALL = PlannerSettings(nodes=512, rounds=1, seeds=3, noisy=2)


def planner_of(model, task, settings=SMALL, **more):
    return GeodesicPlanner(model, task, settings, generator=np.random.default_rng(1000), **more)


def run(controller, model, task, x, steps):
    controller.start(x)
    path, total = [x], 0.0
    for _ in range(steps):
        u = np.clip(controller.control(x), task.low, task.high)
        total += (task.residual(x) ** 2).sum() + u @ task.control_cost @ u
        x = model.step(x, u)
        path.append(x)
        if task.objective != "cost" and task.reached(x):
            break
    return np.array(path), total


def test_the_pendulum_swings_up_at_what_its_plan_costs_or_less():
    model, task = PENDULUM_AS
    start = np.array([np.pi, 0.0])
    plan = planner_of(model, task).plan(start)
    path, total = run(GeodesicController(planner_of(model, task)), model, task, start, 200)
    assert plan.converged
    assert np.abs(np.sin(path[-50:, 0])).max() < 0.05 and (np.cos(path[-50:, 0]) > 0.9).all()
    assert 260 < total < 1.02 * plan.cost < 400


def test_a_plan_repeats_with_its_generator():
    model, task = PENDULUM_AS
    first, second = (planner_of(model, task).plan(np.array([3.0, 0.0])) for _ in range(2))
    np.testing.assert_array_equal(first.states, second.states)


def test_the_closed_loop_mends_what_the_model_does_not_know():
    task = problem(bound=2.0)
    truth = Linear(mass().a, mass().b, drift=np.array([0.0, 0.03]))
    path, _ = run(GeodesicController(planner_of(mass(), task)), truth, task, np.array([-1.5, 0.0]), 100)
    assert np.abs(path[-1]).max() < 0.25  # the regulator alone has an offset against a steady push


def test_least_action_arrives_in_time_and_beats_haste():
    model, task = mass(), problem("action", bound=1.0, goal=(1.0, 0.0), horizon=100)
    planner = planner_of(model, task)
    slow, fast = planner.plan(np.zeros(2)), planner.plan(np.zeros(2), steps=40)
    assert slow.converged and fast.converged and slow.cost < fast.cost
    path, _ = run(GeodesicController(planner), model, task, np.zeros(2), 100)
    assert task.reached(path[-1])


def test_of_a_long_path_the_next_part_is_mended():
    task = problem("action", bound=1.0, goal=(1.0, 0.0), horizon=400)
    planner = planner_of(mass(), task)
    path = planner.plan(np.zeros(2))
    off = path.states.copy()
    off[0] = [0.002, 0.001]
    near, whole = planner.improve(replace(path, states=off)), planner.improve(replace(path, states=off, feasible=False))
    assert len(path.controls) > 300 and near.feasible and whole.feasible
    np.testing.assert_array_equal(near.states[250:], path.states[250:])
    np.testing.assert_allclose(near.states[1:], mass().step(near.states[:-1], near.controls), atol=1e-4)
    assert near.cost == pytest.approx((near.controls**2).sum() * 0.1, rel=1e-3)
    assert whole.cost <= near.cost < 1.05 * whole.cost


def test_least_time_with_discrete_controls_is_near_the_closed_form():
    model, task = mass(), problem("time", levels=[[-1.0], [0.0], [1.0]])
    start = np.array([1.0, 0.0])
    path, _ = run(GeodesicController(planner_of(model, task)), model, task, start, 100)
    assert task.reached(path[-1])
    assert len(path) - 1 <= 1.2 * minimum_time(start, 1.0, 0.1)


def test_discrete_controls_hold_a_goal():
    model, task = mass(), problem(levels=[[-1.0], [1.0]])
    path, _ = run(GeodesicController(planner_of(model, task)), model, task, np.array([0.5, 0.0]), 100)
    assert np.abs(path[-30:]).max() < 0.3
    assert set(np.diff(path[:, 1]).round(9)) <= {0.1, -0.1}


def test_a_path_that_is_not_feasible_leaves_it_to_the_value():
    model, task = PENDULUM_AS
    planner = planner_of(model, task, SMALL.model_copy(update={"seed": "line", "epsilon": 1.0}))
    start = np.array([np.pi, 0.0])
    assert not planner.plan(start).feasible
    controller = GeodesicController(planner)
    controller.start(start)
    np.testing.assert_array_equal(controller.control(start), planner.value.greedy(start))


@pytest.mark.parametrize(
    "update", [{"epsilon": 1.0}, {"seed": "drift"}, {"reseed": 0}, {"uncertainty": 0.0}, {"slow": 0}]
)
def test_ablations_run(update):
    model, task = PENDULUM_AS
    planner = planner_of(model, task, SMALL.model_copy(update=update))
    path, total = run(GeodesicController(planner), model, task, np.array([np.pi, 0.0]), 60)
    assert np.isfinite(total) and np.isfinite(path).all()


def test_uncertainty_lengthens_the_way():
    model, task = Linear(mass().a, mass().b, doubt=0.5), problem(bound=2.0)
    heedless, careful = (
        planner_of(model, task, SMALL.model_copy(update={"uncertainty": beta})).plan(np.array([1.5, 0.0]))
        for beta in (0.0, 30.0)
    )
    assert (careful.states[:15, 0] ** 2).sum() < (heedless.states[:15, 0] ** 2).sum()


def test_a_goal_outside_the_box_is_refused():
    with pytest.raises(
        InputError, match=r"the goal must lie in the box, got 3.0 for coordinate 0, allowed \[-2.0, 2.0\]"
    ):
        planner_of(mass(), problem(goal=(3.0, 0.0)))


@pytest.mark.parametrize("state", [[np.nan, 0.0], [0.0], [np.inf, 1.0]])
def test_what_is_no_state_is_refused(state):
    planner = planner_of(mass(), problem())
    controller = GeodesicController(planner)
    controller.start(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="a state must be 2 finite numbers"):
        planner.plan(np.array(state))
    with pytest.raises(ValueError, match="a state must be 2 finite numbers"):
        controller.control(np.array(state))


@pytest.mark.parametrize("update", [{"nodes": 0}, {"epsilon": 0.0}, {"seed": "random"}, {"better": 1.0}])
def test_settings_out_of_range_are_refused(update):
    with pytest.raises(ValueError):
        PlannerSettings(**update)


def test_a_metric_has_its_own_planner():
    path = MetricPlanner(Sphere(2), points=17).plan(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert path.converged
    assert path.cost == pytest.approx(np.pi / 2, rel=1e-5)
    np.testing.assert_allclose(path.states[0] + path.controls.sum(axis=0), [0.0, 1.0], atol=1e-12)


def test_a_metric_planner_says_when_it_did_not_converge():
    def rough(x):
        return torch.exp(3.0 * torch.sin(40.0 * x[..., :1] * x[..., 1:]))[..., None] * torch.eye(2, dtype=x.dtype)

    path = MetricPlanner(rough, points=9).plan(np.array([-1.0, 1.0]), np.array([1.0, 0.5]))
    assert not path.converged


def test_a_metric_planner_refuses_what_is_no_point():
    with pytest.raises(ValueError, match="goal must be a vector"):
        MetricPlanner(Sphere(2)).plan(np.zeros(2), np.array([np.nan, 0.0]))
