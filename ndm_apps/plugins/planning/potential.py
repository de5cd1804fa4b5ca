r"""What a path pays for the states that it visits: the task, the walls around, and the model's uncertainty.

.. math:: q(x) = |r(x)|^2 + w \sum_i \left(\frac{(x_i - b_i)_+ + (a_i - x_i)_+}{s_i}\right)^2
          + \beta\, \bar c \sum_i \left(\frac{\sigma_i(x)}{s_i}\right)^2

with the box or limits [a, b] of coordinates that are no angles, the spread sigma of the model, and the units s of
lengths and :math:`\bar c` of cost. All of it is a sum of squares, as Gauss-Newton needs it.
"""

from __future__ import annotations

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import Scales

#: Price of one unit of length beyond a wall, in typical steps.
_WALL = 400.0
#: Part of its range that a path keeps from a limit that ends the episode.
_MARGIN = 0.04
_STEP = 1e-4  # of finite differences of the spread, in units of length


class Potential:
    """The potential of a problem, as residuals whose squares add up to it.

    Parameters
    ----------
    dynamics, problem, scales
        The model, the task and its units.
    uncertainty
        beta above: the price of the model's spread, in typical steps.
    """

    def __init__(self, dynamics: Dynamics, problem: Problem, scales: Scales, uncertainty: float) -> None:
        self._dynamics, self._problem = dynamics, problem
        self._length = scales.length
        self._task = problem.objective == "cost"
        self._walled = np.array([i for i in range(dynamics.states) if i not in dynamics.angles], dtype=np.intp)
        margin = _MARGIN * (problem.box[:, 1] - problem.box[:, 0])
        low = np.where(np.isfinite(problem.limits[:, 0]), problem.limits[:, 0] + margin, problem.box[:, 0])
        high = np.where(np.isfinite(problem.limits[:, 1]), problem.limits[:, 1] - margin, problem.box[:, 1])
        self._low, self._high = low[self._walled], high[self._walled]
        self._wall = np.sqrt(_WALL * scales.cost) / self._length[self._walled]
        # A model that is certain in the middle and at two corners of the box is a true one.
        places = np.array([problem.box.mean(axis=1), problem.box[:, 0], problem.box[:, 1]])
        uncertain = uncertainty > 0 and bool(np.any(dynamics.spread(places) > 0))
        self._doubt = np.sqrt(uncertainty * scales.cost) if uncertain else 0.0

    def residual(self, x: Array) -> Array:
        """Return the residuals (..., q) at states (..., n)."""
        place = x[..., self._walled]
        beyond = np.maximum(place - self._high, 0.0) - np.maximum(self._low - place, 0.0)
        parts = [self._problem.residual(x)] if self._task else []
        parts.append(self._wall * beyond)
        if self._doubt:
            parts.append(self._doubt * self._dynamics.spread(x) / self._length)
        return np.concatenate(parts, axis=-1)

    def linearised(self, x: Array) -> tuple[Array, Array]:
        """Return the residuals (..., q) and their Jacobian (..., q, n)."""
        residual = self.residual(x)
        place = x[..., self._walled]
        outside = ((place > self._high) | (place < self._low)).astype(float)
        wall = np.zeros((*x.shape[:-1], len(self._walled), x.shape[-1]))
        wall[..., np.arange(len(self._walled)), self._walled] = self._wall * outside
        parts = [self._problem.residual_jacobian(x)] if self._task else []
        parts.append(wall)
        if self._doubt:
            parts.append(self._doubt * self._spread_jacobian(x))
        return residual, np.concatenate(parts, axis=-2)

    def cost(self, x: Array) -> Array:
        """Return the potential (...) at states (..., n)."""
        return np.asarray((self.residual(x) ** 2).sum(-1))

    def _spread_jacobian(self, x: Array) -> Array:
        """Return the derivative of the spread over the lengths, (..., n, n), by central differences."""
        steps = np.diag(_STEP * self._length)
        around = np.stack([x[..., None, :] + steps, x[..., None, :] - steps])
        ahead, behind = self._dynamics.spread(around) / self._length
        return np.swapaxes(ahead - behind, -1, -2) / (2 * _STEP * self._length)
