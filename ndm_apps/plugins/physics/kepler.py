r"""Kepler's three laws, orbit by orbit, of bodies that were found to move in a field :math:`GM/r`.

Of each trajectory alone, with :math:`L = r \times v`:

- GM from the Runge-Lenz vector, :math:`v \times L = GM\,\hat r + \mathrm{const}`, a straight line in :math:`\hat r`;
- first law: :math:`r = p - e \cdot x`, an ellipse with the centre in a focus, of semi-major axis
  :math:`a = p / (1 - |e|^2)`;
- second law: :math:`|L|`, twice the area swept in a unit of time;
- third law: :math:`4\pi^2 a^3/T^2 = GM`, with the period T from the mean anomaly.

What the others do to an orbit is told as the drift of each law: a trend (secular), and what is left (periodic).

References
----------
Goldstein, Poole and Safko, "Classical Mechanics", 3rd edition, 2002, sections 3.7 to 3.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.dictionary import Formula, Term
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.perturbed import Departure, trend
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Parts of a trajectory that are left out in turn for the standard deviation of GM.
BLOCKS = 10
#: An orbit must be seen for this part of a turn: of less, the ellipse is anyone's guess.
LEAST_TURN = 0.25


@final
@dataclass(frozen=True)
class Orbit:
    """One orbit by Kepler's laws; times and lengths in the units of the data.

    Attributes
    ----------
    turns
        How many times it was seen to go round.
    gm, gm_deviation
        GM from the Runge-Lenz vector, with its standard deviation (jackknife over ten parts of the time).
    semi_major, eccentricity
        Of the ellipse.
    off_ellipse
        Root mean square of the distance from it, in units of r.
    area, energy
        Drift of the areal velocity and of the energy, in units of their means.
    apsides
        How far the ellipse turned in its plane from the first sample to the last, in radians.
    period
        From the mean anomaly; None if the orbit is not closed.
    third_law
        ``4 pi^2 a^3 / T^2``.
    """

    turns: float
    gm: float
    gm_deviation: float
    semi_major: float
    eccentricity: float
    off_ellipse: float
    area: Departure
    energy: Departure
    apsides: float
    period: float | None
    third_law: float | None

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**vars(self), "area": vars(self.area), "energy": vars(self.energy)}


def attracted(formula: Formula, kinds: Kinds) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the columns of position and velocity if a formula is a law of a body in a field GM/r alone; else None.

    Such are the energy, and the components of the Runge-Lenz vector.
    """
    velocity = dict(kinds.pairs)
    for body in kinds.bodies:
        moving = tuple(velocity.get(n, -1) for n in body)
        told = [_kind(factors, body, moving) for factors in formula.dictionary.terms]
        is_energy = sorted(told) == ["GM/r", *["v^2"] * len(body)]
        is_lenz = told.count("GM x/r") == 1 and told.count("v^2 x") == len(told) - 1 >= 2
        if is_energy or is_lenz:
            return body, moving
    return None


def _kind(factors: Term, body: Sequence[int], moving: Sequence[int]) -> str:
    """Return which part of a law of Kepler's motion a term may be; of none, an empty text."""
    distances = [atom for atom in factors if atom.kind == "distance"]
    columns = [atom.columns[0] for atom in factors if atom.kind == "column"]
    if len(columns) + len(distances) < len(factors) or len(distances) > 1:
        return ""
    places, swift = sum(n in body for n in columns), [n for n in columns if n in moving]
    if distances:
        one = distances[0]
        is_inverse = one.power == -1.0 and not one.pair and one.columns == tuple(body)
        return {(0, 0): "GM/r", (1, 0): "GM x/r"}.get((places, len(swift)), "") if is_inverse else ""
    if len(swift) != 2 or places + 2 < len(columns):
        return ""
    return "v^2 x" if places == 1 else "v^2" if places == 0 and swift[0] == swift[1] else ""


def orbits(data: Trajectories, body: Sequence[int], moving: Sequence[int]) -> list[Orbit | None]:
    """Return the orbit of each trajectory; None of one that is seen for less than a quarter of a turn.

    Parameters
    ----------
    data
        The trajectories.
    body, moving
        Numbers of the two or three columns of the position, and of its velocity.

    Examples
    --------
    >>> t = np.linspace(0, 20, 400)
    >>> circle = np.stack([np.cos(t), np.sin(t), -np.sin(t), np.cos(t)], axis=1)
    >>> one = Trajectories(("x", "y", "vx", "vy"), frozenset(), t, circle, np.array([0]))
    >>> found = orbits(one, (0, 1), (2, 3))[0]
    >>> round(found.gm, 6), round(found.semi_major, 6), round(found.period / (2 * np.pi), 6)
    (1.0, 1.0, 1.0)
    """
    return [_orbit(time, values[:, list(body)], values[:, list(moving)]) for time, values in data.each()]


def _orbit(time: Array, x: Array, v: Array) -> Orbit | None:
    """Return the orbit of positions and velocities ``(samples, 2 or 3)``."""
    pad = np.zeros((len(x), 3 - x.shape[1]))
    x, v = np.concatenate([x, pad], axis=1), np.concatenate([v, pad], axis=1)
    r = np.linalg.norm(x, axis=1)
    spin = np.cross(x, v)
    area = np.linalg.norm(spin, axis=1)
    axis = spin.mean(axis=0) / np.linalg.norm(spin.mean(axis=0))
    first = x[0] - axis * (axis @ x[0])
    first = first / np.linalg.norm(first)
    plane = np.stack([first, np.cross(axis, first)], axis=1)
    angle = np.unwrap(np.arctan2(*(x @ plane).T[::-1]))
    turns = float(np.abs(angle[-1] - angle[0]) / (2 * np.pi))
    if turns < LEAST_TURN:
        return None
    towards, hodograph = x / r[:, None], np.cross(v, spin)
    gm = _slope(towards, hodograph)
    blocks = np.arange(len(r)) * BLOCKS // len(r)
    others = np.array([_slope(towards[blocks != n], hodograph[blocks != n]) for n in range(BLOCKS)])
    flat = np.concatenate([np.ones((len(r), 1)), -(x @ plane)], axis=1)
    parameter, *shape = np.linalg.lstsq(flat / r[:, None], np.ones(len(r)), rcond=None)[0]
    e = float(np.hypot(*shape))
    a = float(parameter / (1 - e**2))
    lenz = (hodograph - gm * towards) @ plane
    energy = (v**2).sum(axis=1) / 2 - gm / r
    period = _period(time, angle - np.arctan2(shape[1], shape[0]), e) if e < 1 else None
    return Orbit(
        turns=turns,
        gm=gm,
        gm_deviation=float(np.sqrt((BLOCKS - 1) * others.var())),
        semi_major=a,
        eccentricity=e,
        off_ellipse=float(np.sqrt(((flat @ [parameter, *shape]) / r - 1).var())),
        area=Departure(*trend(time, area / area.mean())),
        energy=Departure(*trend(time, energy / np.abs(energy.mean()))),
        apsides=trend(time, np.unwrap(np.arctan2(lenz[:, 1], lenz[:, 0])))[0],
        period=period,
        third_law=None if period is None else 4 * np.pi**2 * a**3 / period**2,
    )


def _slope(towards: Array, hodograph: Array) -> float:
    """Return the slope of one set of vectors on another, up to a constant vector."""
    one, other = towards - towards.mean(axis=0), hodograph - hodograph.mean(axis=0)
    return float((one * other).sum() / (one**2).sum())


def _period(time: Array, true_anomaly: Array, e: float) -> float:
    """Return the period, as the mean anomaly grows in time."""
    turns = np.floor((true_anomaly + np.pi) / (2 * np.pi))
    half = (true_anomaly - 2 * np.pi * turns) / 2
    eccentric = 2 * np.arctan2(np.sqrt(1 - e) * np.sin(half), np.sqrt(1 + e) * np.cos(half))
    mean = eccentric - e * np.sin(eccentric) + 2 * np.pi * turns
    gained, _ = trend(time, mean)
    return float(2 * np.pi * np.ptp(time) / abs(gained))
