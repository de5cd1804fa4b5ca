r"""Paired differences to a baseline over common seeds, with Student's interval and test, corrected by Holm."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import Column
from ndm_apps.report.results import by_task, columns_of, label_of, lookup, varying_settings
from ndm_apps.report.tables import MISSING, Cell, Row, Table, format_number

LEVEL = 0.05  # of the test, and of the interval's complement


@dataclass(frozen=True)
class Difference:
    """Mean of a paired difference; interval and p-value are None where a single pair, or equal ones, tell none.

    Attributes
    ----------
    labels
        Of the group that is compared with the baseline.
    key
        The value that is compared, a dotted path.
    pairs
        Number of seeds that both have.
    mean, low, high
        Mean difference and its 95 % interval of Student's t.
    p
        Two-sided p-value of the paired t-test, adjusted by Holm for all groups that the column compares.
    verdict
        ``"better"`` or ``"worse"`` where p < 0.05 and the column has a better side, else "".
    """

    labels: tuple[str, ...]
    key: str
    pairs: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    verdict: str = ""


def paired(differences: Sequence[float]) -> tuple[float, float | None, float | None, float | None]:
    r"""Return mean, 95 % interval and p-value of paired differences by Student's t with n - 1 degrees of freedom.

    :math:`t = \bar d \sqrt n / s`; with one difference, or equal ones, there is neither interval nor p-value.

    Examples
    --------
    >>> mean, low, high, p = paired([0.1, 0.2, 0.3])
    >>> round(mean, 3), round(low, 3), round(high, 3), round(p, 4)
    (0.2, -0.048, 0.448, 0.0742)
    >>> paired([0.1])
    (0.1, None, None, None)
    """
    values = np.asarray(differences, dtype=float)
    mean, n = float(values.mean()), len(values)
    error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if error <= 1e-12 * abs(mean):
        return mean, None, None, None
    half = float(stdtrit(n - 1, 1 - LEVEL / 2)) * error
    return mean, mean - half, mean + half, float(2 * stdtr(n - 1, -abs(mean) / error))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's step-down rule (Scand. J. Statist. 6, 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, worst = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        worst = max(worst, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = worst
    return adjusted


def paired_differences(
    results: Sequence[Mapping[str, Any]], columns: Sequence[Column], by: Sequence[str], baseline: str | None = None
) -> tuple[tuple[str, ...], list[Difference]]:
    """Compare every group of runs of one task with a baseline, over the seeds that both have.

    Parameters
    ----------
    results
        Runs of one task.
    columns
        What is compared: those of numbers with a better side.
    by
        Dotted paths of what distinguishes the groups; ``method`` is the first.
    baseline
        Method of the baseline, by default that of the first run; of its groups the first counts.

    Returns
    -------
    tuple
        Labels of the baseline, and the differences, group by group.

    Raises
    ------
    InputError
        If no run is of that method.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(tuple(label_of(result, key) for key in by), []).append(result)
    reference = next((labels for labels in groups if baseline in (None, labels[0])), None)
    if reference is None:
        known = ", ".join(dict.fromkeys(labels[0] for labels in groups))
        raise InputError(f"baseline: got {baseline!r}, must be one of {known}")
    found = []
    for column in columns:
        if column.better:
            base = _by_seed(groups[reference], column.key)
            others = {labels: _by_seed(runs, column.key) for labels, runs in groups.items() if labels != reference}
            found += _judged([_difference(labels, column.key, base, own) for labels, own in others.items()], column)
    order = {labels: place for place, labels in enumerate(groups)}
    return reference, sorted(found, key=lambda difference: order[difference.labels])


def difference_table(differences: Sequence[Difference], columns: Sequence[Column], by: Sequence[str]) -> Table:
    """Return differences as a table: mean [interval], p; those that are better by the test are marked."""
    shown = tuple(column for column in columns if any(d.key == column.key for d in differences))
    found = {(d.labels, d.key): d for d in differences}
    rows = []
    for labels in dict.fromkeys(d.labels for d in differences):
        own = [found.get((labels, column.key)) for column in shown]
        pairs = max(d.pairs for d in own if d is not None)
        cells = tuple(Cell(MISSING) if d is None else _cell(d, c) for d, c in zip(own, shown, strict=True))
        rows.append(Row(labels, pairs, pairs, cells))
    return Table(tuple(by), shown, tuple(rows))


def differences_to(baseline: str, results: Sequence[dict[str, Any]]) -> dict[str, Table]:
    """Return, for each task that has runs of a method, the differences of its other runs to those as a table.

    Examples
    --------
    >>> runs = [{"task": "t", "config": {"task": {"domain": "supervised"}}, "method": m, "seed": s, "score": v}
    ...         for m, s, v in [("x", 0, 0.5), ("x", 1, 0.75), ("y", 0, 0.5), ("y", 1, 0.5)]]
    >>> differences_to("x", runs).keys(), differences_to("z", runs)
    (dict_keys(['t']), {})
    """
    tables = {}
    for task, runs in by_task(results).items():
        if baseline in {label_of(run, "method") for run in runs}:
            columns, by = columns_of(runs[0]), ("method", *varying_settings(runs))
            tables[task] = difference_table(paired_differences(runs, columns, by, baseline)[1], columns, by)
    return tables


def save_differences(path: Path, rows: Sequence[tuple[str, tuple[str, ...], Difference]]) -> Path:
    """Write differences with their task and the labels of their baseline as CSV, all digits, one a line."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["task", "group", "baseline", "value", "pairs", "difference", "low", "high", "p_holm"])
    for task, reference, d in rows:
        writer.writerow([task, " ".join(d.labels), " ".join(reference), d.key, d.pairs, d.mean, d.low, d.high, d.p])
    return write_text(path, stream.getvalue())


def _by_seed(runs: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """Return the value of each seed, the mean where a seed ran more than once."""
    values: dict[str, list[float]] = {}
    for run in runs:
        value = lookup(run, key)
        if isinstance(value, (bool, int, float)) and math.isfinite(value):
            values.setdefault(str(run.get("seed")), []).append(float(value))
    return {seed: math.fsum(found) / len(found) for seed, found in values.items()}


def _difference(
    labels: tuple[str, ...], key: str, base: Mapping[str, float], own: Mapping[str, float]
) -> Difference | None:
    seeds = [seed for seed in own if seed in base]
    if not seeds:
        return None
    return Difference(labels, key, len(seeds), *paired([own[seed] - base[seed] for seed in seeds]))


def _judged(found: Sequence[Difference | None], column: Column) -> list[Difference]:
    """Adjust the p-values of one column for their number, and say which differences are better or worse."""
    present = [d for d in found if d is not None]
    adjusted = iter(holm([d.p for d in present if d.p is not None]))
    judged = []
    for d in present:
        p = None if d.p is None else next(adjusted)
        is_better = (d.mean > 0) == (column.better == "higher")
        verdict = ("better" if is_better else "worse") if p is not None and p < LEVEL else ""
        judged.append(replace(d, p=p, verdict=verdict))
    return judged


def _cell(d: Difference, column: Column) -> Cell:
    def signed(value: float) -> str:
        text = format_number(value, column.format)
        return text if text.startswith("-") else f"+{text}"

    text = signed(d.mean)
    if d.low is not None and d.high is not None and d.p is not None:
        text += f" [{signed(d.low)}, {signed(d.high)}] {p_text(d.p)}"
    return Cell(text, d.mean, None, d.pairs, d.verdict == "better")


def p_text(p: float) -> str:
    """Return a p-value as read.

    Examples
    --------
    >>> p_text(0.03), p_text(3e-7)
    ('p = 0.030', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
