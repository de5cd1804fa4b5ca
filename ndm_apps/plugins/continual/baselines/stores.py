"""Stores of samples: a uniform one, one balanced over the classes, and one that keeps everything."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class Store(ABC):
    """Rows of one or more tensors that belong together, such as a sample, its label and its logits.

    Parameters
    ----------
    seed
        Seed of every draw.
    """

    def __init__(self, *, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.columns: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    @abstractmethod
    def add(self, *columns: Tensor) -> None:
        """Offer rows: one tensor ``(rows, ...)`` per column, labels ``(rows,)`` second."""

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Return ``count`` rows, drawn independently and uniformly from the stored ones."""
        drawn = torch.randint(len(self), (count,), generator=self.generator)
        return tuple(column[drawn] for column in self.columns)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"columns": self.columns, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.columns = tuple(state["columns"])
        self.generator.set_state(state["generator"])

    def _append(self, columns: tuple[Tensor, ...]) -> None:
        kept = [column.detach().clone() for column in columns]
        self.columns = tuple(map(torch.cat, zip(self.columns, kept, strict=True))) if self.columns else tuple(kept)

    def _write(self, place: int, row: int, columns: tuple[Tensor, ...]) -> None:
        for mine, offered in zip(self.columns, columns, strict=True):
            mine[place] = offered[row].detach()


class Everything(Store):
    """Keeps every row."""

    def __len__(self) -> int:
        return sum(len(part[0]) for part in self._parts)

    def add(self, *columns: Tensor) -> None:
        """Append the rows."""
        self._parts.append(columns)

    # Appended to the columns at once, a stream would be copied once for every mini-batch.
    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The rows, joined."""
        if len(self._parts) > 1:
            self._parts = [tuple(map(torch.cat, zip(*self._parts, strict=True)))]
        return self._parts[0] if self._parts else ()

    @columns.setter
    def columns(self, columns: tuple[Tensor, ...]) -> None:
        self._parts = [columns] if columns else []


class Reservoir(Store):
    """Keeps a uniform sample, without replacement, of all that was offered.

    Parameters
    ----------
    capacity
        Rows kept.
    seed
        Seed of every draw.

    References
    ----------
    Vitter 1985, "Random sampling with a reservoir".

    Examples
    --------
    >>> store = Reservoir(3, seed=0)
    >>> store.add(torch.arange(10.0), torch.arange(10))
    >>> len(store)
    3
    """

    def __init__(self, capacity: int, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.capacity, self.seen = capacity, 0

    def add(self, *columns: Tensor) -> None:
        """Offer rows; the n-th replaces a random one with probability ``capacity / n``."""
        rows = len(columns[0])
        room = min(self.capacity - len(self), rows)
        if room:
            self._append(tuple(column[:room] for column in columns))
        number = torch.arange(self.seen + room, self.seen + rows, dtype=torch.float64) + 1
        places = (torch.rand(rows - room, generator=self.generator, dtype=torch.float64) * number).long()
        for row in (places < self.capacity).nonzero().flatten().tolist():
            self._write(int(places[row]), room + row, columns)
        self.seen += rows

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {**super().state_dict(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.seen = state["seen"]


class Balanced(Store):
    """Greedily keeps equally many rows of every class.

    A row is taken while its class has less than its share, ``capacity / classes seen``; in a full store it takes the
    place of a random row of the largest class.

    Parameters
    ----------
    capacity, seed
        As of :class:`Reservoir`.

    References
    ----------
    Prabhu, Torr and Dokania 2020, "GDumb: a simple approach that questions our progress in continual learning".

    Examples
    --------
    >>> store = Balanced(4, seed=0)
    >>> store.add(torch.zeros(10), torch.zeros(10, dtype=torch.long))
    >>> store.add(torch.ones(10), torch.ones(10, dtype=torch.long))
    >>> store.columns[1].bincount().tolist()
    [2, 2]
    """

    def __init__(self, capacity: int, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.capacity = capacity

    def add(self, *columns: Tensor) -> None:
        """Offer rows."""
        held = self.columns[1].tolist() if len(self) else []
        counts = {label: held.count(label) for label in set(held)}
        for row, label in enumerate(columns[1].tolist()):
            counts.setdefault(label, 0)
            if len(self) < self.capacity:
                self._append(tuple(column[row : row + 1] for column in columns))
            elif counts[label] < self.capacity // len(counts):
                largest = max(counts, key=lambda known: (counts[known], known))
                places = (self.columns[1] == largest).nonzero().flatten()
                place = places[torch.randint(len(places), (1,), generator=self.generator)]
                self._write(int(place), row, columns)
                counts[largest] -= 1
            else:
                continue
            counts[label] += 1
