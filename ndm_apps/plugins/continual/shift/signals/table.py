"""Every statistic that the shift detector can run on, by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.shift.signals.free_metric import FreeMetric
from ndm_apps.plugins.continual.shift.signals.trained import NetDetector, NetSignal
from ndm_apps.plugins.continual.shift.statistics import STATISTICS
from ndm_apps.plugins.continual.shift.stein import ConformalNet

__all__ = ["NET_SIGNALS", "SIGNALS", "detector"]


def _conformal(dimension: int, seed: int) -> ConformalNet:
    return ConformalNet(dimension, generator=torch.Generator().manual_seed(seed))


def _free(dimension: int, seed: int) -> FreeMetric:
    return FreeMetric(dimension, seed=seed)


@torch.no_grad()
def _stein(net: ConformalNet, z: Tensor) -> Tensor:
    return net.scaled_curvature(z)


def _size(net: FreeMetric, z: Tensor) -> Tensor:
    return net.scalar_curvature(z).abs()


NET_SIGNALS: dict[str, NetSignal] = {
    "stein": NetSignal(_conformal, _stein, normal=True),
    "scalar_curvature": NetSignal(_free, FreeMetric.scalar_curvature),
    "absolute_curvature": NetSignal(_free, _size),
    "volume": NetSignal(_free, FreeMetric.log_volume),
    "distortion": NetSignal(_free, FreeMetric.distortion),
}
"""Scaled curvature of a trained conformal net; of a free Metric Net, R, its size, log volume and metric distortion."""

SIGNALS: tuple[str, ...] = (*STATISTICS, *NET_SIGNALS)
"""Names of all statistics: those that a Gaussian component knows, and those of nets that each component trains."""


def detector(signal: str, **settings: Any) -> ShiftDetector:
    """Return a shift detector whose conformal test ranks the given statistic and no other.

    Parameters
    ----------
    signal
        One of :data:`SIGNALS`.
    **settings
        As of :class:`~ndm_apps.plugins.continual.shift.detector.ShiftDetector`, but ``statistic`` and ``heading``.

    Raises
    ------
    ValueError
        If there is no such signal.

    Examples
    --------
    >>> detector("volume", dimension=4, warmup=64).update(torch.randn(32, 8))
    False
    """
    if signal in NET_SIGNALS:
        return NetDetector(NET_SIGNALS[signal], **settings)
    if signal in STATISTICS:
        return ShiftDetector(statistic=signal, heading=False, **settings)
    raise ValueError(f"signal: got {signal!r}, must be one of {', '.join(SIGNALS)}")
