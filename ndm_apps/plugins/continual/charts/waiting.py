"""Samples that a shift detector holds in quarantine: they are learnt when they have a chart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Waiting(nn.Module):
    """Hold samples until it is known to which chart they belong.

    There are as many as the detector has not settled: its first samples until its embedding is fixed, then those under
    suspicion.

    Examples
    --------
    >>> waiting = Waiting()
    >>> waiting.hold(torch.arange(3.0)[:, None], torch.tensor([5, 6, 7]))
    >>> (phi, labels), charts = waiting.release([(2, 1), (0, 0)])
    >>> labels.tolist(), charts.tolist(), len(waiting)
    ([7, 5], [1, 0], 1)
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.positions = torch.zeros(0, dtype=torch.long)
        self.columns: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.positions)

    def hold(self, *columns: Tensor) -> None:
        """Add samples: features, labels, and whatever else there is of each, ``(batch, ...)``."""
        arriving = torch.arange(self.seen, self.seen + len(columns[0]))
        self.seen += len(arriving)
        if len(self):
            self.columns = [torch.cat(pair) for pair in zip(self.columns, columns, strict=True)]
        else:
            self.columns = list(columns)
        self.positions = torch.cat([self.positions, arriving])

    def release(self, settled: list[tuple[int, int]]) -> tuple[list[Tensor], Tensor]:
        """Give back samples, named by their position in the stream and their chart.

        Returns
        -------
        (list of Tensor, Tensor)
            The columns of these samples, and their charts ``(samples,)``.

        Raises
        ------
        ValueError
            If one of them is not held. All are kept then.
        """
        named = torch.tensor(settled, dtype=torch.long).reshape(-1, 2)
        places = torch.searchsorted(self.positions, named[:, 0].contiguous())
        found = places < len(self)
        if not (found.all() and torch.equal(self.positions[places], named[:, 0])):
            raise ValueError("settled must name samples that wait, each once")
        released = [column[places.to(column.device)] for column in self.columns]
        keep = torch.ones(len(self), dtype=torch.bool)
        keep[places] = False
        self.positions = self.positions[keep]
        self.columns = [column[keep.to(column.device)] for column in self.columns]
        return released, named[:, 1]

    def get_extra_state(self) -> dict[str, Any]:
        """Return the samples, for ``state_dict``."""
        return {"seen": self.seen, "positions": self.positions, "columns": list(self.columns)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.seen, self.positions, self.columns = state["seen"], state["positions"], list(state["columns"])
