"""A chart that watches: the components of one distribution."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.engine.gaussian_chart import Comparison
from ndm_apps.plugins.continual.shift.components import Components

_NEGLIGIBLE = 0.05  # a component with a smaller share of its chart's samples is not compared
_UNEQUAL = 1.0  # excess of the likelihood ratio over chance, per sample, from which covariances differ


class Component(NamedTuple):
    """What one component of a chart has learnt.

    Attributes
    ----------
    label
        Its label.
    count
        Number of its samples.
    mean, covariance
        Their mean and shrunk covariance in the embedding, ``(d,)`` and ``(d, d)``.
    """

    label: int
    count: int
    mean: Tensor
    covariance: Tensor


class WatchingChart(nn.Module):
    """A chart of the atlas: those of the stacked components that belong to it.

    Parameters
    ----------
    identity
        What its components name it by.
    bank
        Components of all charts.
    """

    def __init__(self, identity: int, bank: Components) -> None:
        super().__init__()
        self.identity = identity
        self.bank: Components
        object.__setattr__(self, "bank", bank)  # no submodule: all charts share it

    @property
    def rows(self) -> Tensor:
        """Rows of its components."""
        return (self.bank.chart == self.identity).nonzero()[:, 0]

    @property
    def labels(self) -> list[int]:
        """Labels of its components."""
        return self.bank.label[self.rows].tolist()

    @property
    def count(self) -> int:
        """Number of samples learnt."""
        return int(self.bank.count[self.rows].sum())

    @property
    def components(self) -> list[Component]:
        """What its components have learnt."""
        rows = self.rows
        counts, means, covariances = self.bank.count[rows], self.bank.mean[rows], self.bank.covariance(rows)
        return [
            Component(label, int(count), mean, covariance)
            for label, count, mean, covariance in zip(self.labels, counts, means, covariances, strict=True)
        ]

    def energy(self, z: Tensor) -> Tensor:
        """Return the lowest energy among its components, ``(batch, d) -> (batch,)``."""
        return self.bank.energies(self.bank.whiten(z.double()).square().sum(-1))[:, self.rows].amin(1)

    def merge(self, other: WatchingChart) -> None:
        """Take over the components of another chart: those of one label become one, exactly as if learnt here."""
        for row in sorted(other.rows.tolist(), reverse=True):
            mine = ((self.bank.chart == self.identity) & (self.bank.label == self.bank.label[row])).nonzero()[:, 0]
            if len(mine):
                self.bank.merge(int(mine[0]), row)
            else:
                self.bank.chart[row] = self.identity

    def compare(self, other: WatchingChart, level: float) -> Comparison:
        r"""Test whether every component of the chart with fewer labels is one of the other chart's.

        Components of one label have one distribution if their means agree by Hotelling's test,

        .. math:: T^2 = \frac{n_1 n_2}{n_1 + n_2} \Delta^\top S^{-1} \Delta \sim \chi^2_d,

        S the pooled shrunk covariance, and their covariances about: features have heavier tails than normal ones, so
        that the exact likelihood-ratio test tells halves of one sample apart. The p-value is the least one times the
        number of components (Bonferroni).

        References
        ----------
        Muirhead, "Aspects of Multivariate Statistical Theory", 1982, sections 6.3 and 8.2.
        """
        few, many = sorted((self._main_rows(), other._main_rows()), key=len)
        if not few.keys() <= many.keys():
            return Comparison(0.0, 0.0)
        pairs = [(row, many[label]) for label, row in few.items()]
        found = [_compare(self.bank, *pair, level / len(pairs)) for pair in pairs]
        return Comparison(
            min(1.0, len(pairs) * min(one.p_value for one in found)), max(one.detectable for one in found)
        )

    def _main_rows(self) -> dict[int, int]:
        """Return the rows of components with more than a negligible share, by label."""
        rows = self.rows
        main = rows[self.bank.count[rows] >= _NEGLIGIBLE * self.bank.count[rows].sum()].tolist()
        return {int(self.bank.label[row]): row for row in main}


def _compare(bank: Components, one: int, other: int, level: float) -> Comparison:
    d, rows = bank.dimension, torch.tensor([one, other])
    n = bank.count[rows]
    if n.min() < d + 2:
        return Comparison(1.0, math.inf)
    share = n / n.sum()
    covariances = bank.covariance(rows)
    pooled = (share[:, None, None] * covariances).sum(0)
    factor = torch.linalg.cholesky(pooled)
    apart = torch.linalg.solve_triangular(factor, (bank.mean[one] - bank.mean[other])[:, None], upper=False)
    weight = share.prod() * n.sum()
    # Per sample, the likelihood ratio of unequal covariances exceeds 0 by chance by about d (d + 1) / 2 / n.
    log_dets = 2 * torch.linalg.cholesky(covariances).diagonal(dim1=1, dim2=2).log().sum(1)
    ratio = 2 * factor.diagonal().log().sum() - (share * log_dets).sum() - d * (d + 1) / 2 / n.sum()
    if ratio > _UNEQUAL:
        return Comparison(0.0, 0.0)
    p = torch.special.gammaincc(torch.tensor(d / 2).double(), weight * apart.square().sum() / 2)
    return Comparison(float(p), math.sqrt(_noncentrality(d, level) / float(weight)))


def _noncentrality(d: int, level: float) -> float:
    """Return the non-centrality at which a chi-squared test of a level finds a difference 19 times in 20."""
    # Normal approximations: of the threshold q, and of the non-central distribution, (m - q)^2 = z^2 (4 m - 2 d) for
    # its mean m = d + noncentrality.
    normal = float(torch.special.ndtri(torch.tensor(1 - level, dtype=torch.float64)))
    q = d * (1 - 2 / (9 * d) + normal * (2 / (9 * d)) ** 0.5) ** 3
    square = 1.644854**2
    return q + 2 * square + math.sqrt((q + 2 * square) ** 2 - q**2 - 2 * square * d) - d
