"""Positions and velocities of measured trajectories, cut into windows for weak derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from torch import Tensor

from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Where the times leave out more than this many steps, a trajectory is cut in two.
LONGEST_GAP = 3.0
#: Steps that differ by less than this part count as even.
EVEN = 1e-6
#: Exponent of the test functions (1 - s^2)^p. They and p - 1 derivatives vanish at both ends of a window, so that the
#: sum over its samples is the integral to a high order.
EXPONENT = 6


@final
@dataclass(frozen=True)
class Motion:
    """Coordinates and their rates along trajectories, evenly sampled in pieces.

    Attributes
    ----------
    names
        Of the coordinates.
    angles
        Numbers of the coordinates measured modulo 2 pi; their values are continuous in time.
    q, v
        One array for each piece, shape ``(samples, n)``.
    step
        Time between the samples of each piece.
    trajectory
        The trajectory each piece belongs to.
    """

    names: tuple[str, ...]
    angles: tuple[int, ...]
    q: tuple[Array, ...]
    v: tuple[Array, ...]
    step: tuple[float, ...]
    trajectory: tuple[int, ...]

    @property
    def n(self) -> int:
        """Number of coordinates."""
        return len(self.names)

    def take(self, trajectories: Sequence[int] | NDArray[np.intp]) -> Motion:
        """Return the pieces of some trajectories."""
        wanted = {int(number) for number in trajectories}
        kept = [piece for piece, owner in enumerate(self.trajectory) if owner in wanted]
        return Motion(
            self.names,
            self.angles,
            *(tuple(part[piece] for piece in kept) for part in (self.q, self.v, self.step, self.trajectory)),
        )

    def samples(self) -> tuple[Tensor, Tensor]:
        """Return all positions and all velocities, shape ``(samples, n)`` each."""
        return torch.from_numpy(np.concatenate(self.q)), torch.from_numpy(np.concatenate(self.v))

    def owners(self) -> NDArray[np.intp]:
        """Return the trajectory of each of :meth:`samples`."""
        return np.repeat(np.array(self.trajectory), [len(piece) for piece in self.q])


def motion(data: Trajectories, positions: Sequence[str], velocities: Sequence[str]) -> Motion:
    """Take positions and velocities out of trajectories.

    Trajectories with uneven times are interpolated to even ones (by cubic splines through positions and velocities),
    and are cut where samples are missing.

    Raises
    ------
    ValueError
        A column is not there, or the two lists do not match.
    """
    for name, columns in (("positions", positions), ("velocities", velocities)):
        for column in columns:
            if column not in data.state:
                raise ValueError(f"{name} must be columns among {', '.join(data.state)}, got {column!r}")
    if len(positions) != len(velocities) or not positions:
        raise ValueError(
            f"velocities must be one for each position, got {len(velocities)} for {len(positions)} positions"
        )
    rows = [data.state.index(column) for column in positions]
    rates = [data.state.index(column) for column in velocities]
    angles = tuple(n for n, column in enumerate(positions) if column in data.angles)
    pieces: list[tuple[Array, Array, float, int]] = []
    for number, (time, values) in enumerate(data.each()):
        q, v = values[:, rows].copy(), values[:, rates].copy()
        q[:, angles] = np.unwrap(q[:, angles], axis=0)
        pieces += [(*part, number) for part in _even_pieces(time, q, v)]
    return Motion(tuple(positions), angles, *(tuple(column) for column in zip(*pieces, strict=True)))


def _even_pieces(time: Array, q: Array, v: Array) -> list[tuple[Array, Array, float]]:
    steps = np.diff(time)
    usual = float(np.median(steps)) if len(steps) else 1.0
    pieces = []
    for part in np.split(np.arange(len(time)), np.flatnonzero(steps > LONGEST_GAP * usual) + 1):
        t = time[part]
        if len(t) > 1 and np.ptp(np.diff(t)) > EVEN * usual:
            even = np.linspace(t[0], t[-1], len(t))
            pieces.append(
                (CubicHermiteSpline(t, q[part], v[part])(even), CubicSpline(t, v[part])(even), even[1] - even[0])
            )
        else:
            pieces.append((q[part], v[part], usual))
    return pieces


@final
@dataclass(frozen=True)
class Windows:
    r"""Short stretches of motion with the weights of a test function :math:`\psi`.

    Attributes
    ----------
    q, v
        Shape ``(windows, samples, n)``.
    rate, value
        Weights with which sums over the samples are :math:`\int \dot\psi f dt` and :math:`\int \psi f dt`, shape
        ``(windows, samples)``. Their scale is such that the sum of squares of ``rate`` is 1: independent errors of p
        come through :math:`\int \dot\psi p` with their own size.
    place
        Numbers of the samples among those of the motion, shape ``(windows, samples)``.
    """

    q: Tensor
    v: Tensor
    rate: Tensor
    value: Tensor
    place: Tensor

    def __len__(self) -> int:
        return len(self.q)

    def take(self, numbers: Tensor) -> Windows:
        """Return some of the windows."""
        return Windows(*(getattr(self, one.name)[numbers] for one in fields(self)))


def windows(data: Motion, samples: int, stride: int) -> Windows:
    """Cut the motion into windows of so many samples, one every ``stride`` samples.

    Raises
    ------
    ValueError
        No stretch of the data is as long as a window.
    """
    s = np.linspace(-1.0, 1.0, samples + 2)[1:-1]
    value = (1 - s**2) ** EXPONENT
    rate = -2 * EXPONENT * s * (1 - s**2) ** (EXPONENT - 1)
    size = np.sqrt((rate**2).sum())
    q, v, values, places = [], [], [], []
    first = 0
    for piece_q, piece_v, step in zip(data.q, data.v, data.step, strict=True):
        for start in range(0, len(piece_q) - samples + 1, stride):
            q.append(piece_q[start : start + samples])
            v.append(piece_v[start : start + samples])
            # ds/dt = 2 / ((samples + 1) step); the common factor of both weights is dropped.
            values.append(value / size * (samples + 1) * step / 2)
            places.append(np.arange(first + start, first + start + samples))
        first += len(piece_q)
    if not q:
        longest = max((len(piece) for piece in data.q), default=0)
        raise ValueError(f"window must be at most the {longest} samples of the longest trajectory, got {samples}")
    rates = np.broadcast_to(rate / size, (len(q), samples)).copy()
    return Windows(*(torch.from_numpy(np.asarray(part)) for part in (q, v, rates, values, places)))
