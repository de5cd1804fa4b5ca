r"""The regulator at the goal: the linear-quadratic problem there, and how far around the goal it holds.

With :math:`x_{k+1} - x^* = A (x_k - x^*) + B (u_k - u^*)` and the cost :math:`|J (x - x^*)|^2 + u^T R u`, the value is
:math:`(x - x^*)^T P (x - x^*)`, with P the solution of the discrete algebraic Riccati equation, and
:math:`u = u^* - K (x - x^*)`. Where bounds and curvature of the model matter, it does not hold: the region is the
largest ellipsoid of P on whose surface the regulator, run on the model, costs about what P says.

References
----------
Tedrake et al., "LQR-trees: Feedback motion planning via sums-of-squares verification", IJRR 29, 2010 (the region by
simulation: Reist, Tedrake, ICRA 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, solve_discrete_are

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import Scales, wrapped

_SAMPLES, _LEVELS = 256, 40
#: Inside the region the regulator costs at most this part more than its value says, and this part of a typical step;
#: and no less than this part of it: where the task's cost bends away from its parabola, that says nothing of the best.
_RELATIVE, _ABSOLUTE, _AT_LEAST = 0.05, 0.1, 0.5
_HELD = 1e-3  # the goal is held when the best control leaves less than this, in units of the step's own change


@dataclass(frozen=True)
class Regulator:
    """Linear feedback around the goal.

    Attributes
    ----------
    goal, hold
        The state and the control that holds it.
    value, gain
        P (n, n) and K (m, n).
    low, high
        Bounds of the controls.
    level
        The region is (x - goal)' P (x - goal) <= level; 0 where there is none.
    angles
        Coordinates that are angles.
    """

    goal: Array
    hold: Array
    value: Array
    gain: Array
    low: Array
    high: Array
    level: float
    angles: tuple[int, ...]

    def error(self, x: Array) -> Array:
        """Return x - goal with angles the short way round, (..., n)."""
        return wrapped(x - self.goal, self.angles)

    def cost(self, x: Array) -> Array:
        """Return the value (x - goal)' P (x - goal), (...)."""
        error = self.error(x)
        return np.asarray(((error @ self.value) * error).sum(-1))

    def inside(self, x: Array) -> Array:
        """Return whether states lie in the region, (...)."""
        return np.asarray(self.cost(x) <= self.level)

    def control(self, x: Array) -> Array:
        """Return the control within bounds, (..., m)."""
        return np.clip(self.hold - self.error(x) @ self.gain.T, self.low, self.high)


def regulator_at(
    dynamics: Dynamics, problem: Problem, scales: Scales, generator: np.random.Generator
) -> Regulator | None:
    """Return the regulator at the goal of a problem, or None where the goal cannot be held or stabilised."""
    f, a, b = (part[0] for part in dynamics.linearised(problem.goal[None]))
    drift = problem.goal - f
    hold = np.linalg.lstsq(b, drift, rcond=None)[0]
    reach = np.abs(b) @ np.maximum(np.abs(problem.low), np.abs(problem.high))
    if np.any(np.abs(drift - b @ hold) > _HELD * (reach.max() + 1e-12)):
        return None
    slope = problem.residual_jacobian(problem.goal[None])[0]
    try:
        value = solve_discrete_are(a, b, slope.T @ slope, problem.control_cost)
    except (LinAlgError, ValueError):
        return None
    if not np.isfinite(value).all() or np.linalg.eigvalsh(value)[0] <= 0:
        return None
    gain = np.linalg.solve(problem.control_cost + b.T @ value @ b, b.T @ value @ a)
    whole = Regulator(problem.goal, hold, value, gain, problem.low, problem.high, np.inf, dynamics.angles)
    level = _level(dynamics, problem, whole, scales.cost, generator)
    return Regulator(problem.goal, hold, value, gain, problem.low, problem.high, level, dynamics.angles)


def regulated_cost(dynamics: Dynamics, problem: Problem, regulator: Regulator, x: Array, steps: int) -> Array:
    """Return what the regulator costs on the model from states (..., n), infinite where it leaves the limits."""
    cost = np.zeros(x.shape[:-1])
    for _ in range(steps):
        u = regulator.control(x)
        cost += (problem.residual(x) ** 2).sum(-1) + ((u @ problem.control_cost) * u).sum(-1)
        x = dynamics.step(x, u)
        cost[((x < problem.limits[:, 0]) | (x > problem.limits[:, 1])).any(-1)] = np.inf
    return cost + regulator.cost(x)


def _level(
    dynamics: Dynamics, problem: Problem, regulator: Regulator, typical: float, generator: np.random.Generator
) -> float:
    """Return the largest level at which the value holds on all samples, 0 if at none."""
    direction = generator.standard_normal((_SAMPLES, dynamics.states))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    surface = np.linalg.solve(np.linalg.cholesky(regulator.value).T, direction.T).T
    # The largest ellipsoid that fits the box, and below.
    largest = float(((problem.box[:, 1] - problem.box[:, 0]) / np.ptp(surface, axis=0)).max() ** 2)
    levels = largest * np.geomspace(1e-6, 1.0, _LEVELS)
    x = problem.goal + np.sqrt(levels)[:, None, None] * surface
    cost = regulated_cost(dynamics, problem, regulator, x, problem.horizon)
    cheap = cost <= (1 + _RELATIVE) * levels[:, None] + _ABSOLUTE * typical
    holds = (cheap & (cost >= _AT_LEAST * levels[:, None])).all(axis=1)
    below = len(levels) if holds.all() else int(np.argmin(holds))
    return float(levels[below - 1]) if below else 0.0
