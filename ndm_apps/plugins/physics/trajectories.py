"""Measured trajectories: of any lengths, at any times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: So many samples of each trajectory stay when they are thinned.
FEW = 20


@final
@dataclass(frozen=True)
class Trajectories:
    """Trajectories one after the other, each a run of samples in the order of time.

    Attributes
    ----------
    state
        Names of the columns.
    angles
        Those measured modulo 2 pi.
    time
        Shape ``(samples,)``, ascending within a trajectory.
    values
        Shape ``(samples, columns)``.
    starts
        Number of each trajectory's first sample, shape ``(trajectories,)``, ascending from 0.

    Examples
    --------
    >>> two = Trajectories(("x",), frozenset(), np.array([0.0, 1, 0]), np.array([[3.0], [4], [5]]), np.array([0, 2]))
    >>> len(two), two.lengths.tolist(), two.take(np.array([1])).values.tolist()
    (2, [2, 1], [[5.0]])
    """

    state: tuple[str, ...]
    angles: frozenset[str]
    time: Array
    values: Array
    starts: NDArray[np.intp]

    @classmethod
    def on_grid(cls, state: tuple[str, ...], angles: frozenset[str], time: Array, values: Array) -> Trajectories:
        """Return trajectories at the same times: ``values`` is ``(trajectories, points, columns)``."""
        many, points, columns = values.shape
        return cls(state, angles, np.tile(time, many), values.reshape(-1, columns), np.arange(many) * points)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> NDArray[np.intp]:
        """Samples of each trajectory."""
        return np.diff(self.starts, append=len(self.values))

    @property
    def is_angle(self) -> NDArray[np.bool_]:
        """Which columns are angles."""
        return np.array([column in self.angles for column in self.state])

    def each(self) -> Iterator[tuple[Array, Array]]:
        """Return times and values of one trajectory after the other."""
        for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True):
            yield self.time[start : start + length], self.values[start : start + length]

    def take(self, trajectories: NDArray[np.intp]) -> Trajectories:
        """Return some of the trajectories."""
        parts = list(self.each())
        chosen = [parts[number] for number in trajectories.tolist()]
        lengths = np.array([len(time) for time, _ in chosen])
        return Trajectories(
            self.state,
            self.angles,
            np.concatenate([time for time, _ in chosen]),
            np.concatenate([values for _, values in chosen]),
            np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        )

    def thinned(self, most: int) -> Trajectories:
        """Return evenly chosen samples of each trajectory, ``most`` or about that in all; a few of each stay.

        Examples
        --------
        >>> one = Trajectories(("x",), frozenset(), np.arange(99.0), np.zeros((99, 1)), np.array([0]))
        >>> one.thinned(50).time[:4].tolist(), len(one.thinned(99).time)
        ([0.0, 2.0, 4.0, 6.0], 99)
        """
        share = most / len(self.values)
        if share >= 1:
            return self
        rows = [
            start + np.unique(np.linspace(0, length - 1, min(length, max(round(share * length), FEW))).astype(int))
            for start, length in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)
        ]
        chosen = np.concatenate(rows)
        starts = np.cumsum([0, *(len(part) for part in rows[:-1])])
        return Trajectories(self.state, self.angles, self.time[chosen], self.values[chosen], starts)
