"""Steps of Adam on random parts of a sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def descend(
    part: nn.Module,
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    batch: int,
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    """Make steps of Adam, whose size falls to 0 along a cosine.

    Parameters
    ----------
    part
        What is trained.
    loss
        Of indices (batch,) into a sample.
    count
        Size of the sample.
    batch, steps, rate
        Indices of a step, drawn with replacement; steps; size of the first.
    generator
        Of the indices.
    """
    optimiser = torch.optim.Adam(part.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(torch.randint(count, (batch,), generator=generator, device=generator.device)).backward()
        optimiser.step()
        schedule.step()
