"""Iterative linear-quadratic regulation with a receding horizon and bounded controls."""

from __future__ import annotations

import numpy as np

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.baselines.objective import OUTSIDE, Objective, far, from_goal
from ndm_apps.plugins.planning.baselines.proposals import Normal
from ndm_apps.plugins.planning.baselines.settings import IlqrSettings
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem

#: Step lengths that a line search tries, all in one batch.
STEPS = 2.0 ** -np.arange(10)
LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e8


class Ilqr:
    r"""A :class:`~ndm_apps.plugins.planning.controller.Controller` by Gauss-Newton differential dynamic programming.

    The cost-to-go of the path is expanded to second order backwards in time. Controls at their bounds are held there
    and get no feedback; :math:`\lambda I` is added to the Hessian by the controls until the cost falls.

    Parameters
    ----------
    dynamics, problem
        The model, and what is wanted of it. ``"time"`` and ``"action"`` ask to be at the goal when the horizon ends.
    settings
        See :class:`~ndm_apps.plugins.planning.baselines.settings.IlqrSettings`.
    rng
        Draws the plans to start from.
    terminal
        P of a cost :math:`e^T P e` at the end of the plan, e from the goal, (n, n).

    Raises
    ------
    InputError
        If the controls of the problem are discrete.

    References
    ----------
    Tassa, Mansard, Todorov, "Control-limited differential dynamic programming", ICRA 2014.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        problem: Problem,
        settings: IlqrSettings,
        rng: np.random.Generator,
        terminal: Array | None = None,
    ) -> None:
        if problem.levels is not None:
            raise InputError(f"method ilqr needs continuous controls, got {len(problem.levels)} discrete ones")
        self.dynamics, self.problem, self.settings, self.rng = dynamics, problem, settings, rng
        widths = problem.box[:, 1] - problem.box[:, 0]
        if terminal is None and problem.objective == "cost":
            terminal = np.zeros((len(widths), len(widths)))
        elif terminal is None:
            terminal = np.diag([far(dynamics, problem, problem.goal + side) for side in np.diag(widths) / 4]) * 16
            terminal /= np.square(widths)
        self.terminal, self.widths = terminal, widths
        self.stage = Objective(dynamics, problem).stage

    def start(self, x: Array) -> None:
        """Plan from several first guesses."""
        guess = Normal(self.problem, self.settings.horizon, spread=0.5, colour=2.0)
        guesses = guess.sample(self.settings.samples, self.rng)
        guesses[0] = np.clip(0.0, self.problem.low, self.problem.high)
        _, _, costs = self._roll(x, guesses)
        guesses = guesses[np.argsort(costs)[: self.settings.tries]]
        plans = [self._improve(x, controls, self.settings.first) for controls in guesses]
        self.controls = min(plans, key=lambda plan: plan[1])[0]
        self.fresh = True

    def control(self, x: Array) -> Array:
        """Improve the shifted plan and return its first control."""
        if not self.fresh:
            shifted = np.concatenate((self.controls[1:], self.controls[-1:]))
            self.controls, _ = self._improve(x, shifted, self.settings.iterations)
        self.fresh = False
        return self.controls[0]

    def _improve(self, x: Array, controls: Array, iterations: int) -> tuple[Array, float]:
        """Return better controls and their cost."""
        tried, plans, costs = self._roll(x, controls[None])
        states, controls, cost, damping = tried[0], plans[0], float(costs[0]), 1e-3
        for _ in range(iterations):
            open_loop, feedback = self._backward(states, controls, damping)
            tried, plans, costs = self._roll(x, controls + STEPS[:, None, None] * open_loop, states, feedback)
            best = int(np.where(np.isfinite(costs), costs, np.inf).argmin())
            if not costs[best] < cost:
                damping = max(damping, LEAST_DAMPING) * 10
                if damping > MOST_DAMPING:
                    break
                continue
            won = cost - float(costs[best])
            states, controls, cost = tried[best], plans[best], float(costs[best])
            damping = max(damping / 5, LEAST_DAMPING)
            if won <= self.settings.tolerance * abs(cost):
                break
        return controls, cost

    def _roll(
        self, x: Array, controls: Array, around: Array | None = None, feedback: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Return states (count, horizon + 1, n), controls and costs of plans (count, horizon, m) with feedback."""
        state = np.broadcast_to(x, (len(controls), len(x)))
        states, plans = [state], []
        for k, u in enumerate(controls.swapaxes(0, 1)):
            correction = 0.0 if feedback is None else (state - around[k]) @ feedback[k].T
            plans.append(np.clip(u + correction, self.problem.low, self.problem.high))
            state = self.dynamics.step(state, plans[-1])
            states.append(state)
        path, plan = np.stack(states, 1), np.stack(plans, 1)
        gap = from_goal(self.dynamics, self.problem, path[:, -1]) * self.widths
        cost = self.stage(path[:, :-1], plan).sum(-1) + np.einsum("ki,ij,kj->k", gap, self.terminal, gap)
        return path, plan, cost + OUTSIDE * np.square(self._beyond(path)).sum((-2, -1))

    def _beyond(self, x: Array) -> Array:
        """Return how far states are beyond the limits, with its sign."""
        low, high = self.problem.limits.T
        return np.minimum(x - low, 0.0) + np.maximum(x - high, 0.0)

    def _backward(self, states: Array, controls: Array, damping: float) -> tuple[Array, Array]:
        """Return the change of the controls (horizon, m) and the feedback (horizon, m, n)."""
        problem = self.problem
        _, a, b = self.dynamics.linearised(states[:-1])
        beyond = self._beyond(states)
        slopes, bends = 2 * OUTSIDE * beyond, 2 * OUTSIDE * (beyond != 0)[..., None] * np.eye(len(states[0]))
        if problem.objective == "cost":
            residual, jacobian = problem.residual(states), problem.residual_jacobian(states)
            slopes[:-1] += 2 * np.einsum("kqi,kq->ki", jacobian, residual)[:-1]
            bends[:-1] += 2 * np.einsum("kqi,kqj->kij", jacobian, jacobian)[:-1]
        gap = from_goal(self.dynamics, problem, states[-1]) * self.widths
        value_x, value_xx = slopes[-1] + 2 * self.terminal @ gap, bends[-1] + 2 * self.terminal
        open_loop, feedback = np.zeros_like(controls), np.zeros((*controls.shape, states.shape[1]))
        for k in range(len(controls) - 1, -1, -1):
            u, ak, bk = controls[k], a[k], b[k]
            q_u = 2 * problem.control_cost @ u + bk.T @ value_x
            q_uu = 2 * problem.control_cost + bk.T @ value_xx @ bk
            q_ux = bk.T @ value_xx @ ak
            free = ~((u <= problem.low) & (q_u > 0) | (u >= problem.high) & (q_u < 0))
            damped = q_uu[np.ix_(free, free)] + damping * np.eye(int(free.sum()))
            open_loop[k, free] = -np.linalg.solve(damped, q_u[free])
            feedback[k, free] = -np.linalg.solve(damped, q_ux[free])
            change, gain = open_loop[k], feedback[k]
            value_x = slopes[k] + ak.T @ value_x + gain.T @ (q_uu @ change + q_u) + q_ux.T @ change
            value_xx = bends[k] + ak.T @ value_xx @ ak + gain.T @ q_uu @ gain + gain.T @ q_ux + q_ux.T @ gain
            value_xx = (value_xx + value_xx.T) / 2
        return open_loop, feedback
