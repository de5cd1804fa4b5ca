"""Integration of separable systems by steps that are symplectic: errors of the energy stay bounded for all times."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Suzuki and Umeno's composition of order 8 (Hairer, Lubich and Wanner 2006, section V.3.2): leapfrog steps of these
# lengths, one that brings the sum to 1, and the same backwards.
_HALF = (
    0.74167036435061295344822780,
    -0.40910082580003159399730010,
    0.19075471029623837995387626,
    -0.57386247111608226665638773,
    0.29906418130365592384446354,
    0.33462491824529818378495798,
    0.31529309239676659663205666,
)
LENGTHS = (*_HALF, 1.0 - 2.0 * sum(_HALF), *reversed(_HALF))


def composed(
    positions: Callable[[Array], Array],
    momenta: Callable[[Array], Array],
    of_momenta: NDArray[np.bool_],
    initial: Array,
    time: Array,
    steps: int,
) -> Array:
    """Integrate a separable system by a symmetric composition of leapfrog steps, of order 8.

    Parameters
    ----------
    positions, momenta
        The rates of the columns of either kind, as functions of the state ``(columns, trajectories)``; each depends on
        the other kind only.
    of_momenta
        Which columns are of the second kind.
    initial
        Initial values, shape ``(trajectories, columns)``.
    time
        Times of the samples.
    steps
        Steps of equal length from sample to sample.

    Returns
    -------
    Array
        Shape ``(trajectories, points, columns)``.

    References
    ----------
    Hairer, Lubich and Wanner (2006), Geometric Numerical Integration, 2nd edition.
    """
    kicks = np.array(LENGTHS)
    # The half drifts at the ends of neighbouring steps join; those of the whole step are at its ends.
    drifts = np.array([kicks[0] / 2, *(kicks[1:] + kicks[:-1]) / 2, kicks[-1] / 2])
    state = np.ascontiguousarray(initial.T)
    samples = [state.T.copy()]
    for start, end in pairwise(time.tolist()):
        step = (end - start) / steps
        for _ in range(steps):
            for drift, kick in zip(drifts[:-1] * step, kicks * step, strict=True):
                state[~of_momenta] += drift * positions(state)
                state[of_momenta] += kick * momenta(state)
            state[~of_momenta] += drifts[-1] * step * positions(state)
        samples.append(state.T.copy())
    return np.stack(samples, axis=1)
