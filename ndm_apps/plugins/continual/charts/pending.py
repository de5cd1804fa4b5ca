"""Features that wait for their chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Pending:
    """Features of samples whose chart a detector has not settled yet: no more than it keeps under suspicion.

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
        self._features: Tensor | None = None
        self._labels = torch.zeros(0, dtype=torch.long)
        self._seen = 0

    def __len__(self) -> int:
        return len(self._index)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Hold the next samples of the stream: features ``(batch, D)`` and labels ``(batch,)``."""
        self._index = torch.cat([self._index, torch.arange(self._seen, self._seen + len(labels))])
        self._labels = torch.cat([self._labels.to(labels), labels])
        self._features = features if self._features is None else torch.cat([self._features, features])
        self._seen += len(labels)

    def take(self, settled: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Let go of the samples that pairs (sample, chart) settle; return their features, labels and charts."""
        home = dict(settled)
        charts = torch.tensor([home.get(index, -1) for index in self._index.tolist()], dtype=torch.long)
        ready = charts >= 0
        assert self._features is not None
        here = ready.to(self._features.device)
        taken = self._features[here], self._labels[here], charts[ready]
        self._index, self._features, self._labels = self._index[~ready], self._features[~here], self._labels[~here]
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"index": self._index, "features": self._features, "labels": self._labels, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._index, self._features = state["index"], state["features"]
        self._labels, self._seen = state["labels"], state["seen"]
