"""The least time of Zermelo's navigation in a flow that is constant or linear across."""

from __future__ import annotations

import numpy as np
from scipy.optimize import root

from ndm_apps.plugins.planning.dynamics import Array


def least_time(start: Array, goal: Array, radius: float, wind: Array, shear: float) -> float:
    r"""Return the least time at unit speed through water that flows at W(x, y) = wind + shear (y, 0), to a disc.

    Without shear, the disc is reached when the circle that drifts and grows with time touches it:

    .. math:: |d - W t| = t + r

    With shear, headings on extremals obey Zermelo's equation, :math:`\tan\psi = \tan\psi_0 - \text{shear}\; t`; their
    paths are integrated in closed form, and the heading at the end points to the centre of the disc. Of the solutions
    found from headings all around, the first to arrive is taken.

    Parameters
    ----------
    start, goal
        Points (2,).
    radius
        Of the disc around the goal.
    wind
        Flow at the origin, slower than 1.
    shear
        Its change along x with y.

    References
    ----------
    Zermelo (1931), Ueber das Navigationsproblem bei ruhender oder veraenderlicher Windverteilung, ZAMM 11.
    Bryson and Ho (1975), Applied Optimal Control, section 2.7.

    Examples
    --------
    >>> least_time(np.zeros(2), np.array([1.5, 0.0]), 0.0, np.array([0.5, 0.0]), 0.0)
    1.0
    """
    gap = goal - start
    if np.linalg.norm(gap) <= radius:
        return 0.0
    if shear == 0.0:
        a, b, c = 1.0 - wind @ wind, gap @ wind + radius, gap @ gap - radius**2
        return float((np.sqrt(b * b + a * c) - b) / a)
    longest = 4.0 * np.linalg.norm(gap) / (1.0 - np.linalg.norm(wind)) + 4.0
    times = []
    for heading in np.linspace(-np.pi, np.pi, 24, endpoint=False):
        for guess in (0.5 * np.linalg.norm(gap), np.linalg.norm(gap), 2.0 * np.linalg.norm(gap)):
            found = root(_miss, [heading, guess], args=(start, goal, radius, wind, shear))
            if np.abs(found.fun).max() < 1e-9 and 0.0 < found.x[1] < longest:
                times.append(float(found.x[1]))
    return min(times, default=np.inf)


def _miss(unknowns: Array, start: Array, goal: Array, radius: float, wind: Array, shear: float) -> Array:
    """Return how far an extremal, held on to the centre of the disc, ends from it."""
    end, heading = extremal(start, float(unknowns[0]), float(unknowns[1]), wind, shear)
    return end + radius * np.array([np.cos(heading), np.sin(heading)]) - goal


def extremal(start: Array, heading: float, time: float, wind: Array, shear: float) -> tuple[Array, float]:
    """Return where an extremal ends, (2,), and its heading there.

    Parameters
    ----------
    start, wind, shear
        As of :func:`least_time`.
    heading
        At the start.
    time
        How long it takes.
    """
    s0, side = np.tan(heading), 1.0 if np.cos(heading) >= 0 else -1.0
    s1 = s0 - shear * time
    r0, r1 = np.hypot(1.0, s0), np.hypot(1.0, s1)
    area = ((s1 * r1 + np.arcsinh(s1)) - (s0 * r0 + np.arcsinh(s0))) / 2.0
    along = -side / shear * (np.arcsinh(s1) - np.arcsinh(s0)) + wind[0] * time
    carried = shear * (start[1] * time + wind[1] * time**2 / 2.0) + side * (r0 * time + area / shear)
    across = wind[1] * time - side / shear * (r1 - r0)
    return start + np.array([along + carried, across]), float(np.arctan2(side * s1, side))
