"""Samples that wait for their chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Pending:
    """Samples whose chart a detector has not settled yet: no more than it keeps under suspicion.

    Examples
    --------
    >>> pending = Pending()
    >>> pending.add(torch.eye(3), torch.tensor([5, 6, 7]))
    >>> features, labels, charts = pending.take([(2, 1), (0, 0)])
    >>> labels.tolist(), charts.tolist(), len(pending)
    ([5, 7], [0, 1], 1)
    """

    def __init__(self) -> None:
        self._index = torch.zeros(0, dtype=torch.long)
        self._columns: list[Tensor] = []
        self._seen = 0

    def __len__(self) -> int:
        return len(self._index)

    def add(self, *columns: Tensor) -> None:
        """Hold the next samples of the stream: features, labels, and whatever else there is, ``(batch, ...)`` each."""
        arriving = torch.arange(self._seen, self._seen + len(columns[0]))
        if len(self):
            columns = tuple(torch.cat(pair) for pair in zip(self._columns, columns, strict=True))
        self._columns = list(columns)
        self._index = torch.cat([self._index, arriving])
        self._seen += len(arriving)

    def take(self, settled: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        """Let go of the samples that pairs (sample, chart) settle; return their columns, and charts ``(samples,)``."""
        home = dict(settled)
        charts = torch.tensor([home.get(index, -1) for index in self._index.tolist()], dtype=torch.long)
        ready = charts >= 0
        taken = [column[ready.to(column.device)] for column in self._columns]
        self._columns = [column[~ready.to(column.device)] for column in self._columns]
        self._index = self._index[~ready]
        return (*taken, charts[ready])

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"index": self._index, "columns": list(self._columns), "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._index, self._columns, self._seen = state["index"], list(state["columns"]), state["seen"]
