"""How fast a function decays along trajectories, and towards what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, minimize

from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]


def lowest(formula: Formula, data: Trajectories) -> float:
    """Return the least value of a formula within the ranges of the columns."""
    low, high = data.values.min(axis=0), data.values.max(axis=0)
    start = data.values[int(np.argmin(formula(data.values)))]
    scale = np.maximum(high - low, np.finfo(float).tiny)

    def scaled(x: Array) -> tuple[float, Array]:
        point = (low + x * scale)[None]
        return float(formula(point)[0]), formula.gradient(point)[0] * scale

    found = minimize(scaled, (start - low) / scale, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(low))
    spread = float(formula(data.values).std())
    return 0.0 if abs(found.fun) < 1e-9 * spread else float(found.fun)


def decay(times: Array, levels: Array, owner: NDArray[np.intp]) -> tuple[float, float, float]:
    """Fit ``levels = A exp(-rate t)``, with A of each trajectory.

    Parameters
    ----------
    times, levels
        Shape ``(samples,)``.
    owner
        Number of the trajectory of each sample.

    Returns
    -------
    The rate, its jackknife deviation, and the part of the variance along trajectories that it explains.

    Examples
    --------
    >>> t = np.tile(np.linspace(0, 5, 6), 2)
    >>> rate, deviation, explained = decay(t, np.repeat([1.0, 3.0], 6) * np.exp(-0.2 * t), np.repeat([0, 1], 6))
    >>> round(rate, 6), deviation < 1e-6, round(explained, 6)
    (0.2, True, 1.0)
    """

    def fitted(kept: NDArray[np.bool_]) -> tuple[float, float]:
        t, y, who = times[kept], levels[kept], np.unique(owner[kept], return_inverse=True)[1]

        def amplitudes(rate: float) -> Array:
            shape = np.exp(-rate * (t - times.min()))
            return np.bincount(who, shape * y) / np.bincount(who, shape**2)

        def rest(parameters: Array) -> Array:
            rate = float(parameters[0])
            return np.asarray(y - amplitudes(rate)[who] * np.exp(-rate * (t - times.min())))

        span = max(float(np.ptp(times)), np.finfo(float).tiny)
        found = least_squares(rest, [0.5 / span], x_scale=1 / span)
        return float(found.x[0]), 2 * float(found.cost)

    everything = np.ones(len(times), dtype=bool)
    rate, left = fitted(everything)
    others = []
    for n in range(len(times)):
        kept = everything.copy()
        kept[n] = False
        others.append(fitted(kept)[0])
    many = len(others)
    means = np.bincount(owner, levels) / np.maximum(np.bincount(owner), 1)
    along = float(((levels - means[owner]) ** 2).sum())
    with np.errstate(over="ignore"):  # where nothing decays, rates are anything
        deviation = float(np.sqrt((many - 1) / many * ((np.array(others) - np.mean(others)) ** 2).sum()))
    return rate, deviation, 1 - left / max(along, np.finfo(float).tiny)
