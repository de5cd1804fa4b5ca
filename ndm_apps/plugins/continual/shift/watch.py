"""The sequential test of embedded samples: bets, quarantine, learning."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import Atlas
from ndm_apps.plugins.continual.shift.charts import Charts
from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.held import Held
from ndm_apps.plugins.continual.shift.martingales import PowerMartingales
from ndm_apps.plugins.continual.shift.presence import Presence
from ndm_apps.plugins.continual.shift.statistics import STATISTICS, Statistic

_SUSPICION = 2.0  # wealth above which samples wait in quarantine instead of being learnt
_QUARANTINE = 256  # most samples held at a time
# Samples taken at a time, at least and at most. What is known changes between pieces only: they are short beside what
# the newest chart has learnt.
_PIECES, _SHARE = (16, 32), 16


class Watch(nn.Module):
    """Test embedded samples in order, and learn them: what a shift detector does once its embedding is fixed.

    Parameters, attributes and errors are those of :class:`~ndm_apps.plugins.continual.shift.detector.ShiftDetector`.
    """

    def __init__(
        self,
        *,
        threshold: float,
        calibration: int,
        arm_scores: int,
        arm_samples: int,
        burn_in: int,
        statistic: str | Statistic,
        heading: bool,
        seed: int,
    ) -> None:
        super().__init__()
        for name, value, low in (
            ("arm_scores", arm_scores, 1),
            ("calibration", calibration, arm_scores),
            ("arm_samples", arm_samples, 1),
            ("burn_in", burn_in, 1),
        ):
            if value < low:
                raise ValueError(f"{name}: got {value}, must be at least {low}")
        if not threshold > 1:
            raise ValueError(f"threshold: got {threshold}, must be greater than 1")
        if not callable(statistic) and statistic not in STATISTICS:
            raise ValueError(f"statistic: got {statistic!r}, must be a function or one of {', '.join(STATISTICS)}")
        self.threshold, self.calibration = threshold, calibration
        self.arm_scores, self.arm_samples, self.burn_in = arm_scores, arm_samples, burn_in
        self.statistic = statistic if callable(statistic) else STATISTICS[statistic]
        self.martingales = PowerMartingales(2 if heading else 1)
        self.charts: Charts | None = None
        self.alarms: list[int] = []
        self.settled: list[tuple[int, int]] = []
        self.peak_wealth = 1.0
        self.levels: list[float] = []
        self.presence = Presence()
        self.samples_seen = self.samples_tested = 0
        self._ties = torch.Generator().manual_seed(seed)
        self._quarantine: Held | None = None

    @property
    def wealth(self) -> float:
        """Mean wealth of the martingales."""
        return float(self.martingales.wealth(self.martingales.log_wealth))

    @property
    def curvature(self) -> float:
        """Mean statistic of the samples of the last update, each in the component of least energy; 0 of no samples."""
        return sum(self.levels) / max(1, len(self.levels))

    @property
    def atlas(self) -> Atlas:
        """The charts; none before the embedding is fixed."""
        return Atlas() if self.charts is None else self.charts.atlas

    @property
    def ids(self) -> list[int]:
        """Identities of the charts of the atlas, in its order: they never change and are never used again."""
        return [] if self.charts is None else self.charts.ids

    @property
    def merged(self) -> list[tuple[int, int]]:
        """Identities of charts merged or given up during the last update, and of those that took their samples over."""
        return [] if self.charts is None else self.charts.merged

    def make_charts(self, prior: Tensor) -> Charts:
        """Return an empty atlas of charts with components of a prior covariance ``(d, d)``."""
        bank = Components(
            prior, calibration=self.calibration, statistic=self.statistic, sequences=len(self.martingales.log_wealth)
        )
        return Charts(bank, arm_scores=self.arm_scores, arm_samples=self.arm_samples, burn_in=self.burn_in)

    def begin(self, prior: Tensor, z: Tensor, r: Tensor, labels: Tensor) -> None:
        """Grow the first chart, from samples that are already counted as seen."""
        self.charts = self.make_charts(prior)
        chart = self.charts.grow()
        names, which = labels.unique(return_inverse=True)
        rows = torch.tensor([self.charts.bank.add(chart, name) for name in names.tolist()])[which]
        self._settle(z, r, rows, torch.arange(self.samples_seen - len(z), self.samples_seen))
        self.charts.begin_forming()

    def watch(self, z: Tensor, r: Tensor, labels: Tensor) -> None:
        """Test and learn embedded samples ``(batch, d)``."""
        while len(z):
            piece = min(max(self.charts.atlas.charts[-1].count // _SHARE, _PIECES[0]), _PIECES[1])
            taken = self._take(z[:piece], r[:piece], labels[:piece])
            z, r, labels = z[taken:], r[taken:], labels[taken:]
            self.samples_seen += taken

    def _take(self, z: Tensor, r: Tensor, labels: Tensor) -> int:
        """Test samples and learn those that are not under suspicion; return how many have been taken."""
        charts, bank = self.charts, self.charts.bank
        burning = charts.burning
        if burning:
            z, r, labels = z[:burning], r[:burning], labels[:burning]
        forming = not burning and charts.forming(len(z))
        for label in labels[~torch.isin(labels, bank.label)].unique().tolist():
            bank.add(charts.ids[-1], label)
        whitened = bank.whiten(z)
        reading = bank.read(whitened, r)
        scores, energies = bank.scores(whitened, reading), bank.energies(reading.square)
        rows = self.presence.home(bank, labels, energies, settled=not burning and not forming)
        armed = charts.armed()
        ties = torch.rand(len(z), scores.shape[1], len(armed), generator=self._ties, dtype=torch.float64)
        p = bank.p_values(scores, armed, ties)
        positions = torch.arange(self.samples_seen, self.samples_seen + len(z))
        piece = Held(z, r, labels, rows, scores[torch.arange(len(z)), :, rows], p, positions)
        levels = scores[torch.arange(len(z)), 0, energies.argmin(1)]
        if burning:
            self._settle(z, r, charts.burn(piece), positions)
            charts.burnt(len(z))
            if not charts.burning:
                bank.heading.zero_()
        elif forming or not len(armed):
            bank.head(whitened, energies)
            self._release(piece)
        else:
            piece = self._test(piece)
            if not charts.burning:
                bank.head(whitened, energies)
        for chart, into in charts.merged:
            if chart == self.presence.chart:
                self.presence.enter(into)
        self.levels += levels[: len(piece)].tolist()
        return len(piece)

    def _test(self, piece: Held) -> Held:
        """Bet on samples up to an alarm, and hold or release them; return those that were tested."""
        path = self.martingales.bet(piece.p)
        wealth = self.martingales.wealth(path)
        over = (wealth >= self.threshold).nonzero()[:, 0]
        taken = int(over[0]) + 1 if len(over) else len(piece)
        piece, path = piece[:taken], path[:taken]
        self.samples_tested += taken
        self.martingales.log_wealth = path[-1]
        self.peak_wealth = max(self.peak_wealth, float(wealth[:taken].max()))
        held = piece if self._quarantine is None else self._quarantine.then(piece)
        calm = (path.flatten(1).amax(1) <= math.log(_SUSPICION)).nonzero()[:, 0]
        clear = len(held) - taken + int(calm[-1]) + 1 if len(calm) else 0
        if len(held) - clear > _QUARANTINE and not len(over):
            clear = len(held)
        self._release(held[:clear])
        self._quarantine = held[clear:] if clear < len(held) else None
        if len(over):
            self._alarm(held[clear:])
        return piece

    def _alarm(self, held: Held) -> None:
        self.alarms.append(int(held.positions[-1]))
        self._quarantine = None
        # During the burn-in, headings point to where the samples that raised the alarm are.
        bank = self.charts.bank
        whitened = bank.whiten(held.z)
        bank.heading.zero_()
        bank.head(whitened, bank.energies(whitened.square().sum(-1)))
        rows = self.charts.found(held)
        self.presence.enter(self.charts.ids[-1])
        self.martingales.restart()
        self._settle(held.z, held.r, rows, held.positions)

    def _release(self, held: Held) -> None:
        """Learn samples at home and keep their scores.

        Those that a burn-in chose by their p-value leave none: that selection would bias it.
        """
        if not len(held):
            return
        bank = self.charts.bank
        known = bank.count[held.rows] >= self.arm_samples
        bank.record(held.scores[known], held.rows[known])
        self._settle(held.z, held.r, held.rows, held.positions)

    def _settle(self, z: Tensor, r: Tensor, rows: Tensor, positions: Tensor) -> None:
        bank = self.charts.bank
        bank.learn(z, r, rows)
        self.settled += zip(positions.tolist(), bank.chart[rows].tolist(), strict=True)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is no tensor buffer, for ``state_dict``."""
        return {
            "alarms": list(self.alarms),
            "samples_seen": self.samples_seen,
            "samples_tested": self.samples_tested,
            "ties": self._ties.get_state(),
            "quarantine": None if self._quarantine is None else self._quarantine.columns(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.alarms = list(state["alarms"])
        self.samples_seen, self.samples_tested = state["samples_seen"], state["samples_tested"]
        self._ties.set_state(state["ties"])
        self._quarantine = None if state["quarantine"] is None else Held(*state["quarantine"])
