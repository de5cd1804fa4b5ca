"""What sequences of controls cost on a model, many sequences at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem

#: Cost of a step that would leave the limits of the problem.
OUTSIDE = 1e3


@dataclass(frozen=True)
class Objective:
    r"""The cost of rolling a model out.

    .. math:: S(u) = \sum_{k < H} c(x_k, u_k) + V(x_H)

    with :math:`c = |r|^2 + u^T R u`, :math:`u^T R u` or 1, for the objectives ``"cost"``, ``"action"`` and ``"time"``.
    The last two stop at the goal. Each step that would leave the limits is refused and costs :data:`OUTSIDE`.

    Attributes
    ----------
    dynamics, problem
        The model, and what is wanted of it.
    terminal
        V: states (..., n) to (...). By default 0 for ``"cost"``, else :func:`far`.
    hold
        Steps of the model for which each control is held.
    """

    dynamics: Dynamics
    problem: Problem
    terminal: Callable[[Array], Array] | None = None
    hold: int = 1

    def __call__(self, x: Array, controls: Array) -> Array:
        """Return the cost (samples,) of controls (samples, horizon, m) from the state x, (n,)."""
        state = np.broadcast_to(x, (len(controls), len(x))).copy()
        total = np.zeros(len(controls))
        running = np.ones(len(controls), dtype=bool)
        limited, stops = np.isfinite(self.problem.limits).any(), self.problem.objective != "cost"
        for u in np.repeat(controls, self.hold, axis=1).swapaxes(0, 1):
            total += running * self.stage(state, u)
            after = self.dynamics.step(state, u)
            if limited:
                inside = self.inside(after)
                total += np.where(inside, 0.0, OUTSIDE) * running
                after = np.where(inside[:, None], after, state)
            if stops:
                after = np.where(running[:, None], after, state)
                running &= ~self.problem.reached(after)
                if not running.any():
                    break
            state = after
        total += running * self.value(state)
        return np.nan_to_num(total, nan=np.inf)

    def stage(self, x: Array, u: Array) -> Array:
        """Return the cost (...) of one step from x (..., n) under u (..., m)."""
        problem = self.problem
        if problem.objective == "time":
            return np.ones(x.shape[:-1])
        work = np.einsum("...i,ij,...j->...", u, problem.control_cost, u)
        return work if problem.objective == "action" else work + np.square(problem.residual(x)).sum(-1)

    def value(self, x: Array) -> Array:
        """Return V, (...), at the end of a rollout."""
        if self.terminal is not None:
            return self.terminal(x)
        return np.zeros(x.shape[:-1]) if self.problem.objective == "cost" else far(self.dynamics, self.problem, x)

    def inside(self, x: Array) -> Array:
        """Return whether states (..., n) are within the limits of the problem."""
        low, high = self.problem.limits.T
        return ((x >= low) & (x <= high)).all(-1)


def far(dynamics: Dynamics, problem: Problem, x: Array) -> Array:
    """Return how far states (..., n) are from the goal, (...), as a cost.

    The squared distance in widths of the box, times what an episode costs at full control: a plan that ends short of
    the goal is then worth most to be nearer.
    """
    full = np.maximum(np.abs(problem.low), np.abs(problem.high))
    step = 1.0 if problem.objective == "time" else float(full @ problem.control_cost @ full)
    return problem.horizon * step * np.square(from_goal(dynamics, problem, x)).sum(-1)


def from_goal(dynamics: Dynamics, problem: Problem, x: Array) -> Array:
    """Return x - goal, (..., n), the short way round in angles, in widths of the box."""
    gap = np.asarray(x - problem.goal, dtype=float)
    for angle in dynamics.angles:
        gap[..., angle] = (gap[..., angle] + np.pi) % (2 * np.pi) - np.pi
    return gap / (problem.box[:, 1] - problem.box[:, 0])
