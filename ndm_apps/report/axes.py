"""Axes of the pages' own drawings: where values lie in a panel, and which of them are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
DECADES = 2.0  # between the smallest and the largest value, from which on an axis of positive values is logarithmic
MARGIN = 0.05  # of the range, left free at both ends


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic map from an interval of values to an interval of places in the drawing."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: NDArray[np.float64] | Sequence[float] | float) -> NDArray[np.float64]:
        """Return the places of values; what a logarithmic axis has no place for becomes NaN."""
        found = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            found = np.log10(np.where(found > 0, found, math.nan))
            low, high = math.log10(low), math.log10(high)
        return self.start + (found - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int = 4) -> list[tuple[float, str]]:
        """Return about so many values worth writing, each with its text."""
        if not self.log:
            return [(value, f"{value:.6g}") for value in linear_ticks(self.low, self.high, count)]
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        every = max(1, math.ceil((last - first + 1) / (count + 1)))
        return [(10.0**n, "10" + str(n).translate(SUPERSCRIPTS)) for n in range(first, last + 1, every)]


def axis_of(values: NDArray[np.float64], start: float, stop: float, *, may_be_log: bool = False) -> Axis:
    """Return an axis that shows all finite values, with a margin."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if may_be_log and low > 0 and math.log10(high / low) > DECADES:
        margin = (high / low) ** MARGIN
        return Axis(low / margin, high * margin, start, stop, log=True)
    room = MARGIN * (high - low) or abs(high) * MARGIN or 1.0
    return Axis(low - room, high + room, start, stop)


def linear_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return about ``count`` multiples of 1, 2 or 5 times a power of ten in an interval.

    Examples
    --------
    >>> linear_ticks(0.0, 1.0), linear_ticks(-3.0, 32.0)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= 0.7 * rough or size == 10)
    return [
        round(n * step, 12 - math.floor(math.log10(step)))
        for n in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]
