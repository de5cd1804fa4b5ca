"""A cart on a line, for tests: x' = x + 0.2 v', v' = v + 0.2 u."""

import numpy as np

from ndm_apps.plugins.planning.problem import Problem

A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.04], [0.2]])


class Cart:
    states, controls, angles = 2, 1, ()

    def step(self, x, u):
        return x @ A.T + np.clip(u, -1, 1) @ B.T

    def linearised(self, x):
        shape = x.shape[:-1]
        return x @ A.T, np.broadcast_to(A, (*shape, 2, 2)), np.broadcast_to(B, (*shape, 2, 1))


CART = Cart()


def cart_problem(objective="cost", levels=None, limits=(-np.inf, np.inf)):
    jacobian = np.diag([1.0, 0.3])
    return Problem(
        objective=objective,
        residual=lambda x: x @ jacobian,
        residual_jacobian=lambda x: np.broadcast_to(jacobian, (*x.shape[:-1], 2, 2)),
        control_cost=np.array([[0.1]]),
        low=np.array([-1.0]),
        high=np.array([1.0]),
        levels=levels,
        goal=np.zeros(2),
        reached=lambda x: (np.abs(x) < 0.01).all(-1),
        box=np.array([[-2.0, 2.0], [-2.0, 2.0]]),
        limits=np.array([limits, (-np.inf, np.inf)]),
        horizon=50,
    )
