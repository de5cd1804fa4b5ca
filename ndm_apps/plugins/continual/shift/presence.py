"""Which chart a stream is in now: samples in a row come from one distribution for a while."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.growing import Growing

_MEMORY = 256.0  # samples over which means and variances are taken
_OPENING = 32  # samples that they need at first
_DRIFT = 0.5  # standard deviations that each sample takes back
_ENOUGH = 16.0  # standard deviations, added up, at which the stream has moved
_EVIDENT = 4.0  # standard deviations that tell of a single sample; no sample says more


class Presence(Growing):
    r"""Follow the chart that a stream's samples are in.

    A sample of a label that the present chart has is at home there, however near components of other charts are:
    samples of neighbouring distributions cannot be told apart one by one, but in a row. An alarm makes the new chart
    the present one. For each other chart k, with E the sample's energies in the components of its label,

    .. math:: A_k \leftarrow \max\Bigl(A_k + \frac{E_{\text{present}} - E_k - \mu_k}{\sigma_k} - \tfrac12, 0\Bigr)

    adds up over the samples whose label both know (Page's sums), with the mean and standard deviation of the
    difference since the chart was entered: a young chart, whose covariances are rough yet, is not left for that. The
    stream has moved to chart k when :math:`A_k` reaches 16, and did so after the last sample at which it was 0. A
    single sample 4 standard deviations off is at home elsewhere.

    Attributes
    ----------
    chart
        Identity of the present chart.

    References
    ----------
    Page, "Continuous inspection schemes", Biometrika 41, 1954.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chart: Tensor
        self.others: Tensor
        self.moments: Tensor
        self.register_buffer("chart", torch.tensor(0))
        self.register_buffer("others", torch.zeros(0, dtype=torch.long))
        # Of each other chart: samples, mean and variance of the difference, A.
        self.register_buffer("moments", torch.zeros(0, 4, dtype=torch.float64))

    def enter(self, chart: int) -> None:
        """Make a chart the present one."""
        self.chart.fill_(chart)
        self.others, self.moments = self.others[:0], self.moments[:0]

    def home(self, bank: Components, labels: Tensor, energies: Tensor, *, settled: bool) -> Tensor:
        """Return the component that each sample is at home in, ``(batch,)``.

        Parameters
        ----------
        bank
            The components.
        labels, energies
            Labels ``(batch,)`` and energies ``(batch, components)`` of the samples.
        settled
            Whether the present chart has formed, so that it may be left.
        """
        same = labels[:, None] == bank.label
        if len(bank.label.unique()) == len(bank):
            return same.long().argmax(1)  # each label is in one chart only
        here = (bank.chart == self.chart).expand_as(same)
        step = self._compare(bank.chart, energies.masked_fill(~same, torch.inf))
        if settled and step.numel():
            here = here & (step.amax(1, keepdim=True) < _EVIDENT)
            moved = self._add(step - _DRIFT * (step != 0))
            here = torch.cat([here[:moved], (bank.chart == self.chart).expand_as(same)[moved:]])
        rank = torch.where(here, -torch.inf, energies.clamp(max=1e300))
        return torch.where(same, rank, torch.inf).argmin(1)

    def _compare(self, charts: Tensor, energies: Tensor) -> Tensor:
        """Return how much better each other chart fits than it used to, ``(batch, others)``, and learn from it."""
        names, number = charts.unique(return_inverse=True)
        least = energies.new_full((len(energies), len(names)), torch.inf)
        least.scatter_reduce_(1, number.expand_as(energies), energies, "amin")
        present = least[:, names == self.chart]
        if not present.shape[1]:
            return energies[:, :0]
        found = torch.searchsorted(names, self.others)
        moments = self.moments.new_zeros(len(names), 4)
        kept = torch.isin(self.others, names)
        moments[found[kept]] = self.moments[kept]
        self.others, self.moments = names, moments
        difference = present - least
        known = difference.isfinite() & (names != self.chart)
        difference = torch.where(known, difference, 0.0)
        seen, mean, variance = moments[:, :3].unbind(1)
        step = (difference - mean) / variance.clamp_min(1e-12).sqrt()
        step = torch.where(known & (seen >= _OPENING), step.clamp(-_EVIDENT, _EVIDENT), 0.0)
        arriving = known.sum(0)
        both = (seen + arriving).clamp(max=_MEMORY)
        share = (arriving / both.clamp(min=1)).clamp(max=1)
        average = difference.sum(0) / arriving.clamp(min=1)
        spread = ((difference - average).square() * known).sum(0) / arriving.clamp(min=1)
        moments[:, 0] = both
        moments[:, 1] = mean + share * (average - mean)
        moments[:, 2] = (1 - share) * variance + share * spread + share * (1 - share) * (average - mean).square()
        return step

    def _add(self, steps: Tensor) -> int:
        """Add steps ``(batch, others)`` up; return from which sample on the stream is in a new chart."""
        start = self.moments[:, 3]
        path = torch.cat([start[None], start + steps.cumsum(0)])
        low, since = path.clamp(max=0).cummin(0)
        sums = path - low
        over = (sums >= _ENOUGH).any(1).nonzero()[:, 0]
        if len(over):
            best = int(sums[over[0]].argmax())
            self.enter(int(self.others[best]))
            return int(since[over[0], best])
        self.moments[:, 3] = sums[-1]
        return len(steps)
