"""Detectors of a rise in a series of numbers, and one shape for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

__all__ = ["RULES", "Rule", "SeriesDetector", "ThreeSigma", "adwin", "page_hinkley"]


class Rule(Protocol):
    """What river's drift detectors look like: one number in, and whether it changed anything."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last number made it raise an alarm."""
        ...

    def update(self, x: float, /) -> Any:
        """Take one number."""
        ...


class SeriesDetector:
    """Run a rule along a series that comes in pieces, in the manner of the shift detector.

    Parameters
    ----------
    rule
        See :data:`RULES`.

    Attributes
    ----------
    alarms
        Positions in the series at which an alarm was raised.
    drift_detected
        Whether the last :meth:`update` raised one.

    Examples
    --------
    >>> detector = SeriesDetector(ThreeSigma(window=4))
    >>> detector.update([1.0, 2.0, 1.0, 2.0]), detector.update([2.0, 9.0]), detector.alarms
    (False, True, [5])
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.alarms: list[int] = []
        self.drift_detected = False
        self.seen = 0

    def update(self, values: Iterable[float]) -> bool:
        """Take numbers in order; return whether an alarm was raised among them.

        Raises
        ------
        ValueError
            If one is not finite. None has been taken then.
        """
        values = np.asarray(list(values) if not isinstance(values, np.ndarray) else values, dtype=float)
        if not np.isfinite(values).all():
            raise ValueError(f"values: number {int(np.argmin(np.isfinite(values)))} of {len(values)} is not finite")
        before = len(self.alarms)
        for value in values.tolist():
            self.rule.update(value)
            if self.rule.drift_detected:
                self.alarms.append(self.seen)
            self.seen += 1
        self.drift_detected = len(self.alarms) > before
        return self.drift_detected


class ThreeSigma:
    r"""Alarm where a number exceeds the mean of the last ones by so many standard deviations.

    .. math:: x_t > \mu + s\, \sigma

    with :math:`\mu, \sigma` of the last ``window`` numbers. After an alarm the window fills anew. On the loss of a
    classifier, with s = 3 and a window of 100 mini-batches, this is the rule of task-free learners.

    Parameters
    ----------
    window
        Numbers that the mean and the deviation are of.
    sigmas
        s.

    References
    ----------
    Zhu, Majzoubi, Jain and Choromanska, "TAME: Task agnostic continual learning using multiple experts", 2022,
    arXiv:2210.03869.
    """

    def __init__(self, window: int = 100, sigmas: float = 3.0) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2, got {window}")
        self.sigmas, self.drift_detected = sigmas, False
        self.past: deque[float] = deque(maxlen=window)

    def update(self, x: float) -> None:
        """Take one number."""
        full = len(self.past) == self.past.maxlen
        self.drift_detected = full and bool(x > np.mean(self.past) + self.sigmas * np.std(self.past))
        if self.drift_detected:
            self.past.clear()
        self.past.append(x)


class _Rising:
    """River's ADWIN, which finds any change of the mean, told of rises alone."""

    def __init__(self, adwin: Any) -> None:
        self.adwin, self.drift_detected = adwin, False

    def update(self, x: float) -> None:
        before = self.adwin.estimation
        self.adwin.update(x)
        self.drift_detected = self.adwin.drift_detected and self.adwin.estimation > before


def adwin(delta: float = 0.002) -> Rule:
    """Return river's ADWIN, for rises of the mean.

    References
    ----------
    Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", 2007.
    """
    return _Rising(_river().ADWIN(delta=delta))


def page_hinkley(threshold: float = 50.0) -> Rule:
    """Return river's Page-Hinkley test, for rises of the mean.

    References
    ----------
    Page, "Continuous inspection schemes", 1954.
    """
    rule: Rule = _river().PageHinkley(threshold=threshold, mode="up")
    return rule


RULES: dict[str, Callable[..., Rule]] = {"three_sigma": ThreeSigma, "adwin": adwin, "page_hinkley": page_hinkley}


def _river() -> Any:
    try:
        from river import drift
    except ImportError as error:
        raise ImportError("ADWIN and Page-Hinkley are river's: pip install 'ndm-apps[bench]'") from error
    return drift
