"""What the runs of a claim show: paired comparisons over seeds, and the sentence that says no more than they do."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from scipy.stats import t as student

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """How a quantity changes from one way of training to another, over the seeds that both have.

    Attributes
    ----------
    mean, sd
        Of the differences, seed by seed.
    low, high
        Ends of the 95% interval of the mean, by Student's t; they exclude 0 where chance is an unlikely cause.
    seeds
        Number of seeds compared.
    """

    mean: float
    sd: float
    low: float
    high: float
    seeds: int

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """The sign of the change where the interval excludes 0, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def paired_difference(new: Mapping[int, float], old: Mapping[int, float]) -> Difference:
    """Return the change from ``old`` to ``new``, values by seed.

    Raises
    ------
    ValueError
        If they share fewer than two seeds: there is no standard deviation then.

    Examples
    --------
    >>> found = paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.8, 2: 0.6})
    >>> round(found.mean, 3), round(found.sd, 3), found.direction
    (0.067, 0.058, 0)
    """
    seeds = sorted(new.keys() & old.keys())
    if len(seeds) < 2:
        raise ValueError(f"new and old must share at least two seeds, got {seeds}")
    changes = [new[seed] - old[seed] for seed in seeds]
    mean, sd = statistics.fmean(changes), statistics.stdev(changes)
    half = student.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1) * sd / math.sqrt(len(seeds))
    return Difference(mean, sd, mean - half, mean + half, len(seeds))


class Change(NamedTuple):
    """A difference of one quantity, of which ``"higher"`` or ``"lower"`` is better, and what it is shown in."""

    quantity: str
    found: Difference
    better: Literal["higher", "lower", ""] = ""
    unit: str = ""
    scale: float = 1.0

    def __str__(self) -> str:
        mean, sd = self.scale * self.found.mean, self.scale * self.found.sd
        digits = _digits(sd)
        return f"{self.quantity} ({mean:+.{digits}f} ± {sd:.{digits}f}{self.unit})"


def changes_sentence(what: str, changes: Sequence[Change]) -> str:
    """Return the sentence on what was changed that the differences support.

    Examples
    --------
    >>> found = paired_difference({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.8, 1: 0.8, 2: 0.6})
    >>> changes_sentence("L_geo", [Change("test accuracy", found, "higher", " points", 100)])
    'L_geo: no effect that 3 seeds could show on test accuracy (+6.7 ± 5.8 points).'
    """
    groups: dict[str, list[str]] = {}
    for change in changes:
        groups.setdefault(_judgement(change.found, change.better), []).append(str(change))
    ordered = sorted(groups.items(), key=lambda group: group[0].startswith("no effect"))
    return f"{what}: {'; '.join(f'{judged} ' + ', '.join(them) for judged, them in ordered)}."


def ratio_sentence(
    what: str,
    quantity: str,
    new: Mapping[int, float],
    old: Mapping[int, float],
    better: Literal["higher", "lower", ""] = "",
) -> str:
    """Return the sentence on a positive quantity that is compared by its ratio, as :class:`Change` is by difference.

    Examples
    --------
    >>> ratio_sentence("the natural gradient", "steps", {0: 10, 1: 11, 2: 9}, {0: 30, 1: 31, 2: 29}, "lower")
    'the natural gradient: an improvement in steps (times 0.33, 0.28 to 0.39).'
    """
    found = paired_difference(*({seed: math.log(value) for seed, value in values.items()} for values in (new, old)))
    factor, low, high = (_factor(math.exp(value)) for value in (found.mean, found.low, found.high))
    return f"{what}: {_judgement(found, better)} {quantity} (times {factor}, {low} to {high})."


def _judgement(found: Difference, better: str) -> str:
    if not found.direction:
        return f"no effect that {found.seeds} seeds could show on"
    if not better:
        return "a change in"
    return "an improvement in" if (found.direction > 0) == (better == "higher") else "a loss in"


def _digits(sd: float) -> int:
    """Return the decimals that show a standard deviation to two digits, one to four."""
    return 4 if sd <= 0 else min(max(1 - math.floor(math.log10(sd)), 1), 4)


def _factor(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= value < 100 else f"{value:.2g}"
