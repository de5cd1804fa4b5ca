"""Speed and memory of the accumulated metric beside the plain sum per mini-batch and Avalanche's StreamingLDA.

Run by ``python -m tests.engine.bench_readout [--write]``, one thread. Everyone takes turns on the same features in
mini-batches of 32. The plain sum is ``G += phi.T @ phi`` and nothing else: no class means, no check of the input.
Avalanche updates metric and means sample by sample.
"""

import argparse
import time
from pathlib import Path

import ndm_apps.torchvision_shim  # noqa: F401  isort: skip  (before anything that imports torchvision)

import torch
from avalanche.training.supervised.deep_slda import StreamingLDA

from ndm_apps.engine import NaturalGradientReadout
from tests import benchmark

BATCH = 32
CLASSES = 10
RANK = 256
SAMPLES = 1024  # a turn of everyone but Avalanche: two multiplications of the metric, four of the sketch
FEW = 8  # a turn of Avalanche


def features(width, samples=SAMPLES):
    """Half-rectified features with a mean, as those of a frozen network are, and labels."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.relu(torch.randn(samples, width, generator=generator) + 0.5)
    return phi, torch.randint(CLASSES, (samples,), generator=generator)


def stream(readout, phi, labels):
    """Return a job that feeds everything to the read-out."""

    def job():
        for start in range(0, len(phi), BATCH):
            readout.update(phi[start : start + BATCH], labels[start : start + BATCH])

    return job


def plain(width, phi):
    """Return the plain sum and a job that adds everything to it."""
    gram = torch.zeros(width, width)

    def job():
        for start in range(0, len(phi), BATCH):
            part = phi[start : start + BATCH]
            gram.addmm_(part.mT, part)

    return gram, job


def streaming_lda(width, phi, labels):
    """Return Avalanche's strategy and a job that fits it as its own training loop does, one sample after another."""
    strategy = StreamingLDA(torch.nn.Identity(), torch.nn.CrossEntropyLoss(), width, CLASSES, device="cpu")

    def job():
        for x, y in zip(phi, labels, strict=True):
            strategy.fit(x.unsqueeze(0), y.unsqueeze(0))

    return strategy, job


def throughput(widths=(2048, 4096, 6621)):
    """Samples per second of an update, seconds of a solution, megabytes of the state and with its working copy."""
    rows = []
    for width in widths:
        phi, labels = features(width)
        exact = NaturalGradientReadout(width, dtype=torch.float32)
        double = NaturalGradientReadout(width)
        sketch = NaturalGradientReadout(width, rank=RANK, dtype=torch.float32)
        gram, plain_job = plain(width, phi)
        strategy, avalanche_job = streaming_lda(width, phi[:FEW], labels[:FEW])
        sides = {
            "exact, float32": (stream(exact, phi, labels), SAMPLES),
            "exact, float64": (stream(double, phi, labels), SAMPLES),
            f"rank {RANK}, float32": (stream(sketch, phi, labels), SAMPLES),
            "plain sum, float32": (plain_job, SAMPLES),
            "Avalanche StreamingLDA, float32": (avalanche_job, FEW),
        }
        milliseconds = benchmark.compare({name: job for name, (job, _) in sides.items()}, repeats=3)
        rates = {name: 1e3 * samples / milliseconds[name] for name, (_, samples) in sides.items()}
        readouts = dict(zip(sides, (exact, double, sketch), strict=False))
        states = {
            "plain sum, float32": gram.nbytes,
            "Avalanche StreamingLDA, float32": sum(
                part.nbytes for part in (strategy.Sigma, strategy.Lambda, strategy.muK, strategy.cK)
            ),
        }
        for name, rate in rates.items():
            readout = readouts.get(name)
            row = {"D": width, "metric": name, "samples/s": rate, "over Avalanche": rate / rates[list(rates)[-1]]}
            row["state, MB"] = (states[name] if readout is None else sum(b.nbytes for b in readout.buffers())) / 1e6
            if readout is not None:
                row["peak, MB"] = readout.memory / 1e6
                start = time.perf_counter()
                readout.solution()
                row["solution, s"] = time.perf_counter() - start
            rows.append(row)
    return rows


def rounding(width=512, counts=(60_000, 600_000)):
    """Largest error of float32 against float64, over the largest entry, of the scatter and of the logits' range."""
    phi, labels = features(width, samples=20_000)
    single, double = NaturalGradientReadout(width, dtype=torch.float32), NaturalGradientReadout(width)
    rows, seen = [], 0
    for count in counts:
        while seen < count:
            for readout in (single, double):
                stream(readout, phi, labels)()
            seen += len(phi)
        exact, logits = double.scatter.dense(), double(phi.double())
        rows.append(
            {
                "samples": seen,
                "scatter": float((single.scatter.dense() - exact).abs().max() / exact.abs().max()),
                "logits": float((single(phi) - logits).abs().max() / (logits.max() - logits.min())),
            }
        )
    return rows


def main():
    """Print the tables, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/continual/readout.{json,md}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sections = {
        "Mini-batches of 32, ten classes": throughput(),
        "Rounding of float32 against float64, D = 512": rounding(),
    }
    for title, rows in sections.items():
        print(f"{title}\n\n{benchmark.table(rows)}")
    if arguments.write:
        benchmark.OUTPUT = Path("results/continual")
        benchmark.write("readout", sections)


if __name__ == "__main__":
    main()
