r"""Data-parallel training: several processes train one model, each on its share of every mini-batch.

With N processes and shares of equal size the loss of the whole mini-batch is a mean over shares, but for the variance
of volume elements, which is taken of all processes' values. Gradients are averaged,
:math:`\nabla L = \frac1N \sum_r \nabla L_r`, so the steps are those of one process, up to the order of sums.

Processes are started by ``torchrun``; what passes between them are tensors, never pickles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ALONE", "Workers", "workers"]


@final
class Workers:
    """The processes that train one model together; a process alone is the case of one.

    Every process calls the same methods in the same order.

    Parameters
    ----------
    rank, size
        Number of this process, from 0, and how many there are. More than one need torch's default process group.

    Examples
    --------
    >>> batch, points = ALONE.take(torch.tensor([7, 3, 5]), torch.tensor([2, 0]))
    >>> batch.tolist(), points.tolist()
    ([7, 3, 5], [2, 0])
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank must be from 0 to below size {size}, got {rank}")
        self.rank, self.size = rank, size
        self._positions: Tensor | None = None

    def take(self, batch: Tensor, points: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return this process's share of a mini-batch, and of some points of it.

        Parameters
        ----------
        batch
            The whole mini-batch, (batch,), the same in every process.
        points
            Positions in it, distinct; None for all.

        Returns
        -------
        share
            (batch / size,).
        points
            Positions in the share, (points / size,); or None.

        Raises
        ------
        ValueError
            If the shares would not be equal.
        """
        if self.size == 1:
            return batch, points
        for name, part in (("batch", batch), ("points", points)):
            if part is not None and len(part) % self.size:
                raise ValueError(f"{name} must be divisible among {self.size} processes, got {len(part)}")
        order = torch.arange(len(batch), device=batch.device)
        if points is not None:
            # The points first, so that dealing the samples out deals the points out evenly.
            others = torch.ones_like(order, dtype=torch.bool)
            others[points.to(order.device)] = False
            order = torch.cat([points.to(order.device), order[others]])
        self._positions = order[self.rank :: self.size]
        own = None if points is None else torch.arange(len(points) // self.size, device=points.device)
        return batch[self._positions], own

    def own(self, whole: Tensor) -> Tensor:
        """Return the rows of something said of the whole mini-batch that belong to this process's share."""
        return whole if self._positions is None else whole[self._positions.to(whole.device)]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over the processes, in one exchange."""
        self.add(tensors)
        if self.size > 1:
            for tensor in tensors:
                tensor.div_(self.size)

    @torch.no_grad()
    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(whole)
        parts = torch.split(whole, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, values: Tensor) -> Tensor:
        """Return the values of all processes, (size * batch, ...), differentiable.

        Each process is taken to form the same loss of them: gradients by its own values come back ``size`` times, which
        the mean over processes undoes.
        """
        if self.size == 1:
            return values
        gathered: Tensor = _Gather.apply(values, self)  # type: ignore[no-untyped-call]
        return gathered

    def largest(self, value: float) -> float:
        """Return the largest of the processes' values."""
        if self.size == 1:
            return value
        held = torch.tensor(value, dtype=torch.float64, device=_where())
        dist.all_reduce(held, dist.ReduceOp.MAX)
        return held.item()


class _Gather(torch.autograd.Function):
    """Values of all processes as one tensor; the gradients that all processes have by them are added."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, group: Workers) -> Tensor:
        ctx.group = group  # type: ignore[attr-defined]
        parts = [torch.empty_like(values) for _ in range(group.size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        group: Workers = ctx.group  # type: ignore[attr-defined]
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total.chunk(group.size)[group.rank], None


ALONE = Workers()


def workers() -> Workers:
    """Return the processes of torch's default process group, or this process alone."""
    return Workers(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else ALONE


def _where() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
