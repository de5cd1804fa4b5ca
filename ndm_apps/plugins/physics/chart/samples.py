"""Samples of trajectories as a chart is fitted to them, and judged by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: A chart resolves no more than this part of a column's spread: errors as large are added to those of the measurement.
RESOLUTION = 0.01
#: Samples of a stretch, counted from its first one.
OFFSETS = (0, 1, 2, 4, 8)
#: Stretches of each trajectory.
STRETCHES = 8
#: Samples of each trajectory that judges.
JUDGED = 32
#: Chords shorter than this count as so long, in units of the spreads.
SHORTEST = 0.15

_CHORDS = ((0, 1), (0, 2), (0, 3), (0, 4), (2, 3), (3, 4))


@final
@dataclass(frozen=True)
class States:
    """Some states, and what is known of them.

    Attributes
    ----------
    x
        Shape ``(points, columns)``.
    owner
        Number of the trajectory of each, from 0.
    unit
        Length that counts as one in each column, shape ``(columns,)``.
    known
        Orthonormal directions of the gradients of known laws in these units, ``(points, columns, laws)``.
    """

    x: Tensor
    owner: Tensor
    unit: Tensor
    known: Tensor

    @property
    def many(self) -> int:
        """Number of trajectories."""
        return int(self.owner[-1]) + 1

    def outside(self, gradient: Tensor) -> Tensor:
        """Return what is new of gradients ``(points, columns)`` in units of :attr:`unit`."""
        inside: Tensor = self.known @ (self.known.mT @ gradient.unsqueeze(-1))
        return gradient - inside.squeeze(-1)

    def means(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean over each sample's own trajectory, ``(points,)`` both."""
        weights = torch.ones_like(values) if weights is None else weights
        total = values.new_zeros(self.many).index_add(0, self.owner, weights * values)
        return (total / values.new_zeros(self.many).index_add(0, self.owner, weights))[self.owner]

    def chords(self, angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return pairs of samples of the same stretch, and the squared length of the chord between them."""
        start = torch.arange(0, len(self.x), len(OFFSETS))
        a, b = (torch.cat([start + pair[end] for pair in _CHORDS]) for end in (0, 1))
        step = self.x[a] - self.x[b]
        step = torch.where(angles, 2 * (step / 2).sin(), step)
        return a, b, (step / self.unit).square().sum(-1) + SHORTEST**2


def stretches(data: Trajectories, rng: np.random.Generator) -> tuple[Array, NDArray[np.intp]]:
    """Return samples of short stretches, ``(samples, columns)``, and the trajectory of each."""
    rows, owner = [], []
    for number, (start, length) in enumerate(zip(data.starts.tolist(), data.lengths.tolist(), strict=True)):
        first = rng.integers(0, max(length - OFFSETS[-1], 1), STRETCHES)
        rows.append(start + np.minimum(first[:, None] + np.array(OFFSETS), length - 1).ravel())
        owner.append(np.full(len(rows[-1]), number))
    return data.values[np.concatenate(rows)], np.concatenate(owner)


def spread_out(data: Trajectories) -> tuple[Array, NDArray[np.intp]]:
    """Return samples at even distances along each trajectory, ``(samples, columns)``, and the trajectory of each."""
    rows, owner = [], []
    for number, (start, length) in enumerate(zip(data.starts.tolist(), data.lengths.tolist(), strict=True)):
        rows.append(start + np.linspace(0, length - 1, min(JUDGED, length)).round().astype(np.intp))
        owner.append(np.full(len(rows[-1]), number))
    return data.values[np.concatenate(rows)], np.concatenate(owner)


def directions(gradients: Array, unit: Array) -> Tensor:
    """Return orthonormal directions of gradients ``(points, columns, laws)`` in units of ``unit``."""
    scaled = np.where(np.isfinite(gradients), gradients, 0.0) * unit[:, None]
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), np.finfo(float).tiny)
    basis, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    largest = sizes.max(axis=-1, keepdims=True, initial=0.0)
    return torch.from_numpy(basis * (sizes > 1e-6 * largest)[:, None, :])
