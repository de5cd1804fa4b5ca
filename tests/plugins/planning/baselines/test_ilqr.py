from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.baselines.ilqr import Ilqr
from ndm_apps.plugins.planning.baselines.settings import IlqrSettings
from tests.plugins.planning.baselines.carts import CART, A, B, cart_problem


def test_without_bounds_it_is_the_linear_quadratic_regulator():
    problem = replace(cart_problem(), low=np.array([-99.0]), high=np.array([99.0]))
    q, r = np.diag([1.0, 0.09]), problem.control_cost
    p = solve_discrete_are(A, B, q, r)
    gain = np.linalg.solve(r + B.T @ p @ B, B.T @ p @ A)
    x = np.array([0.1, -0.05])  # the cart itself clips at 1: stay below
    controller = Ilqr(CART, problem, IlqrSettings(horizon=15), np.random.default_rng(0), terminal=p)
    controller.start(x)
    assert controller.control(x) == pytest.approx(-gain @ x, rel=1e-4)


def test_bounds_are_kept_and_used():
    problem = cart_problem()
    controller = Ilqr(CART, problem, IlqrSettings(horizon=25), np.random.default_rng(0))
    x, used = np.array([2.0, 0.0]), []
    controller.start(x)
    for _ in range(40):
        used.append(controller.control(x))
        x = CART.step(x[None], used[-1][None])[0]
    assert np.abs(used).max() == 1.0
    assert np.linalg.norm(x) < 0.05


def test_action_ends_at_the_goal():
    problem = cart_problem(objective="action")
    controller = Ilqr(CART, problem, IlqrSettings(horizon=20), np.random.default_rng(0))
    controller.start(np.array([0.5, 0.0]))
    path, _, _ = controller._roll(np.array([0.5, 0.0]), controller.controls[None])
    assert np.abs(path[0, -1]).max() < 0.15  # the end is a cost, not a condition


def test_discrete_controls_are_refused():
    with pytest.raises(InputError, match="ilqr needs continuous controls, got 2 discrete ones"):
        Ilqr(CART, cart_problem(levels=np.array([[-1.0], [1.0]])), IlqrSettings(), np.random.default_rng(0))
