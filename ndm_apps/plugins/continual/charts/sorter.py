"""Second thoughts on where a sample is at home, with all of its features and its label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ndm_apps.plugins.continual.charts.pairs import Pairs


class Sorter:
    r"""Put each labelled sample into the domain whose class it resembles most.

    Of the domains s that know a sample's label y, it is at home where the discriminant :math:`\delta_{sy}(\varphi)` of
    :class:`~ndm_apps.plugins.continual.charts.pairs.Pairs` is largest. A domain the sorter does not know yet keeps the
    samples it is given.

    Parameters
    ----------
    domains, labels
        Domain and class of each pair, ``(pairs,)``.
    weight, bias
        Of the pairs' logits.
    """

    def __init__(self, domains: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> None:
        self.columns = domains, labels, weight, bias

    @classmethod
    def of(cls, pairs: Pairs) -> Sorter:
        """Return the sorter that what is known now makes."""
        weight, bias = pairs.readout.solution()
        domains, labels = torch.tensor(pairs.names, device=weight.device).T
        return cls(domains, labels, weight, bias)

    def __call__(self, phi: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        """Return the domain of features ``(batch, D)``, given labels and the domains they come with, ``(batch,)``."""
        owners, classes, weight, bias = self.columns
        logits = nn.functional.linear(phi, weight.to(phi), bias.to(phi))
        logits = logits.masked_fill(labels[:, None] != classes, -torch.inf)
        best, pair = logits.max(1)
        known = torch.isin(domains, owners) & ~best.isneginf()
        return torch.where(known, owners[pair], domains)
