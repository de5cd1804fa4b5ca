"""Signals of a shift, ablated: every statistic under the conformal test, and every sequential test on one statistic.

Run by ``make bench-signals``; needs MNIST and Fashion-MNIST in NDM_DATA. Streams are those of the shipped tasks
``continual/mnist-shifts`` and ``continual/fashion_mnist-shifts`` in features of the patch dictionary. Everything with a
threshold to choose is chosen on seeds from 1000 on, which hold out a fifth of the training data.
"""

import argparse
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ndm_apps import datasets
from ndm_apps.plugins.continual import ShiftDetector
from ndm_apps.plugins.continual.immersion.patches import PatchDictionary
from ndm_apps.plugins.continual.shift.martingales import PowerMartingales
from ndm_apps.plugins.continual.shift.signals.rules import RULES, SeriesDetector
from ndm_apps.plugins.continual.shift.signals.table import NET_SIGNALS, SIGNALS, detector
from ndm_apps.plugins.continual.stream.base import ArrayStream
from ndm_apps.plugins.continual.stream.build import build_stream
from ndm_apps.tasks import load_task
from tests.plugins.continual.shift.open_loop import BATCH, classifier_losses, open_loop

OUTPUT = Path("results/continual/detection.md")
DATA = {"MNIST": "continual/mnist-shifts", "Fashion-MNIST": "continual/fashion_mnist-shifts"}
WARMUP, FITTED = 320, 2000
THRESHOLD = 1e6
BUDGET = 0.2  # false alarms per 10,000 samples that a rule may raise on the seeds it is chosen on
GRID: dict[str, list[dict[str, float]]] = {
    "three_sigma": [
        {"window": window, "sigmas": sigmas} for window in (20, 50, 100) for sigmas in (3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
    ],
    "adwin": [{"delta": 10.0**-power} for power in (1, 2, 3, 4, 6, 9, 12, 20, 40, 80)],
    "page_hinkley": [{"threshold": float(t)} for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 4000)],
}
SERIES = ("curvature", "loss")
DENSITIES = ("curvature", "mahalanobis", "nll", "stein")
LABELS = {
    "heading": "curvature and heading: the detector as it is",
    "scalar_curvature": "R",
    "absolute_curvature": "size of R",
}


class Found(NamedTuple):
    """What alarms found in a stream: the delay at each shift or None, and how many found nothing."""

    abrupt: list[int | None]
    blends: list[int | None]
    false: int
    samples: int


class Outcome(NamedTuple):
    """A stream's part of the tables."""

    closed: dict[str, Found]
    auroc: dict[str, float]
    martingales: Found
    rules: dict[tuple[str, str, int], Found]


def features(stream: ArrayStream, seed: int) -> tuple[Tensor, Tensor]:
    """Return a stream's features and labels.

    Features are those of the patch dictionary in other axes: the span of the first samples, which a detector takes its
    coordinates from, and the length of the rest.
    """
    x, y = stream.slice(0, len(stream))
    immersion = PatchDictionary(samples=FITTED, seed=seed)
    immersion.fit(x[:FITTED])
    psi = torch.cat([immersion(part) for part in x.split(500)])
    centred = psi - psi[:WARMUP].mean(0)
    span, _ = torch.linalg.qr(centred[:WARMUP].T)
    inside = centred @ span
    rest = (centred.square().sum(1) - inside.square().sum(1)).clamp(min=0).sqrt()
    return torch.cat([inside, rest[:, None]], 1), y


def score(alarms: Iterable[int], stream: ArrayStream, delay: int, *, once: bool = False) -> Found:
    """Return what alarms found; with ``once``, further alarms that could have found the same shift are no false ones.

    That is for rules that run where charts are grown by the truth: after the first alarm theirs would have grown.
    """
    alarms, used = list(alarms), 0
    by_kind: dict[bool, list[int | None]] = {False: [], True: []}
    for shift, blend in zip(stream.shifts, stream.blends, strict=True):
        here = [alarm for alarm in alarms if shift <= alarm <= shift + delay]
        by_kind[blend > 0].append(here[0] - shift if here else None)
        used += len(here) if once else len(here[:1])
    return Found(by_kind[False], by_kind[True], len(alarms) - used, len(stream))


def rule_alarms(rule: str, setting: Mapping[str, float], positions: np.ndarray, values: np.ndarray) -> list[int]:
    """Run a rule along a series: river's take every number, mu + s sigma means of a mini-batch as its authors do."""
    if rule == "three_sigma":
        whole = len(values) // BATCH * BATCH
        positions, values = positions[BATCH - 1 : whole : BATCH], values[:whole].reshape(-1, BATCH).mean(1)
    found = SeriesDetector(RULES[rule](**setting))
    found.update(values)
    return positions[found.alarms].tolist()


def martingale_alarms(positions: np.ndarray, p: np.ndarray) -> list[int]:
    """Run the detector's own test along a series of p-values."""
    alarms, start, rest = [], 0, torch.from_numpy(p)[:, None]
    while start < len(rest):
        martingales = PowerMartingales(1)
        over = martingales.wealth(martingales.bet(rest[start:])) >= THRESHOLD
        if not over.any():
            break
        start += int(over.nonzero()[0]) + 1
        alarms.append(int(positions[start - 1]))
    return alarms


def batch_auroc(positions: np.ndarray, values: np.ndarray, stream: ArrayStream, delay: int) -> float:
    """Return how well the mean of a mini-batch tells the first ten after an abrupt shift from all with none near."""
    number = positions // BATCH
    mean = np.bincount(number, values) / np.maximum(np.bincount(number), 1)
    there = np.unique(number)
    since = np.full(len(mean), np.inf)
    for shift, blend in zip(stream.shifts, stream.blends, strict=True):
        new = np.arange(len(mean)) * BATCH + BATCH - 1 - shift
        since = np.where((new >= 0) & (new < delay), np.nan if blend else new, since)
    there = there[(since[there] < 10 * BATCH) | (since[there] == np.inf)]
    return float(roc_auc_score(np.isfinite(since[there]), mean[there]))


def run(name: str, seed: int, signals: Sequence[str]) -> Outcome:
    """Measure one stream of a data set; see :func:`measured`."""
    torch.set_num_threads(1)
    _, task = load_task(DATA[name])
    data = datasets.load(task.dataset.name, pixels=True)
    stream = build_stream(task.stream, data, seed=seed, evaluate="validation" if seed >= 1000 else "test")
    return measured(*features(stream, seed), stream, task.max_delay, signals, seed)


def measured(
    x: Tensor, y: Tensor, stream: ArrayStream, delay: int, signals: Sequence[str], seed: int, dimension: int = 48
) -> Outcome:
    """Run all detectors along a stream's features; without signals, only those that need no training."""
    closed = {}
    for signal in signals:
        settings = {"dimension": dimension, "warmup": WARMUP, "threshold": THRESHOLD, "seed": seed}
        found = ShiftDetector(**settings) if signal == "heading" else detector(signal, **settings)
        for start in range(0, len(x), BATCH):
            found.update(x[start : start + BATCH], y[start : start + BATCH])
        closed[signal] = score(found.alarms, stream, delay)
    experience = torch.zeros(stream.classes, dtype=torch.long)
    for number, (_, labels) in enumerate(stream.tests):
        experience[labels.unique()] = number
    shifts = list(stream.shifts)
    series = open_loop(x, y, experience, shifts, delay, dimension=dimension, nets=bool(signals), seed=seed)
    auroc = {signal: batch_auroc(series.positions, series.values[signal], stream, delay) for signal in series.values}
    own = martingale_alarms(series.positions, series.p["curvature"])
    outcome = Outcome(closed, auroc, score(own, stream, delay, once=True), {})
    losses = classifier_losses(x, y, dimension=dimension, classes=stream.classes)
    observed = {"curvature": (series.positions, series.values["curvature"]), "loss": (np.arange(len(y)), losses)}
    for of, rule in itertools.product(SERIES, GRID):
        for number, setting in enumerate(GRID[rule]):
            alarms = rule_alarms(rule, setting, *observed[of])
            outcome.rules[of, rule, number] = score(alarms, stream, delay, once=of == "curvature")
    return outcome


def summary(found: Sequence[Found]) -> dict[str, Any]:
    """Return the columns of a table, over streams."""
    row: dict[str, Any] = {}
    for kind, parts in (("abrupt", [one.abrupt for one in found]), ("blends", [one.blends for one in found])):
        delays = [delay for part in parts for delay in part]
        hits = [delay for delay in delays if delay is not None]
        row[kind] = f"{len(hits)}/{len(delays)}"
        row[f"{kind}: delay"] = f"{np.median(hits):.0f}" if hits else "–"
    row["false/10k"] = f"{1e4 * sum(one.false for one in found) / sum(one.samples for one in found):.2f}"
    return row


def chosen(tuning: Sequence[Outcome], of: str, rule: str) -> int:
    """Return the setting of a rule that finds most within the budget of false alarms; else that with fewest."""

    def worth(number: int) -> tuple[float, ...]:
        found = [outcome.rules[of, rule, number] for outcome in tuning]
        false = 1e4 * sum(one.false for one in found) / sum(one.samples for one in found)
        hits = [delay for one in found for delay in one.abrupt + one.blends if delay is not None]
        return (-max(false, BUDGET), len(hits), -float(np.median(hits)) if hits else 0.0)

    return max(range(len(GRID[rule])), key=worth)


def tables(outcomes: Mapping[str, Sequence[Outcome]], tuning: Mapping[str, Sequence[Outcome]]) -> str:
    """Return both tables of every data set as Markdown, and what they say in words."""
    text = []
    for name, runs in outcomes.items():
        rows = []
        for signal in runs[0].closed:
            auroc = [run.auroc[signal] for run in runs if signal in run.auroc]
            row = {"statistic": LABELS.get(signal, signal), **summary([run.closed[signal] for run in runs])}
            rows.append({**row, "AUROC": f"{np.mean(auroc):.3f} ± {np.std(auroc):.3f}" if auroc else "–"})
        text.append(f"### {name}: statistics, each under the detector's own test\n\n{_table(rows)}")
        rows = [{"series": "curvature", "test": "martingales", **summary([run.martingales for run in runs])}]
        for of, rule in itertools.product(SERIES, GRID):
            number = chosen(tuning[name], of, rule)
            setting = ", ".join(f"{key} {value:g}" for key, value in GRID[rule][number].items())
            found = summary([run.rules[of, rule, number] for run in runs])
            rows.append({"series": of, "test": f"{rule} ({setting})", **found})
        text.append(f"### {name}: sequential tests, charts grown by the truth\n\n{_table(rows)}")
    return "\n".join([*text, words(outcomes, tuning)])


def words(outcomes: Mapping[str, Sequence[Outcome]], tuning: Mapping[str, Sequence[Outcome]]) -> str:
    """Return what the tables say of curvature, in numbers: shifts of both kinds, over all data sets."""
    runs = [run for by_name in outcomes.values() for run in by_name]

    def told(found: Sequence[Found]) -> str:
        delays = [delay for one in found for delay in one.abrupt + one.blends]
        false = 1e4 * sum(one.false for one in found) / sum(one.samples for one in found)
        return f"{sum(delay is not None for delay in delays)} of {len(delays)} ({false:.2f})"

    def by(signal: str) -> str:
        return f"{LABELS.get(signal, signal)} {told([run.closed[signal] for run in runs])}"

    def test(of: str, rule: str) -> str:
        best = {name: chosen(tuning[name], of, rule) for name in outcomes}
        found = [run.rules[of, rule, best[name]] for name, by_name in outcomes.items() for run in by_name]
        return f"{rule} {told(found)}"

    families = (DENSITIES, tuple(signal for signal in NET_SIGNALS if signal not in DENSITIES))
    densities, free = (", ".join(by(signal) for signal in family if signal in runs[0].closed) for family in families)
    own = told([run.martingales for run in runs])
    tests, losses = (", ".join(test(of, rule) for rule in GRID) for of in SERIES)
    return f"""Shifts found, and false alarms per 10,000 samples in brackets, over all streams:

- Statistics of a density: {densities}. For a Gaussian component curvature is |z|² - d, which ranks samples as the
  likelihood and Mahalanobis' distance do; what differs between these rows is the normal residual, and chance.
- Statistics of a free Metric Net: {free}. Its loss says nothing of points away from the data. Distortion, the distance
  of g(z) from g(0), grows with |z| whatever the net: what it finds is that, not curvature.
- Tests of one series, the curvature, with charts grown by the truth: martingales {own}, {tests}.
- Tests of the loss of one linear classifier, which needs labels and forgets what does not come: {losses}.
"""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def measure(seeds: Sequence[int], tuning: Sequence[int], signals: Sequence[str], jobs: int) -> str:
    """Run all streams and return the tables."""
    asked = [(name, seed) for seed in (*tuning, *seeds) for name in DATA]
    found = Parallel(n_jobs=jobs)(delayed(run)(name, seed, signals if seed in seeds else ()) for name, seed in asked)
    outcomes = dict(zip(asked, found, strict=True))
    return tables(
        {name: [outcomes[name, seed] for seed in seeds] for name in DATA},
        {name: [outcomes[name, seed] for seed in tuning] for name in DATA},
    )


def main() -> None:
    """Measure, print the tables, and write them with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {OUTPUT}")
    parser.add_argument("--seeds", type=int, default=10, help="evaluation seeds 0, 1, ... (default: 10)")
    parser.add_argument("--tuning", type=int, default=5, help="seeds 1000, ... that rules are chosen on (default: 5)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args()
    start = time.perf_counter()
    text = measure(range(options.seeds), range(1000, 1000 + options.tuning), ("heading", *SIGNALS), options.jobs)
    streams = " and ".join(f"`{task}`" for task in DATA.values())
    text = f"""# Detection: signals ablated

Built by `make bench-signals` on seeds 0 to {options.seeds - 1}. What has a threshold to choose was chosen on seeds 1000
to {999 + options.tuning}, with at most {BUDGET} false alarms per 10,000 samples there. Streams are the tasks
{streams}: two abrupt shifts and two blends each, with imbalance and returns between them. The first alarm within the
task's `max_delay` finds a shift; every other alarm is false. Delays are medians in samples. AUROC: how well the mean
statistic of one mini-batch of {BATCH} tells the first ten after an abrupt shift from all others, charts grown by the
truth.

{text}"""
    print(text)
    print(f"{time.perf_counter() - start:.0f} s, {options.jobs} processes")
    if options.write:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(text)


if __name__ == "__main__":
    # By its own name: worker processes import what they are sent.
    from tests.plugins.continual.shift import bench_signals

    bench_signals.main()
