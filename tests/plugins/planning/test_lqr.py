"""The regulator at the goal: Riccati, its region, goals that cannot be held."""

from dataclasses import replace

import numpy as np

from ndm_apps.plugins.planning.lqr import regulated_cost, regulator_at
from ndm_apps.plugins.planning.scales import scales_of
from tests.plugins.planning.models import Linear, mass, problem


def regulator_of(model, task):
    generator = np.random.default_rng(1000)
    return regulator_at(model, task, scales_of(task, model.angles, generator), generator)


def test_solves_the_riccati_equation():
    model, task = mass(), problem()
    regulator = regulator_of(model, task)
    p, a, b, k = regulator.value, model.a, model.b, regulator.gain
    closed = a - b @ k
    rest = np.diag([1.0, 0.09]) + k.T @ task.control_cost @ k + closed.T @ p @ closed - p
    np.testing.assert_allclose(rest, 0.0, atol=1e-9)


def test_within_its_region_the_value_holds_on_the_model():
    model, task = mass(), problem(bound=0.5)
    regulator = regulator_of(model, task)
    generator = np.random.default_rng(1001)
    x = generator.uniform(-1, 1, (4000, 2))
    inside = x[regulator.inside(x)]
    cost = regulated_cost(model, task, regulator, inside, 200)
    typical = scales_of(task, (), generator).cost
    assert len(inside) > 20
    assert (cost <= 1.06 * regulator.cost(inside) + 0.11 * typical).all()
    wider = regulator_of(model, problem(bound=5.0))
    assert wider.level > regulator.level


def test_where_the_cost_bends_away_from_its_parabola_the_value_says_nothing():
    model, task = mass(), problem(bound=50.0)

    def residual(x):
        return x / (np.square(x).sum(-1, keepdims=True) + 1e-4) ** 0.25

    bent = replace(task, residual=residual, residual_jacobian=lambda x: np.broadcast_to(10 * np.eye(2), (len(x), 2, 2)))
    regulator = regulator_of(model, bent)
    generator = np.random.default_rng(1001)
    x = generator.uniform(-0.1, 0.1, (4000, 2))
    inside = x[regulator.inside(x)]
    assert (
        len(inside) > 0 and (regulated_cost(model, bent, regulator, inside, 200) > 0.4 * regulator.cost(inside)).all()
    )
    assert not regulator.inside(np.array([0.5, 0.0]))


def test_a_goal_is_held_against_a_drift():
    model = Linear(mass().a, mass().b, drift=np.array([-0.0025, -0.05]))
    regulator = regulator_of(model, problem())
    np.testing.assert_allclose(regulator.hold, [0.5], atol=1e-9)
    np.testing.assert_allclose(model.step(np.zeros(2), regulator.control(np.zeros(2))), 0.0, atol=1e-12)


def test_a_goal_that_cannot_be_held_has_no_regulator():
    assert regulator_of(mass(), problem(goal=(0.0, 1.0))) is None


def test_what_no_control_reaches_has_no_regulator():
    stuck = Linear(np.diag([1.0, 1.5]), np.array([[1.0], [0.0]]))
    assert regulator_of(stuck, problem()) is None


def test_angles_go_the_short_way_round():
    model = replace(mass(), angles=(0,))
    regulator = regulator_of(model, problem())
    x = np.array([0.1, 0.0])
    np.testing.assert_allclose(regulator.control(x + 2 * np.pi * np.array([1, 0])), regulator.control(x))
