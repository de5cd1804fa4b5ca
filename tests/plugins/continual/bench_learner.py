"""Throughput of whole training loops at equal features: the NDM's, the baselines', and Avalanche's own.

Run by ``python -m tests.plugins.continual.bench_learner [--write]``, one thread; needs MNIST in ``NDM_DATA``. All
strategies are given the same feature vectors, held by a ``TensorDataset``, in mini-batches of 32, without evaluation.
Avalanche's are its own classes with their own loading; they see fewer samples, since they are slower.
"""

import argparse
import time
import warnings
from pathlib import Path

import ndm_apps.torchvision_shim  # noqa: F401  isort: skip  (before anything that imports torchvision)

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
from avalanche.training.supervised import Naive, StreamingLDA

from ndm_apps import datasets
from ndm_apps.plugins.continual import NDMStrategy, ShiftDetector
from ndm_apps.plugins.continual.baselines.build import build
from ndm_apps.plugins.continual.baselines.settings import METHODS
from ndm_apps.plugins.continual.immersion.identity import Identity
from ndm_apps.plugins.continual.immersion.patches import PatchDictionary
from ndm_apps.plugins.continual.resident import experiences
from tests import benchmark

FILTERS = 64  # 2048 features
SAMPLES = 8192
FEW = 96  # for Avalanche's StreamingLDA, which inverts nothing in training but adds sample by sample


def common():
    """Return what every strategy is given."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    return {"train_mb_size": 32, "eval_mb_size": 512, "device": "cpu", "evaluator": evaluator}


def strategies(width):
    """Return name, maker and number of samples of each side."""

    def linear():
        torch.manual_seed(0)
        model = torch.nn.Linear(width, 10)
        return {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.01), "train_epochs": 1}

    def baseline(method, **settings):
        made = METHODS[method](**settings)
        return lambda: build(made, torch.Size([width]), 10, common(), seed=0, dtype=torch.float32)

    def ndm(detector):
        return lambda: NDMStrategy(immersion=Identity(), detector=ShiftDetector() if detector else None, **common())

    lda = {"slda_model": torch.nn.Identity(), "criterion": torch.nn.CrossEntropyLoss(), "num_classes": 10}
    return {
        "NDM, read-out alone": (ndm(False), SAMPLES),
        "NDM, with shift detector": (ndm(True), SAMPLES),
        "slda (ours)": (baseline("slda"), SAMPLES),
        "replay 500 (ours)": (baseline("replay_500", hidden=()), SAMPLES),
        "Avalanche Naive with ReplayPlugin 500": (
            lambda: Naive(plugins=[ReplayPlugin(mem_size=500)], **linear(), **common()),
            SAMPLES,
        ),
        "Avalanche StreamingLDA": (lambda: StreamingLDA(input_size=width, **lda, **common()), FEW),
    }


def loops(features, labels):
    """Return a row for each strategy: samples per second of one pass, best of three."""
    rows = []
    for name, (make, samples) in strategies(features.shape[1]).items():
        # Two experiences: Avalanche's replay has something to replay from the second on.
        halves = [(features[:samples:2], labels[:samples:2]), (features[1:samples:2], labels[1:samples:2])]
        best = float("inf")
        for _ in range(3):
            strategy, whole = make(), experiences("train", halves)
            start = time.perf_counter()
            for experience in whole:
                strategy.train(experience, eval_streams=[], shuffle=False)
            best = min(best, time.perf_counter() - start)
        rows.append({"strategy": name, "samples/s": samples / best})
    for row in rows:
        for rival in rows[-2:]:
            row[f"over {rival['strategy']}"] = row["samples/s"] / rival["samples/s"]
    return rows


def parts(x, labels):
    """Return images or features per second of immersion, read-out and detector, in mini-batches of 32."""
    rows = []
    for filters in (FILTERS, 96):
        immersion = PatchDictionary(filters=filters)
        immersion.fit(x[:2000])
        features = immersion(x[:SAMPLES])
        readout, detector = NDMStrategy(immersion=Identity(), **common()).model, ShiftDetector()
        readout.learn(features[:32], labels[:32])
        jobs = {"immersion": immersion, "read-out": readout.learn, "detector": detector.update}
        row = {"filters": filters, "features": features.shape[1]}
        for name, job in jobs.items():
            start = time.perf_counter()
            for number in range(0, SAMPLES, 32):
                here = slice(number, number + 32)
                if name == "immersion":
                    job(x[here])
                else:
                    job(features[here], labels[here])
            row[f"{name}, samples/s"] = SAMPLES / (time.perf_counter() - start)
        rows.append(row)
    return rows


def main():
    """Measure, print the tables, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write results/continual/learner.{json,md}")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="avalanche")
    torch.set_num_threads(1)
    data = datasets.load("mnist")
    x, labels = data.x_train[:SAMPLES], data.y_train[:SAMPLES]
    immersion = PatchDictionary(filters=FILTERS)
    immersion.fit(x[:2000])
    features = torch.cat([immersion(part) for part in x.split(512)])
    sections = {
        f"Training loops on {features.shape[1]} features, one thread": loops(features, labels),
        "Parts of the NDM on MNIST, one thread": parts(x, labels),
    }
    for title, rows in sections.items():
        print(f"{title}\n\n{benchmark.table(rows)}")
    if arguments.write:
        benchmark.OUTPUT = Path("results/continual")
        benchmark.write("learner", sections)


if __name__ == "__main__":
    main()
