"""Units in which one setting serves every problem: lengths of the chart, the cost of a typical step, angles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem

_TYPICAL = 1024  # states over which a typical step is averaged


def wrapped(x: Array, angles: Sequence[int]) -> Array:
    """Return states with their angles in [-pi, pi).

    Examples
    --------
    >>> wrapped(np.array([7.0, 7.0]), angles=(0,)).round(2)
    array([0.72, 7. ])
    """
    x = np.array(x)
    for i in angles:
        x[..., i] = (x[..., i] + np.pi) % (2 * np.pi) - np.pi
    return x


def spread_out(box: Array, count: int, generator: np.random.Generator) -> Array:
    """Return states that fill a box evenly (a scrambled Sobol sequence), (count, n).

    References
    ----------
    Owen, "Scrambling Sobol' and Niederreiter-Xing points", Journal of Complexity 14, 1998.
    """
    power = max(int(np.ceil(np.log2(max(count, 1)))), 0)
    points = qmc.Sobol(len(box), rng=generator).random_base2(power)[:count]
    return np.asarray(box[:, 0] + points * (box[:, 1] - box[:, 0]))


@dataclass(frozen=True)
class Scales:
    """Units of a problem.

    Attributes
    ----------
    length
        Standard deviation of each coordinate over the box, 1 for angles (of a point of the circle), (n,).
    control
        Half the range of each control, (m,).
    cost
        Mean cost of a step over the box and the bounds of the controls.
    """

    length: Array
    control: Array
    cost: float


def scales_of(problem: Problem, angles: Sequence[int], generator: np.random.Generator) -> Scales:
    """Return the units of a problem."""
    length = (problem.box[:, 1] - problem.box[:, 0]) / np.sqrt(12.0)
    length[list(angles)] = 1.0
    control = (problem.high - problem.low) / 2
    residual = problem.residual(spread_out(problem.box, _TYPICAL, generator))
    potential = float((residual**2).sum(-1).mean()) if problem.objective == "cost" else 0.0
    effort = float(np.diag(problem.control_cost) @ control**2) / 3
    return Scales(length, control, 1.0 if problem.objective == "time" else potential + effort)
