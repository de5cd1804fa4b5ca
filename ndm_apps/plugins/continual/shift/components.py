"""The Gaussian components of all charts, stacked: what they have learnt, and how samples look to them."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.conformal import p_values
from ndm_apps.plugins.continual.shift.growing import Growing
from ndm_apps.plugins.continual.shift.statistics import Reading, Statistic

_RIDGE = 1e-3
_GROWTH = 1.02  # a component's whitening is computed anew when its samples have grown by this factor
_NO_LABEL = -(2**63)  # of a component that was merged into another
_MEMORY = 1 / 48  # weight of a new sample in a component's heading


class Components(Growing):
    r"""Gaussian components in the embedding, each of one label in one chart.

    A component keeps the count n, mean m and scatter C of its samples, and the mean and mean square of their squared
    distances r from the embedding's subspace. Its covariance is shrunk towards a prior covariance :math:`S_0` that
    counts as d samples:

    .. math:: S_1 = \frac{C + d S_0}{n + d}, \quad S = S_1 + 10^{-3} \frac{\operatorname{tr} S_1}{d} I, \quad
        z = L^{-1} (x - m), \quad L L^\top = S.

    Scores are ranked among the component's own past ones. The first is the statistic, by default the curvature
    :math:`\kappa`. The second adds the sample's part along the *heading* h of the component, the moving mean of the z
    of the samples lately nearest to it:

    .. math:: \kappa + \sqrt{2 d}\, z \cdot h / |h|.

    Both are Stein operators of the component's density p: :math:`\Delta p / p` with the field :math:`\nabla \log p`,
    and :math:`\nabla \log p \cdot h` with a constant one, each with mean zero on the component's own data. There
    :math:`z \cdot h / |h|` has variance 1 whatever the heading, which past samples alone determine, and
    :math:`\sqrt{2 d}` is the standard deviation of :math:`|z|^2`. Samples of a neighbouring distribution lie to one
    side: in d dimensions a shift of the mean by :math:`\delta` moves the first term by :math:`\delta^2 / \sqrt{2 d}` of
    its standard deviations, the second by nearly :math:`\delta`.

    Parameters
    ----------
    prior
        :math:`S_0`, ``(d, d)`` in float64.
    calibration
        How many past scores are kept.
    statistic
        Which statistic is ranked.
    sequences
        2 with the second score, 1 without.

    Attributes
    ----------
    chart, label
        Identity of the chart of each component, and its label, ``(components,)``.
    count, mean, scatter
        n, m, C, stacked.
    """

    def __init__(self, prior: Tensor, *, calibration: int, statistic: Statistic, sequences: int = 2) -> None:
        super().__init__()
        self.calibration, self.statistic, self.sequences = calibration, statistic, sequences
        self.dimension = len(prior)
        self.register_buffer("prior", prior.clone())
        for name, shape in self._shapes().items():
            kind = torch.long if name in ("chart", "label", "recorded") else torch.float64
            self.register_buffer(name, torch.zeros(0, *shape, dtype=kind))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        d = self.dimension
        return {
            "chart": (),
            "label": (),
            "count": (),
            "mean": (d,),
            "scatter": (d, d),
            "residual": (2,),  # sum and sum of squares of r
            "whitening": (d, d),  # L^-1, and what follows from it, as of `refreshed` samples
            "offset": (d,),
            "log_det": (),
            "normal": (2,),  # mean of r and its degrees of freedom
            "refreshed": (),
            "heading": (d,),
            "past": (self.sequences, self.calibration),
            "recorded": (),
        }

    def __len__(self) -> int:
        return len(self.chart)

    def add(self, chart: int, label: int) -> int:
        """Add an empty component and return its row."""
        for name in self._shapes():
            old = getattr(self, name)
            fill = -torch.inf if name == "past" else 0
            setattr(self, name, torch.cat([old, old.new_full((1, *old.shape[1:]), fill)]))
        self.chart[-1], self.label[-1] = chart, label
        self._refresh(torch.tensor([len(self) - 1]))
        return len(self) - 1

    def drop_empty(self) -> None:
        """Take components without samples out; later rows move up."""
        keep = self.count > 0
        for name in self._shapes():
            setattr(self, name, getattr(self, name)[keep])

    def row(self, chart: int, label: int) -> int:
        """Return the row of a chart's component of a label, made if need be."""
        found = ((self.chart == chart) & (self.label == label)).nonzero()
        return int(found[0]) if len(found) else self.add(chart, label)

    def whiten(self, z: Tensor) -> Tensor:
        """Return embedded samples ``(batch, d)`` in the coordinates of each component, ``(batch, components, d)``."""
        flat = z @ self.whitening.flatten(0, 1).T
        return flat.view(len(z), len(self), self.dimension) - self.offset

    def read(self, whitened: Tensor, r: Tensor) -> Reading:
        """Return samples as the components see them."""
        mean, freedom = self.normal.unbind(1)
        ratio = torch.where(mean > 0, r[:, None] / mean, torch.ones_like(mean))
        return Reading(whitened.square().sum(-1), self.log_det, ratio, freedom, self.dimension)

    def scores(self, whitened: Tensor, reading: Reading) -> Tensor:
        """Return the statistic alone, and with the part along the heading: ``(batch, sequences, components)``."""
        score = self.statistic(reading)
        if self.sequences == 1:
            return score[:, None]
        along = (whitened * torch.nn.functional.normalize(self.heading, dim=1)).sum(-1)
        return torch.stack([score, score + (2 * self.dimension) ** 0.5 * along], 1)

    def energies(self, square: Tensor) -> Tensor:
        """Return ``(|z|^2 + log det S) / 2`` from squared lengths, infinite for components without samples."""
        return torch.where(self.count > 0, (square + self.log_det) / 2, torch.inf)

    def p_values(self, scores: Tensor, rows: Tensor, ties: Tensor) -> Tensor:
        """Return, for each score, the greatest p-value among the given components: ``(batch, sequences)``."""
        if not len(rows):
            return scores.new_zeros(scores.shape[:2])
        count = self.recorded[rows].clamp(max=self.calibration)
        return p_values(scores[..., rows], self.past[rows].movedim(1, 0), count, ties).amax(-1)

    def head(self, whitened: Tensor, energies: Tensor) -> None:
        """Turn the heading of each component towards the samples nearest to it."""
        near = energies.argmin(1)
        mine = torch.nn.functional.one_hot(near, len(self)).to(whitened)
        number = mine.sum(0)
        chosen = whitened[torch.arange(len(near)), near]
        # No sample moves a heading more than one at twice the usual distance.
        length = (2 * self.dimension**0.5) / chosen.norm(dim=1).clamp(min=1e-12)
        total = mine.T @ (chosen * length.clamp(max=1)[:, None])
        keep = (1 - _MEMORY) ** number
        self.heading = keep[:, None] * self.heading + ((1 - keep) / number.clamp(min=1))[:, None] * total

    def learn(self, z: Tensor, r: Tensor, rows: Tensor) -> None:
        """Add embedded samples to the components in the given rows."""
        touched, which = rows.unique(return_inverse=True)
        mine = torch.nn.functional.one_hot(which, len(touched)).to(z)
        before, number = self.count[touched], mine.sum(0)
        after = before + number
        apart = (z[None] - self.mean[touched, None]) * mine.T[..., None]
        total = apart.sum(1)
        self.mean.index_add_(0, touched, total / after[:, None])
        shift = total[..., None] * total[:, None] / after[:, None, None]
        self.scatter.index_add_(0, touched, apart.mT @ apart - shift)
        self.residual.index_add_(0, touched, mine.T @ torch.stack([r, r.square()], 1))
        self.count[touched] = after
        self._refresh(touched[after >= _GROWTH * self.refreshed[touched]])

    def record(self, scores: Tensor, rows: Tensor) -> None:
        """Keep scores ``(batch, sequences)`` among the past ones of the components in the given rows."""
        if not len(rows):
            return
        same = rows[:, None] == rows
        rank = same.tril(-1).sum(1)
        # Of more scores than are kept, the last ones stay.
        kept = same.sum(1) - rank <= self.calibration
        place = (self.recorded[rows] + rank) % self.calibration
        self.past[rows[kept], :, place[kept]] = scores[kept]
        self.recorded += torch.bincount(rows, minlength=len(self))

    def merge(self, row: int, other: int) -> None:
        """Let a component take over the samples of another, exactly as if learnt there, and leave that one empty.

        Scores do not add: those of the component with more of them stay.
        """
        if row == other:
            return
        both = self.count[row] + self.count[other]
        if self.count[other] > 0:
            apart = self.mean[other] - self.mean[row]
            weight = self.count[other] / both
            self.scatter[row] += self.scatter[other] + apart[:, None] * apart * (self.count[row] * weight)
            self.mean[row] += apart * weight
            self.residual[row] += self.residual[other]
            self.count[row] = both
            self._refresh(torch.tensor([row]))
        if self.recorded[other] > self.recorded[row]:
            self.past[row], self.recorded[row] = self.past[other], self.recorded[other]
        self.count[other] = self.recorded[other] = 0
        self.chart[other], self.label[other] = -1, _NO_LABEL

    def covariance(self, rows: Tensor) -> Tensor:
        """Return the shrunk covariances S of components."""
        d = self.dimension
        s = (self.scatter[rows] + d * self.prior) / (self.count[rows] + d)[:, None, None]
        return s + _RIDGE * s.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(d, dtype=s.dtype)

    def _refresh(self, rows: Tensor) -> None:
        if not len(rows):
            return
        factor = torch.linalg.cholesky(self.covariance(rows))
        self.whitening[rows] = torch.linalg.solve_triangular(
            factor, torch.eye(self.dimension, dtype=factor.dtype).expand_as(factor), upper=False
        )
        self.offset[rows] = (self.whitening[rows] @ self.mean[rows, :, None])[..., 0]
        self.log_det[rows] = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        mean, square = (self.residual[rows] / self.count[rows].clamp(min=1)[:, None]).unbind(1)
        variance = square - mean.square()
        freedom = torch.where((mean > 0) & (variance > 0), 2 * mean.square() / variance, 0.0)
        self.normal[rows] = torch.stack([mean, freedom], 1)
        self.refreshed[rows] = self.count[rows]
