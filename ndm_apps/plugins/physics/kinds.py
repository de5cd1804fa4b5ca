"""What kinds of columns trajectories have, judged from the data: positions and velocities, positive columns, bodies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.noise import unwrapped
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: A column is the velocity of another if this part of the other's changes is explained by its integral.
EXPLAINED = 0.95
#: Samples over which changes and integrals are compared.
SPAN = 10
#: A positive column may come so near to zero (in units of its noise) ...
NEAR_ZERO = 2.0
#: ... in no more than this part of the samples ...
SELDOM = 0.25
#: ... but not below zero by more than this ...
BELOW = 4.0
#: ... and its large values exceed its small ones by this factor: else a logarithm is as good as a line.
RATIO = 2.0
_BODY = re.compile(r"([xyz])_?(\d*)")


@final
@dataclass(frozen=True)
class Kinds:
    """Kinds of columns, by their numbers.

    Attributes
    ----------
    pairs
        A position and its velocity or momentum.
    positive
        Columns whose logarithm makes sense.
    bodies
        Positions of one body each.
    """

    pairs: tuple[tuple[int, int], ...]
    positive: tuple[int, ...]
    bodies: tuple[tuple[int, ...], ...]


def kinds(data: Trajectories, sigma: Array, bodies: Sequence[Sequence[str]] | None = None) -> Kinds:
    """Tell the kinds of columns.

    Parameters
    ----------
    data
        The trajectories.
    sigma
        Noise of each column.
    bodies
        The columns of each body's position, if known. Else columns named x, y (and z), or x1, y1, x2, y2 and so on, if
        the data say that they are positions; else all positions together if they are two or three.
    """
    pairs = position_pairs(data, sigma)
    positions = [position for position, _ in pairs if data.state[position] not in data.angles]
    if bodies is not None:
        found = tuple(tuple(data.state.index(column) for column in body) for body in bodies)
    else:
        found = _named_bodies(data.state, positions) or (
            (tuple(positions),) if len(positions) in (2, 3) and len(positions) == len(pairs) else ()
        )
    return Kinds(pairs, tuple(n for n in range(len(data.state)) if _positive(data, n, sigma[n])), found)


def _named_bodies(state: Sequence[str], positions: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    bodies: dict[str, list[int]] = {}
    for number in positions:
        named = _BODY.fullmatch(state[number])
        if named:
            bodies.setdefault(named[2], []).append(number)
    return tuple(tuple(body) for body in bodies.values() if len(body) >= 2)


def _positive(data: Trajectories, column: int, sigma: float) -> bool:
    if data.state[column] in data.angles:
        return False
    values = data.values[:, column]
    low, high = np.quantile(values, [0.01, 0.99])
    return bool(
        values.min() > -BELOW * sigma
        and np.mean(values < NEAR_ZERO * sigma) < SELDOM
        and high > 0
        and high > RATIO * max(low, 0.0)
    )


def position_pairs(data: Trajectories, sigma: Array) -> tuple[tuple[int, int], ...]:
    r"""Return the pairs of a position and its velocity, by the integral test.

    The change of a position over some samples correlates perfectly with the integral of its velocity:
    :math:`\mathrm{corr}(x_i(t + L) - x_i(t), \int_t^{t+L} x_j)^2` exceeds 0.95 of what noise leaves of 1. No derivative
    is taken, so that noise does little harm.
    """
    values = unwrapped(data)
    owner = np.repeat(np.arange(len(data)), data.lengths)
    span = int(min(SPAN, max(2, np.median(data.lengths) // 6)))
    if len(values) <= span:
        return ()
    inside = owner[span:] == owner[:-span]
    changes = (values[span:] - values[:-span])[inside]
    steps = np.diff(data.time)[:, None] * (values[1:] + values[:-1]) / 2
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(steps, axis=0)])
    integrals = (total[span:] - total[:-span])[inside]
    if len(changes) < 10:
        return ()
    duration = (data.time[span:] - data.time[:-span])[inside]
    noise = sigma**2 * float(np.mean(duration**2)) / span
    changes, integrals = changes - changes.mean(axis=0), integrals - integrals.mean(axis=0)
    own, theirs = changes.var(axis=0), integrals.var(axis=0)
    with np.errstate(all="ignore"):
        correlation = (changes.T @ integrals) / len(changes) / np.sqrt(np.outer(own, theirs))
        left = np.outer(1 - np.minimum(2 * sigma**2 / own, 0.9), 1 - np.minimum(noise / theirs, 0.9))
    score = np.where(np.isfinite(correlation), np.sign(correlation) * correlation**2 / left, 0.0)
    np.fill_diagonal(score, 0.0)
    found = []
    for position in range(len(score)):
        velocity = int(np.argmax(score[position]))
        if score[position, velocity] > EXPLAINED and int(np.argmax(score[:, velocity])) == position:
            found.append((position, velocity))
    return tuple(found)
