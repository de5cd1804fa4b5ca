"""A square room with a wall from its floor to above the middle, and random moves in it, for tests."""

from dataclasses import replace

import numpy as np

from ndm_apps.plugins.planning.chart import Transitions
from tests.plugins.planning import models

STEP = 0.1
#: The wall is where |x - 1| < 0.2 and y < 1.2; the room is 2 by 2. The way round is over its two corners.
CORNERS = np.array([[0.8, 1.2], [1.2, 1.2]])


def free(points):
    inside = ((points > 0) & (points < 2)).all(-1)
    return inside & ~((np.abs(points[..., 0] - 1) < 0.2) & (points[..., 1] < 1.2))


def moved(x, u):
    """Go as far as there is no wall."""
    y = x
    for share in np.linspace(0.0, 1.0, 101)[1:]:
        tried = x + share * STEP * u
        if not free(tried):
            break
        y = tried
    return y


def transitions(steps=4000, seed=0):
    rng = np.random.default_rng(seed)
    x, rows = np.array([0.4, 0.4]), []
    while len(rows) < steps:
        u = rng.normal(size=2)
        u /= np.linalg.norm(u)
        for _ in range(rng.integers(1, 25)):
            y = moved(x, u)
            rows.append((x, u, y))
            stopped, x = np.linalg.norm(y - x) < 0.9 * STEP, y
            if stopped:
                break
    return Transitions(*map(np.array, zip(*rows, strict=True)))


def shortest(start, goal):
    way = np.array([start, *CORNERS, goal])
    return float(np.linalg.norm(np.diff(way, axis=0), axis=-1).sum())


def problem(goal):
    goal = np.array(goal)
    one = models.problem("time", goal=goal)
    return replace(
        one,
        control_cost=np.eye(2),
        low=-np.ones(2),
        high=np.ones(2),
        reached=lambda x: np.linalg.norm(x - goal, axis=-1) < 0.05,
        box=np.array([[0.0, 2.0], [0.0, 2.0]]),
    )
