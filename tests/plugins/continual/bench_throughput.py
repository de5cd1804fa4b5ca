"""Throughput of the plugin's training loop against Avalanche's own, in one process, with the same model and data.

Run by ``make bench-continual``. Both sides train the same perceptron with plain SGD, mini-batches of 32, one thread,
the same metrics; they take turns, and the best of several turns counts. Equal final weights show that both did the
same work. The bare loop is forward, backward and step with nothing around them: with this arithmetic no training loop
can be faster, so its ratio to Avalanche is the largest that there is to gain.
"""

import argparse
import gzip
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ndm_apps.torchvision_shim  # noqa: F401  isort: skip  (before anything that imports torchvision)

import torch
from avalanche.benchmarks.classic import SplitMNIST
from avalanche.benchmarks.scenarios.online import split_online_stream
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive

from ndm_apps import datasets, provenance
from ndm_apps.plugins.continual.baselines.naive import ResidentNaive
from ndm_apps.plugins.continual.baselines.networks import network
from ndm_apps.plugins.continual.resident import experiences, online_experience, read_into_memory, resident_tensors

BATCH = 32
# The smaller one is what the digits baselines use; the larger one is bound by its arithmetic.
WIDTHS = ((100,), (400, 400))
OUTPUT = Path("results/continual/throughput.json")

Strategy = ResidentNaive | Naive
Job = Callable[[], torch.nn.Module]


@dataclass(frozen=True)
class Measured:
    """Samples per second of both sides and of the bare loop, and of ours with the time to read into memory."""

    case: str
    samples: int
    avalanche: float
    ours: float
    bare: float
    same_weights: bool
    ours_with_reading: float | None = None

    def row(self) -> str:
        """Return the case as a line of the table."""
        line = f"{self.case:46} {self.avalanche:9.0f} {self.ours:9.0f} {self.ours / self.avalanche:6.2f} x"
        line += f" {self.bare:9.0f} {self.bare / self.avalanche:6.2f} x"
        if self.ours_with_reading is not None:
            line += f"   ({self.ours_with_reading / self.avalanche:.2f} x with reading)"
        return line + ("" if self.same_weights else "   WEIGHTS DIFFER")


def learner(kind: type[Strategy], features: int, hidden: tuple[int, ...], epochs: int = 1) -> Strategy:
    """Return a strategy with the metric that the plugin's runs use, always from the same weights."""
    torch.manual_seed(0)
    model = network((features,), hidden, 10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return kind(model=model, optimizer=optimizer, train_mb_size=BATCH, train_epochs=epochs, evaluator=evaluator)


def bare_loop(
    parts: list[tuple[torch.Tensor, torch.Tensor]], hidden: tuple[int, ...], epochs: int = 1
) -> torch.nn.Module:
    """Train on tensors with nothing but torch, and return the model."""
    strategy = learner(Naive, parts[0][0][0].numel(), hidden)
    model, optimizer, criterion = strategy.model, strategy.optimizer, torch.nn.CrossEntropyLoss()
    for x, y in parts:
        for _ in range(epochs):
            for start in range(0, len(x), BATCH):
                optimizer.zero_grad()
                criterion(model(x[start : start + BATCH]), y[start : start + BATCH]).backward()
                optimizer.step()
    return model


def take_turns(theirs: Job, ours: Job, bare: Job, turns: int) -> tuple[list[float], bool]:
    """Return the best time of each job, and whether all end with the same weights."""
    best = [float("inf")] * 3
    for _ in range(turns):
        trained = []
        for number, job in enumerate((theirs, ours, bare)):
            start = time.perf_counter()
            trained.append(job())
            best[number] = min(best[number], time.perf_counter() - start)
        rows = zip(*(list(model.parameters()) for model in trained), strict=True)
    return best, all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in rows)


def on_digits(turns: int, hidden: tuple[int, ...], epochs: int = 4) -> Measured:
    """Measure plain training on digits, held by a ``TensorDataset`` for both."""
    data = datasets.load("digits")
    x = data.x_train.flatten(1)
    whole = experiences("train", [(x, data.y_train)])

    def job(kind: type[Strategy]) -> torch.nn.Module:
        strategy = learner(kind, x.shape[1], hidden, epochs)
        strategy.train(whole, eval_streams=[], shuffle=False)
        return strategy.model

    jobs = (lambda: job(Naive), lambda: job(ResidentNaive), lambda: bare_loop([(x, data.y_train)], hidden, epochs))
    best, same = take_turns(*jobs, turns)
    seen = epochs * len(x)
    return Measured(f"(a) digits, tensors, {_name(64, hidden)}", seen, *(seen / seconds for seconds in best), same)


def on_mnist(turns: int, hidden: tuple[int, ...], root: Path) -> Measured:
    """Measure plain training on Avalanche's SplitMNIST with its default transforms; ours reads them once."""
    stream = SplitMNIST(n_experiences=5, seed=0, dataset_root=root).train_stream
    start = time.perf_counter()
    arrays = [_arrays(read_into_memory(experience.dataset.train())) for experience in stream]
    reading = time.perf_counter() - start
    in_memory = experiences("train", arrays)

    def job(kind: type[Strategy], data: Iterable[Any]) -> torch.nn.Module:
        strategy = learner(kind, 784, hidden)
        for experience in data:
            strategy.train(experience, eval_streams=[], shuffle=False)
        return strategy.model

    jobs = (lambda: job(Naive, stream), lambda: job(ResidentNaive, in_memory), lambda: bare_loop(arrays, hidden))
    best, same = take_turns(*jobs, turns)
    seen = sum(len(x) for x, _ in arrays)
    name = f"(b) SplitMNIST, its transforms, {_name(784, hidden)}"
    return Measured(name, seen, *(seen / seconds for seconds in best), same, seen / (best[1] + reading))


def on_online_stream(turns: int, hidden: tuple[int, ...]) -> Measured:
    """Measure an online stream: every mini-batch is an experience of its own."""
    data = datasets.load("digits")
    x, y = data.x_train.flatten(1), data.y_train

    def theirs() -> torch.nn.Module:
        strategy = learner(Naive, x.shape[1], hidden)
        for experience in split_online_stream(experiences("train", [(x, y)]), BATCH, shuffle=False):
            strategy.train(experience, eval_streams=[], shuffle=False)
        return strategy.model

    def ours() -> torch.nn.Module:
        strategy = learner(ResidentNaive, x.shape[1], hidden)
        for number, start in enumerate(range(0, len(x), BATCH)):
            here = slice(start, start + BATCH)
            strategy.train(online_experience(x[here], y[here], number), eval_streams=[], shuffle=False)
        return strategy.model

    best, same = take_turns(theirs, ours, lambda: bare_loop([(x, y)], hidden), turns)
    return Measured(f"(c) digits, online, {_name(64, hidden)}", len(x), *(len(x) / seconds for seconds in best), same)


def _name(features: int, hidden: tuple[int, ...]) -> str:
    return "-".join(map(str, (features, *hidden, 10)))


def _arrays(dataset: AvalancheDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what ``read_into_memory`` has read."""
    x, y, *_ = resident_tensors(dataset)
    return x, y


@contextmanager
def unpacked_mnist() -> Iterator[Path | None]:
    """Yield a temporary folder with MNIST as torchvision wants it, or None where MNIST is not at hand."""
    raw = datasets.locate("mnist")
    if raw is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "MNIST" / "raw"
        target.mkdir(parents=True)
        for file in raw.iterdir():
            with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as packed:
                with (target / file.name.removesuffix(".gz")).open("wb") as plain:
                    shutil.copyfileobj(packed, plain)
        yield Path(folder)


def main() -> None:
    """Measure, print a table, and write it with ``--write``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5, help="turns of each side; the best counts (default: 5)")
    parser.add_argument("--write", action="store_true", help=f"write {OUTPUT}")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="avalanche")
    torch.set_num_threads(1)
    print(f"{'samples per second, one thread':46} {'Avalanche':>9} {'ours':>9}   ratio {'bare loop':>9}   ratio")
    found = []
    for measure in (on_digits, on_online_stream):
        for hidden in WIDTHS:
            found.append(measure(options.turns, hidden))
            print(found[-1].row(), flush=True)
    with unpacked_mnist() as root:
        if root is None:
            print("(b) SplitMNIST: left out, MNIST is not here (set NDM_DATA, or `ndm data mnist`)")
        else:
            for hidden in WIDTHS:
                found.append(on_mnist(max(1, options.turns // 2), hidden, root))
                print(found[-1].row(), flush=True)
    if options.write:
        content = {"cases": [asdict(case) for case in found], "versions": provenance.versions()}
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
