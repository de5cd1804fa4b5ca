"""Which charts may share a read-out: those that name different labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_OPENING = 32  # samples of a chart before it is told whether its labels are new or its inputs
_RARE = 0.2  # a label is at home in a chart if it is at least this share as frequent there
_CONFLICT = 0.5  # a chart with more samples than this of labels at home in a domain is another domain


class Domains(nn.Module):
    r"""Assign charts to domains, by the labels of their samples alone.

    A chart whose labels are new continues the domain it meets: the labels tell its samples apart already. A chart whose
    labels are known shows new inputs under old names, and founds a domain of its own. With :math:`q_{jc}` the share of
    label c in chart j, chart k is in conflict with a domain if

    .. math:: \sum_c q_{kc} \, [\max_{j \in \text{domain}} q_{jc} \ge 0.2\, q_{kc}] > \tfrac12 ,

    decided once, after 32 samples; it joins the first domain without a conflict. Until then, and once there are as many
    domains as allowed, its samples go to domain 0.

    Parameters
    ----------
    limit
        Most domains at a time; numbers of domains that have been merged are used again.

    Examples
    --------
    >>> domains = Domains(limit=4)
    >>> for chart, labels in ((0, [0, 1]), (1, [2, 3]), (2, [0, 1])):
    ...     domain = domains.place(torch.full((40,), chart), torch.tensor(labels).repeat(20))
    ...     print(chart, domain[-1].item())
    0 0
    1 0
    2 1
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self.limit = limit
        self.counts: dict[int, Tensor] = {}
        self.home: dict[int, int] = {}

    @property
    def numbers(self) -> list[int]:
        """Numbers of the domains, in order."""
        return sorted(set(self.home.values()))

    def place(self, charts: Tensor, labels: Tensor) -> Tensor:
        """Count samples ``(batch,)`` of given charts and labels, and return the domain of each, ``(batch,)``."""
        domain = torch.zeros(len(charts), dtype=torch.long)
        for chart in charts.unique().tolist():
            here = charts == chart
            self._count(chart, torch.bincount(labels[here]).double())
            if chart not in self.home and (not self.home or self.counts[chart].sum() >= _OPENING):
                self.home[chart] = self._decide(chart)
            domain[here] = self.home.get(chart, 0)
        return domain

    def merge(self, chart: int, into: int) -> tuple[int, int] | None:
        """Let one chart take over another; return (domain, into domain) if two domains become one by it."""
        if chart in self.counts:
            self._count(into, self.counts.pop(chart))
        gone = self.home.pop(chart, None)
        if gone is None:
            return None
        kept = self.home.setdefault(into, gone)
        if kept == gone or gone in self.home.values():
            return None
        # Domain 0 is where everything undecided goes: it stays, whichever of the two it was.
        gone, kept = max(gone, kept), min(gone, kept)
        self.home = {other: kept if domain == gone else domain for other, domain in self.home.items()}
        return gone, kept

    def _count(self, chart: int, counts: Tensor) -> None:
        before = self.counts.get(chart, counts.new_zeros(0))
        total = counts.new_zeros(max(len(before), len(counts)))
        total[: len(before)] += before
        total[: len(counts)] += counts
        self.counts[chart] = total

    def _decide(self, chart: int) -> int:
        for domain in self.numbers:
            if self._conflict(chart, domain) <= _CONFLICT:
                return domain
        return min(set(range(self.limit)) - set(self.numbers), default=0)

    def _conflict(self, chart: int, domain: int) -> float:
        share = self.counts[chart] / self.counts[chart].sum()
        known = torch.zeros_like(share)
        for other, number in self.home.items():
            if number == domain:
                counts = self.counts[other][: len(share)]
                known[: len(counts)] = torch.maximum(known[: len(counts)], counts / self.counts[other].sum())
        return float(share[known >= _RARE * share].sum())

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counts and assignments, for ``state_dict``."""
        return {"counts": dict(self.counts), "home": dict(self.home)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.counts, self.home = dict(state["counts"]), dict(state["home"])
