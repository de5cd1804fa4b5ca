"""What a stream is: mini-batches in an order, and the truth about its shifts, for scoring only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ndm_apps.datasets import as_floats

Transform = Callable[[Tensor], Tensor]


class TestSets(Sequence[tuple[Tensor, Tensor]]):
    """Test arrays ``(x, y)`` of each distinct experience, made anew whenever one is asked for.

    Parameters
    ----------
    readers
        One function for each, which returns ``(x, y)``.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of the name

    def __init__(self, readers: Sequence[Callable[[], tuple[Tensor, Tensor]]]) -> None:
        self._readers = tuple(readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return TestSets(self._readers[number])
        return self._readers[number]()


@dataclass(frozen=True, kw_only=True)
class Stream(ABC):
    """Samples in an order.

    Attributes
    ----------
    batch_size
        Samples per mini-batch.
    classes
        Number of classes.
    shape
        Shape of one input.
    dtype
        Floating type of the inputs.
    shifts
        Positions of the first sample of each new distribution (returns of an old one do not count).
    blends
        For each shift, the samples over which the new distribution replaces the old one; 0 if at once.
    stops
        Positions after which the learner is evaluated, increasing; the last one is the length.
    starts
        For each test set, the index of the first stop by which it has been trained on.
    tests
        Test arrays ``(x, y)`` of each distinct experience; none for a sequence without a test set.
    """

    batch_size: int
    classes: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    shifts: tuple[int, ...]
    blends: tuple[int, ...]
    stops: tuple[int, ...]
    starts: tuple[int, ...]
    tests: Sequence[tuple[Tensor, Tensor]]

    def __len__(self) -> int:
        return self.stops[-1]

    @abstractmethod
    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of positions ``start`` to ``stop``."""


@dataclass(frozen=True, kw_only=True)
class ArrayStream(Stream):
    """Two index vectors over arrays in memory: which sample is shown at each position, and through which transform.

    Attributes
    ----------
    x, y
        Training arrays, ``(samples, *shape)`` of floating-point numbers or uint8, and ``(samples,)``.
    order, domain
        Sample index and transform index at each position, ``(length,)`` each.
    transforms
        One map of a batch of inputs per domain.
    """

    x: Tensor
    y: Tensor
    order: Tensor
    domain: Tensor
    transforms: tuple[Transform, ...]

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of positions ``start`` to ``stop``; bytes become numbers here, not before."""
        index, domain = self.order[start:stop], self.domain[start:stop]
        x = self.x[index]
        if x.dtype == torch.uint8:
            x = as_floats(x, self.dtype)
        numbers = domain.unique().tolist()
        if len(numbers) == 1:
            return self.transforms[numbers[0]](x), self.y[index]
        for number in numbers:
            here = domain == number
            x[here] = self.transforms[number](x[here])
        return x, self.y[index]
