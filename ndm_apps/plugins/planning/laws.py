r"""What is linear in the data is found before a network is fitted: which coordinate is the integral of which other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.dynamics import Array

#: Residual of a law relative to the motion it explains: above rounding in float32, below what a model is good for.
_EXACT = 1e-4

#: Share of the motion that a rate must explain for a coordinate to be its integral, up to the integrator's own error.
_INTEGRAL = 0.1


@dataclass(frozen=True)
class Law:
    r"""One coordinate is the integral of another: :math:`q' - q = a v + b v'`.

    Attributes
    ----------
    position, rate
        Indices of q and v.
    before, after
        a and b: (dt, 0) where the environment steps by Euler's rule, (0, dt) by the semi-implicit one.
    residual
        Root mean square of what is left, over that of q' - q.
    """

    position: int
    rate: int
    before: float
    after: float
    residual: float

    @property
    def exact(self) -> bool:
        """Whether the law holds to rounding, so that q needs no model of its own."""
        return self.residual < _EXACT

    @property
    def interval(self) -> float:
        """The time step in units of q over v."""
        return self.before + self.after


def integrals(chart: Chart, seen: Transitions) -> tuple[Law, ...]:
    """Return the laws that tell positions from rates, each coordinate in one law at most.

    Angles are positions only. Of two coordinates that explain each other, the one that is named first is the position.

    Examples
    --------
    >>> rng = np.random.default_rng(1000)
    >>> x = rng.normal(size=(50, 2))
    >>> v = x[:, 1] - 0.1 * np.sin(x[:, 0])
    >>> chart = Chart(2, 1, (), np.full((2, 2), np.inf) * [-1, 1], np.full((2, 2), 9.0) * [-1, 1])
    >>> (law,) = integrals(chart, Transitions(x, x[:, :1], np.stack([x[:, 0] + 0.1 * v, v], -1)))
    >>> law.position, law.rate, round(law.before, 6), round(law.after, 6), law.exact
    (0, 1, 0.0, 0.1, True)
    """
    move = chart.difference(seen.x, seen.y)
    found: list[Law] = []
    for q in range(chart.states):
        free = [v for v in chart.others if v != q and all(v not in (law.position, law.rate) for law in found)]
        if any(q == law.rate for law in found) or not free or not move[:, q].any():
            continue
        best = min((_law(seen, move, q, v) for v in free), key=lambda law: law.residual)
        if best.residual < _INTEGRAL and best.interval > 0:
            found.append(best)
    return tuple(found)


def _law(seen: Transitions, move: Array, q: int, v: int) -> Law:
    rates = np.stack([seen.x[:, v], seen.y[:, v]], axis=-1)
    before, after = np.linalg.lstsq(rates, move[:, q], rcond=1e-9)[0]
    left = move[:, q] - rates @ [before, after]
    return Law(q, v, float(before), float(after), float(np.linalg.norm(left) / np.linalg.norm(move[:, q])))
