"""Statistics of nets that every component of the shift detector trains on its own samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.plugins.continual.shift.charts import Charts
from ndm_apps.plugins.continual.shift.components import Components
from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.shift.statistics import Reading, residual

__all__ = ["NetDetector", "NetSignal", "Nets"]


class NetSignal(NamedTuple):
    """A statistic that comes from a net.

    Attributes
    ----------
    make
        From the dimension d and a seed to a net that learns by ``update(z)``, z ``(batch, d)``.
    score
        From the net and whitened samples ``(batch, d)`` to numbers ``(batch,)``, larger where foreign.
    normal
        Whether the normal residual is added, as it is to the detector's own curvature.
    """

    make: Callable[[int, int], nn.Module]
    score: Callable[[Any, Tensor], Tensor]
    normal: bool = False


class Nets(nn.Module):
    """One net for each component, made when it is first met."""

    def __init__(self, signal: NetSignal, dimension: int) -> None:
        super().__init__()
        self.signal, self.dimension = signal, dimension
        self.nets = nn.ModuleDict()

    def scores(self, whitened: Tensor, bank: Components, reading: Reading) -> Tensor:
        """Return what each component says of samples ``(batch, components, d)``, ``(batch, components)``."""
        columns = [self.signal.score(self.net(bank, row), whitened[:, row]) for row in range(len(bank))]
        score = torch.stack(columns, 1).to(whitened)
        return score + residual(reading) if self.signal.normal else score

    def learn(self, bank: Components, z: Tensor, rows: Tensor) -> None:
        """Train the nets of components on embedded samples ``(batch, d)`` that are at home in the given rows."""
        for row in sorted(set(rows.tolist())):
            here = z[rows == row]
            self.net(bank, row).update(bank.whiten(here)[:, row])

    def net(self, bank: Components, row: int) -> Any:
        """Return the net of the component in a row."""
        chart, label = (int(torch.as_tensor(column)[row]) for column in (bank.chart, bank.label))
        return self._made(f"{chart}_{label}")

    def _made(self, key: str) -> nn.Module:
        if key not in self.nets:
            chart, label = key.split("_")
            self.nets[key] = self.signal.make(self.dimension, (1000 * int(chart) + int(label)) % 2**31)
        return self.nets[key]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Nets appear as the stream goes on: make them before their weights are copied.
        start = f"{prefix}nets."
        self.nets.clear()
        for name in state_dict:
            if name.startswith(start):
                self._made(name[len(start) :].split(".")[0])
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _NetComponents(Components):
    """Components whose scores are those of nets. A component that is taken over leaves its net behind, unused."""

    def __init__(self, prior: Tensor, signal: NetSignal, **settings: Any) -> None:
        super().__init__(prior, **settings)
        self.nets = Nets(signal, self.dimension)

    def scores(self, whitened: Tensor, reading: Reading) -> Tensor:
        return self.nets.scores(whitened, self, reading)[:, None]

    def learn(self, z: Tensor, r: Tensor, rows: Tensor) -> None:
        super().learn(z, r, rows)
        self.nets.learn(self, z, rows)


class NetDetector(ShiftDetector):
    """The shift detector on a net's statistic in place of its own.

    Parameters
    ----------
    signal
        The statistic.
    **settings
        As of :class:`~ndm_apps.plugins.continual.shift.detector.ShiftDetector`, but ``statistic`` and ``heading``.
    """

    def __init__(self, signal: NetSignal, **settings: Any) -> None:
        super().__init__(heading=False, **settings)
        self.signal = signal

    def make_charts(self, prior: Tensor) -> Charts:
        """Return an empty atlas of charts whose components train nets."""
        bank = _NetComponents(prior, self.signal, calibration=self.calibration, statistic=self.statistic, sequences=1)
        return Charts(bank, arm_scores=self.arm_scores, arm_samples=self.arm_samples, burn_in=self.burn_in)
