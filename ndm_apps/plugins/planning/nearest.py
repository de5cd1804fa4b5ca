r"""Problems of which each episode poses its own: the goal is the cheapest of all states at which nothing is to be paid.

A value over all states would cost more than the episode. Where the task's residual r tells a place to be, as that of
an arm's tip, several states have it: solutions of :math:`r(x) = 0` near other states than the goal that the task
names (inverse kinematics), each with a path of its own from a straight line to it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.planner import GeodesicPlanner
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import spread_out, wrapped

_STATES, _STEPS = 32, 60  # from which goals are looked for, and steps of Newton
#: Part of the typical residual below which there is none, and distance of two goals.
_NOTHING, _APART = 1e-3, 1e-2


class NearestGoal:
    """A :class:`~ndm_apps.plugins.planning.controller.Controller` to whichever goal is cheapest from the start.

    Parameters
    ----------
    dynamics, problem
        The model and the task.
    settings
        How to plan.
    generator
        Of all that is random.
    """

    def __init__(
        self, dynamics: Dynamics, problem: Problem, settings: PlannerSettings, generator: np.random.Generator
    ) -> None:
        lines = settings.model_copy(update={"seed": settings.seed or "line"})
        goals = goals_of(dynamics, problem, generator) if problem.objective == "cost" else problem.goal[None]
        self._planners = [
            GeodesicPlanner(dynamics, replace(problem, goal=goal), lines, generator=generator) for goal in goals
        ]
        self.controllers = [GeodesicController(planner) for planner in self._planners]

    def start(self, x: Array) -> None:
        """Plan a path to each goal; the cheapest is followed."""
        for controller in self.controllers:
            controller.start(x)
        self.chosen = min(self.controllers, key=lambda one: (not one.path.feasible, one.path.cost))

    def control(self, x: Array) -> Array:
        """Return the control (m,) at the state x, (n,)."""
        return self.chosen.control(x)


def goals_of(dynamics: Dynamics, problem: Problem, generator: np.random.Generator) -> Array:
    """Return the goal and other states at which the residual vanishes, (goals, n).

    Coordinates that the residual does not tell apart are those of the goal. Newton's steps of least length are halved
    until the residual falls.
    """
    x = spread_out(problem.box, _STATES, generator)
    least = _NOTHING * np.sqrt(np.square(problem.residual(x)).sum(-1).mean())
    told = np.abs(problem.residual_jacobian(x)).max((0, -2)) > 0
    x = np.where(told, x, problem.goal)
    for _ in range(_STEPS):
        residual = problem.residual(x)
        move = (np.linalg.pinv(problem.residual_jacobian(x), rcond=1e-6) @ residual[..., None])[..., 0]
        tried = x - 2.0 ** -np.arange(8)[:, None, None] * move
        size = np.square(problem.residual(tried)).sum(-1)
        best = size.argmin(0)
        better = size.min(0) < np.square(residual).sum(-1)
        x = np.where(better[:, None], tried[best, np.arange(len(x))], x)
    x = wrapped(x[np.linalg.norm(problem.residual(x), axis=-1) < least], dynamics.angles)
    low, high = problem.box.T
    goals = [problem.goal]
    for one in x[((x >= low) & (x <= high)).all(-1)]:
        if all(np.abs(wrapped(one - goal, dynamics.angles)).max() > _APART for goal in goals):
            goals.append(one)
    return np.array(goals)
