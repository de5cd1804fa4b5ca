"""One network for each chart of an atlas, and how they answer together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import NDM
from ndm_apps.plugins.continual.shift.detector import ShiftDetector


class ChartNetworks(nn.Module):
    r"""Networks that each know the labels of one chart, mixed by how likely a sample is in which chart.

    .. math:: p(y | x) = \sum_k w_k(x)\, p_k(y | z), \qquad w_k(x) \propto \max_{c \in k} p_c(x)

    with the densities :math:`p_c` of the detector's components. :math:`p_k` is the softmax of network k over the labels
    that chart k has components of: what a copied network says about other labels is of no use.

    Parameters
    ----------
    network
        Of the first chart; those of later charts start as copies of the one before.
    detector
        Whose charts the networks belong to; None for one network.
    """

    def __init__(self, network: NDM, detector: ShiftDetector | None) -> None:
        super().__init__()
        # No submodule: the detector stays on the CPU, in its own precision, wherever the networks are moved.
        self.detector: ShiftDetector | None
        object.__setattr__(self, "detector", detector)
        self.networks = nn.ModuleDict({"0": network.eval()})

    def __len__(self) -> int:
        return len(self.networks)

    @property
    def newest(self) -> tuple[int, NDM]:
        """Identity of the newest chart, and its network."""
        name, network = list(self.networks.items())[-1]
        return int(name), network

    def follow(self, ids: Sequence[int], merged: Sequence[tuple[int, int]]) -> None:
        """Have the charts that the detector has: freeze what is old, go on with a copy of it in a new chart.

        The network of a chart that was given up goes on in the chart before, if that took its samples over; it started
        as a copy of that chart's network. Other networks of charts that are no more are dropped.
        """
        for chart in ids:
            if str(chart) not in self.networks:
                self.networks[str(chart)] = copy.deepcopy(self.newest[1])
        for gone, heir in merged:
            names = list(self.networks)
            if names[-2:] == [str(heir), str(gone)]:
                self.networks[str(heir)] = self.networks[str(gone)]
            if str(gone) in names:
                del self.networks[str(gone)]
        self.networks.requires_grad_(False)
        self.newest[1].requires_grad_(True)

    def train(self, mode: bool = True) -> ChartNetworks:
        """Stay in evaluation mode: a network is in training mode during its steps only."""
        return super().train(False)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log-probabilities ``(batch, classes)`` of features ``(batch, D)`` with coordinates ``(batch, n)``."""
        logits = torch.stack([network(z)[0] for network in self.networks.values()], 1)
        if self.detector is None or self.detector.charts is None:
            return logits[:, 0].log_softmax(1)
        weights, known = self._charts_of(x, logits.shape[2])
        log_p = logits.masked_fill(~known.to(z.device), -torch.inf).log_softmax(2)
        return (weights[..., None].to(log_p) + log_p).logsumexp(1)

    def _charts_of(self, x: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        r"""Return :math:`\log w_k(x)`, ``(batch, charts)``, and which labels the charts know, ``(charts, classes)``."""
        bank = self.detector.charts.bank
        log_densities = self.detector.log_densities(self.detector.embed(x)[0])
        known = torch.zeros(len(self.networks), classes, dtype=torch.bool)
        own = []
        for number, name in enumerate(self.networks):
            rows = ((bank.chart == int(name)) & (bank.count > 0)).nonzero()[:, 0]
            known[number, bank.label[rows]] = True
            own.append(log_densities[:, rows].amax(1))
        return torch.stack(own, 1).log_softmax(1), known

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Networks come and go with the stream: have those that were saved before their tensors are copied.
        start = prefix + "networks."
        saved = dict.fromkeys(key.removeprefix(start).split(".")[0] for key in state_dict if key.startswith(start))
        some = self.newest[1]
        self.networks = nn.ModuleDict({name: copy.deepcopy(some) for name in saved})
        self.networks.requires_grad_(False)
        self.newest[1].requires_grad_(True)
        super()._load_from_state_dict(state_dict, prefix, *args)
