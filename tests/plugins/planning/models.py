"""Small models and tasks with known answers, for the tests of the planner."""

from dataclasses import dataclass

import numpy as np

from ndm_apps.plugins.planning.problem import Problem


@dataclass(frozen=True)
class Linear:
    """x' = A x + B u + c; ``doubt`` is the spread in proportion to the first coordinate."""

    a: np.ndarray
    b: np.ndarray
    angles: tuple[int, ...] = ()
    drift: np.ndarray | float = 0.0
    doubt: float = 0.0

    @property
    def states(self):
        return self.b.shape[0]

    @property
    def controls(self):
        return self.b.shape[1]

    def step(self, x, u):
        return x @ self.a.T + u @ self.b.T + self.drift

    def affine(self, x):
        return x @ self.a.T + self.drift, np.broadcast_to(self.b, (*x.shape[:-1], *self.b.shape))

    def linearised(self, x):
        f, b = self.affine(x)
        return f, np.broadcast_to(self.a, (*x.shape, self.states)), b

    def spread(self, x):
        return self.doubt * np.abs(x[..., :1]) * np.ones(self.states)


def mass():
    """A mass on a line, pushed: a step of 0.1."""
    return Linear(np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.005], [0.1]]))


def problem(
    objective="cost", *, bound=1.0, levels=None, goal=(0.0, 0.0), weights=(1.0, 0.3), limits=np.inf, horizon=100
):
    """Bring two coordinates to a goal: quadratic cost."""
    weights, goal = np.array(weights), np.array(goal)

    def reached(x):
        return (np.abs(x - goal) < 0.05).all(-1)

    return Problem(
        objective,
        lambda x: (x - goal) * weights,
        lambda x: np.broadcast_to(np.diag(weights), (*x.shape, len(weights))),
        np.array([[0.1]]),
        np.array([-bound]),
        np.array([bound]),
        None if levels is None else np.array(levels),
        goal,
        reached,
        np.array([[-2.0, 2.0], [-2.0, 2.0]]),
        np.array([[-limits, limits], [-np.inf, np.inf]]),
        horizon,
    )
