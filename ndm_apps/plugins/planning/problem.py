"""What is to be planned, apart from how: the cost of a step, the goal, the bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array


@dataclass(frozen=True)
class Problem:
    r"""An optimal control problem, minimised over paths of a :class:`~ndm_apps.plugins.planning.dynamics.Dynamics`.

    .. math:: S = \sum_k \left(|r(x_k)|^2 + u_k^T R\, u_k\right)

    Attributes
    ----------
    objective
        ``"cost"``: S over the horizon, the goal being where it is least. ``"action"``: the controls' part alone, on
        paths that end at the goal. ``"time"``: the number of steps to the goal.
    residual
        r: states (..., n) to (..., q). Angles may come unwrapped. Its square is the potential of the path.
    residual_jacobian
        dr/dx, (..., q, n).
    control_cost
        R, symmetric and positive definite, (m, m).
    low, high
        Bounds of the controls, (m,).
    levels
        The controls that there are, (choices, m), where actions are discrete; else None.
    goal
        The state to reach or to stay at, (n,).
    reached
        Whether a state counts as at the goal: (..., n) to (...).
    box
        Where states live and nodes are drawn, (n, 2); angles from -pi to pi.
    limits
        States beyond them end an episode, (n, 2); infinite where there are none.
    horizon
        Steps of an episode.
    """

    objective: Literal["cost", "action", "time"]
    residual: Callable[[Array], Array]
    residual_jacobian: Callable[[Array], Array]
    control_cost: Array
    low: Array
    high: Array
    levels: Array | None
    goal: Array
    reached: Callable[[Array], NDArray[np.bool_]]
    box: Array
    limits: Array
    horizon: int
