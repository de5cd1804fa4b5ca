r"""Gauss-Newton on a whole path, not on its controls (no shooting: the path need not be feasible on the way).

With the metric of an underactuated system, the discrete action of a path is

.. math:: S = \sum_k |x_{k+1} - f(x_k)|^2_{G(x_k)} + q(x_k), \qquad G = (B R^{-1} B^T + \epsilon D)^{-1},
          \quad D = \mathrm{diag}(s_i^2).

The first term is what the best controls and the slack that remains cost,

.. math:: |e|^2_G = \min_u\; u^T R u + |e - B u|^2_{D^{-1}} / \epsilon, \qquad u = R^{-1} B^T G e,

which is how it is computed: without the cancellation of an inverse. For epsilon to 0, S is the cost of exactly feasible
paths (the sub-Riemannian limit). Bounds of the controls are hinges on u. The normal matrix is block-tridiagonal.

References
----------
Betts, "Practical Methods for Optimal Control and Estimation Using Nonlinear Programming", 2nd edition, 2010.
Nocedal, Wright, "Numerical Optimization", 2nd edition, 2006, section 10.3 (Levenberg's damping).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpbsv

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.lqr import Regulator
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import Scales

_DAMPING, _EASE, _TIGHTEN, _MOST_DAMPING = 1e-2, 0.2, 8.0, 1e8
#: A path rests when a step lowers its action by less than this part.
_REST = 1e-5
#: Slack of a feasible step in units of length, and excess of an admissible control in half ranges.
_FEASIBLE, _ADMISSIBLE = 1e-3, 0.05


@dataclass(frozen=True)
class Stage:
    """One stage of a schedule: the metric's epsilon, the price of controls beyond their bounds, most iterations.

    ``bound`` is the price of half a range too much, in typical steps.
    """

    epsilon: float
    bound: float
    iterations: int


@dataclass(frozen=True)
class Path:
    """A path and what it costs.

    Attributes
    ----------
    states
        x_0 .. x_N, (N + 1, n), angles unwrapped.
    controls
        The controls read off the path, within bounds, (N, m).
    cost
        Its action S, with what is to be paid from its end on.
    feasible
        Whether the model takes each state to the next under controls within bounds.
    converged
        Whether it is feasible and no step lowers its action.
    """

    states: Array
    controls: Array
    cost: float
    feasible: bool
    converged: bool


@dataclass(frozen=True)
class _Point:
    """A path with all that its action and the next step need."""

    path: Array
    cost: float
    steps: Array  # what each step costs, (N,)
    gradient: Array  # (N + 1, n), of half the action
    diagonal: Array  # (N + 1, n, n)
    below: Array  # (N, n, n)
    controls: Array
    slack: float
    excess: float


class PathSolver:
    """Gauss-Newton on paths of one model and task.

    Parameters
    ----------
    regulator
        The end of paths whose objective is a cost: its quadratic value at x_N. Without one, x_N stays where it is
        (objective "action").
    """

    def __init__(
        self,
        dynamics: Dynamics,
        problem: Problem,
        scales: Scales,
        potential: Potential,
        regulator: Regulator | None,
    ) -> None:
        self._dynamics, self._problem, self._scales = dynamics, problem, scales
        self._potential, self._regulator = potential, regulator
        n = dynamics.states
        row, column = np.tril_indices(n)
        self._inner = (row, column, row - column)
        row, column = (index.ravel() for index in np.indices((n, n)))
        self._outer = (row, column, n + row - column)

    def solve(self, path: Array, schedule: Sequence[Stage]) -> Path:
        """Return the path of least action near a path (N + 1, n) from the same start."""
        resting = False
        point = None
        for stage in schedule:
            point = self._point(path, stage)
            damping = _DAMPING
            resting = False
            for _ in range(stage.iterations):
                point, damping, gain = self._step(point, damping, stage)
                if gain < _REST:
                    resting = True
                    break
            path = point.path
        if point is None:
            raise ValueError("schedule must have one stage at least, got none")
        feasible = point.slack < _FEASIBLE and point.excess < _ADMISSIBLE and np.isfinite(point.cost)
        controls = np.clip(point.controls, self._problem.low, self._problem.high)
        return Path(point.path, controls, point.cost, bool(feasible), bool(resting and feasible))

    def cost(self, path: Array, stage: Stage) -> float:
        """Return the action of a path (N + 1, n)."""
        return self._point(path, stage).cost

    def costs_to_go(self, path: Path, stage: Stage) -> Array:
        """Return what is left to pay at each state of a path but the last, (N,)."""
        return path.cost - np.concatenate([[0.0], np.cumsum(self._point(path.states, stage).steps)[:-1]])

    def _step(self, point: _Point, damping: float, stage: Stage) -> tuple[_Point, float, float]:
        """Return the next point, its damping, and by which part the action fell (0: no step lowers it)."""
        while damping < _MOST_DAMPING:
            move = self._newton(point, damping)
            if move is None:
                damping *= _TIGHTEN
                continue
            path = point.path.copy()
            path[1 : 1 + len(move)] += move
            trial = self._point(path, stage)
            if trial.cost < point.cost:
                return trial, damping * _EASE, (point.cost - trial.cost) / max(point.cost, 1e-12)
            damping *= _TIGHTEN
        return point, damping, 0.0

    def _newton(self, point: _Point, damping: float) -> Array | None:
        """Return the damped step of the free states, or None where the matrix is not positive."""
        free = len(point.path) - 1 - (self._regulator is None)
        n = self._dynamics.states
        band = np.zeros((2 * n, free, n))
        row, column, offset = self._inner
        band[offset, :, column] = point.diagonal[1 : free + 1, row, column].T
        row, column, offset = self._outer
        band[offset, : free - 1, column] = point.below[1:free, row, column].T
        band[0] += damping * self._scales.cost / self._scales.length**2
        right = -point.gradient[1 : free + 1].reshape(-1)
        _, move, info = dpbsv(band.reshape(2 * n, -1), right, lower=1, overwrite_ab=1, overwrite_b=1)
        return move.reshape(free, n) if info == 0 and np.isfinite(move).all() else None

    def _point(self, path: Array, stage: Stage) -> _Point:
        """Return the action of a path, half its gradient and half its Gauss-Newton matrix."""
        problem, scales = self._problem, self._scales
        weight = problem.control_cost
        inverse = 1.0 / scales.length**2
        f, jacobian, gain = self._dynamics.linearised(path[:-1])
        defect = path[1:] - f
        # The best control of each step, M e, and the slack that it leaves.
        scaled = np.swapaxes(gain, -1, -2) * inverse
        read = np.linalg.solve(stage.epsilon * weight + scaled @ gain, scaled)
        controls = (read @ defect[..., None])[..., 0]
        slack = defect - (gain @ controls[..., None])[..., 0]
        pull = slack * inverse / stage.epsilon
        rest = np.eye(path.shape[1]) - gain @ read
        metric = np.swapaxes(read, -1, -2) @ weight @ read + np.swapaxes(rest, -1, -2) @ (
            inverse[:, None] / stage.epsilon * rest
        )
        steps = ((controls @ weight) * controls).sum(-1) + (slack * pull).sum(-1)
        # Hinges on the controls.
        price = stage.bound * scales.cost / scales.control**2
        excess = np.maximum(controls - problem.high, 0.0) - np.maximum(problem.low - controls, 0.0)
        if excess.any():
            steps += (price * excess**2).sum(-1)
            active = price * (excess != 0)
            pull = pull + (np.swapaxes(read, -1, -2) @ (price * excess)[..., None])[..., 0]
            metric = metric + np.swapaxes(read, -1, -2) @ (active[..., None] * read)
        turned = np.swapaxes(jacobian, -1, -2)
        below = -metric @ jacobian
        gradient = np.zeros_like(path)
        diagonal = np.zeros((*path.shape, path.shape[1]))
        gradient[1:] += pull
        diagonal[1:] += metric
        gradient[:-1] -= (turned @ pull[..., None])[..., 0]
        diagonal[:-1] -= turned @ below
        residual, slope = self._potential.linearised(path[:-1])
        steps += (residual**2).sum(-1)
        cost = float(steps.sum())
        slope_turned = np.swapaxes(slope, -1, -2)
        gradient[:-1] += (slope_turned @ residual[..., None])[..., 0]
        diagonal[:-1] += slope_turned @ slope
        if self._regulator is not None:
            error = self._regulator.error(path[-1])
            cost += float(error @ self._regulator.value @ error)
            gradient[-1] += self._regulator.value @ error
            diagonal[-1] += self._regulator.value
        return _Point(
            path,
            cost if np.isfinite(cost) else np.inf,
            steps,
            gradient,
            diagonal,
            below,
            controls,
            float(np.abs(slack / scales.length).max()),
            float(np.abs(excess / scales.control).max()),
        )
