"""Samples between test and learning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Held:
    """Embedded samples that have been tested and are not learnt yet, by column.

    Attributes
    ----------
    z, r
        Coordinates ``(batch, d)`` and squared distances from the embedding's subspace ``(batch,)``.
    labels
        Labels ``(batch,)``.
    rows
        Component in which each is at home, ``(batch,)``.
    scores
        Scores there when tested, ``(batch, sequences)``.
    p
        p-values, ``(batch, sequences)``.
    positions
        Indices in the stream, ``(batch,)``.
    """

    z: Tensor
    r: Tensor
    labels: Tensor
    rows: Tensor
    scores: Tensor
    p: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, which: Any) -> Held:
        return Held(*(column[which] for column in self.columns()))

    def columns(self) -> list[Tensor]:
        """Return the columns, in the order of the attributes."""
        return [getattr(self, field.name) for field in fields(self)]

    def then(self, other: Held) -> Held:
        """Return these samples, then others."""
        return Held(*(torch.cat(pair) for pair in zip(self.columns(), other.columns(), strict=True)))
