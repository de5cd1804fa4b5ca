"""Geometric surgery: charts grow at alarms, form, are given up if they were false, and merge if they are one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import Atlas
from ndm_apps.plugins.continual.shift.chart import WatchingChart
from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.held import Held

_FOREIGN = 0.1  # p-value below which a sample is foreign to every component
_PROBATION = 3.0  # standard deviations by which a chart's samples must be more often foreign than old ones
_PATIENCE = 2  # times the samples its components need: how long tests wait for a new chart to form
# A component with a smaller share of its chart is not waited for: so few foreign samples do not build up wealth.
_NEGLIGIBLE = 0.05


class Charts(nn.Module):
    """The atlas of a detector, and its newest chart's way from alarm to arms.

    At an alarm a chart grows from the samples under suspicion that are foreign to all components (:meth:`found`). It
    burns in: for some samples it takes what is foreign or of a label it alone knows (:meth:`burn`). If in the second
    half of the burn-in too few samples were foreign, or too few of a label that was known before, the chart, or its
    component of that label, is given up: the samples go to the old component of their label. What is left forms: tests
    wait until its components are armed (:meth:`forming`). At last it is merged into an older chart if the two are one
    distribution. No chart is frozen: statistics add, so that old
    charts lose nothing by learning more of what is at home in them.

    Parameters
    ----------
    bank
        Components of all charts.
    arm_scores, arm_samples, burn_in
        As of :class:`~ndm_apps.plugins.continual.shift.detector.ShiftDetector`.

    Attributes
    ----------
    atlas
        The charts.
    burning
        Samples left of the burn-in.
    merged
        Identities of charts that were merged or given up, and of the charts that took their samples over.
    """

    def __init__(self, bank: Components, *, arm_scores: int, arm_samples: int, burn_in: int) -> None:
        super().__init__()
        self.bank, self.atlas = bank, Atlas()
        self.arm_scores, self.arm_samples, self.burn_in = arm_scores, arm_samples, burn_in
        self.merged: list[tuple[int, int]] = []
        self.burning = 0
        self._next = 0  # identity of the next chart
        self._patience = 0
        self._founders: list[int] = []  # labels that the newest chart had when it began to form
        self._known: list[int] = []  # labels of armed components at the last alarm
        self._burnt: list[tuple[int, bool]] = []  # label of each sample of the burn-in, and whether it was foreign
        self._compared = True

    @property
    def ids(self) -> list[int]:
        """Identities of the charts, in the atlas's order; none is ever used again."""
        return [chart.identity for chart in self.atlas.charts]

    def grow(self) -> int:
        """Add an empty chart and return its identity."""
        self.atlas.grow(WatchingChart(self._next, self.bank))
        self._next += 1
        return self._next - 1

    def armed(self) -> Tensor:
        """Return rows of the components that samples are tested against."""
        return (self.bank.recorded >= self.arm_scores).nonzero()[:, 0]

    def begin_forming(self) -> None:
        """Wait for the components that the newest chart has now, but not for ever."""
        self._founders = self.atlas.charts[-1].labels
        self._patience = _PATIENCE * len(self._founders) * (self.arm_samples + self.arm_scores)
        self._compared = False

    def forming(self, samples: int) -> bool:
        """Whether the newest chart, which has so many more samples to wait for, has components to arm yet.

        Till then its own samples would look foreign.
        """
        waiting, self._patience = self._patience > 0, self._patience - samples
        if waiting:
            newest = self.atlas.charts[-1].rows
            founding = newest[torch.isin(self.bank.label[newest], torch.tensor(self._founders))]
            enough = _NEGLIGIBLE * self.bank.count[newest].sum()
            unarmed = self.bank.recorded[founding] < self.arm_scores
            waiting = bool((unarmed & (self.bank.count[founding] > enough)).any())
        if not waiting and not self._compared:
            self._compared = True
            self._merge_duplicates()
        return waiting

    def found(self, held: Held) -> Tensor:
        """Grow a chart for samples that raised an alarm; return the rows they are at home in, ``(batch,)``.

        It gets those that are foreign and those of a label that no armed component has.
        """
        bank = self.bank
        self._known = bank.label[self.armed()].unique().tolist()
        unknown = ~torch.isin(held.labels, torch.tensor(self._known))
        chart = self.grow()
        # Samples of the new distribution that slipped into old charts before suspicion rose move over.
        for label in held.labels[unknown].unique().tolist():
            for row in (bank.label == label).nonzero()[:, 0].tolist():
                bank.merge(bank.row(chart, label), row)
        for number in reversed(range(len(self.atlas) - 1)):
            if not len(self.atlas.charts[number].rows):
                self.merged.append((self.atlas.remove(number).identity, chart))
        self.burning, self._burnt = self.burn_in, []
        new = unknown | (held.p[:, -1] < _FOREIGN)
        new[-1] = True  # no chart is empty
        return self._moved(held, chart, new)

    def burn(self, piece: Held) -> Tensor:
        """Return the rows that samples after an alarm are at home in; call :meth:`burnt` when they are learnt."""
        foreign = piece.p[:, -1] < _FOREIGN
        self._burnt += zip(piece.labels.tolist(), foreign.tolist(), strict=True)
        return self._moved(piece, self.ids[-1], foreign)

    def burnt(self, samples: int) -> None:
        """Count samples of the burn-in that have been learnt; at its end, keep what was foreign indeed."""
        self.burning -= samples
        if self.burning:
            return
        newest = self.atlas.charts[-1]
        late = self._burnt[len(self._burnt) // 2 :]  # a burst of outliers is over by then
        if not _are_foreign([is_foreign or label not in self._known for label, is_foreign in late]):
            false = newest.labels
        else:
            by_label = {name: [is_foreign for label, is_foreign in late if label == name] for name in self._known}
            false = [label for label, those in by_label.items() if not _are_foreign(those)]
        heirs = [self._give_up(label) for label in newest.labels if label in false]
        self.bank.drop_empty()
        if len(newest.rows):
            self.begin_forming()
        else:
            self.atlas.remove(len(self.atlas) - 1)
            self.merged.append((newest.identity, max(heirs)[1]))

    def _moved(self, held: Held, chart: int, new: Tensor) -> Tensor:
        rows = held.rows.clone()
        for label in held.labels[new].unique().tolist():
            rows[new & (held.labels == label)] = self.bank.row(chart, label)
        return rows

    def _give_up(self, label: int) -> tuple[float, int]:
        """Move what the newest chart has learnt of a label to an older one; return how many samples, and which."""
        bank, chart = self.bank, self.ids[-1]
        row = bank.row(chart, label)
        count = float(bank.count[row])
        others = ((bank.label == label) & (bank.chart != chart) & (bank.count > 0)).nonzero()[:, 0]
        heir = self.ids[-2]
        if len(others):
            whitened = bank.whiten(bank.mean[row][None])[0, others]
            nearest = int(others[(whitened.square().sum(-1) + bank.log_det[others]).argmin()])
            heir = int(bank.chart[nearest])
            bank.merge(nearest, row)
        else:
            bank.merge(bank.row(heir, label), row)
        return count, heir

    def _merge_duplicates(self) -> None:
        before = self.ids
        after = self.atlas.merge_duplicates()
        self.bank.drop_empty()
        self.merged += [(old, self.ids[new]) for old, new in zip(before, after, strict=True) if self.ids[new] != old]

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor buffer, for ``state_dict``."""
        return {
            "ids": self.ids,
            "next": self._next,
            "burning": self.burning,
            "patience": self._patience,
            "founders": list(self._founders),
            "known": list(self._known),
            "burnt": list(self._burnt),
            "compared": self._compared,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self._next, self.burning, self._patience = state["next"], state["burning"], state["patience"]
        self._founders, self._known = list(state["founders"]), list(state["known"])
        self._burnt, self._compared = list(state["burnt"]), state["compared"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # As many charts as were saved, before the atlas loads its part.
        self.atlas = Atlas()
        for identity in state_dict[prefix + "_extra_state"]["ids"]:
            self.atlas.grow(WatchingChart(identity, self.bank))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _are_foreign(flags: list[bool]) -> bool:
    """Whether samples are foreign more often than those of known components, of which a tenth are."""
    n = len(flags)
    return sum(flags) > _FOREIGN * n + _PROBATION * (_FOREIGN * (1 - _FOREIGN) * n) ** 0.5
