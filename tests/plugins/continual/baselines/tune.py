"""The search behind ``configs/continual/compare*.yaml``: every grid on held-out training data, on seeds from 1000.

``python -m tests.plugins.continual.baselines.tune CONFIG SAMPLES SEEDS METHOD KEY=V1,V2 ...`` prints one line per point
of the grid, best first: mean over SEEDS seeds, from 1000 on, of the final accuracy on held-out samples after a stream
of the first SAMPLES training samples (a fifth of them held out), processor seconds, and the settings.
"""

import dataclasses
import statistics
import sys
import time
from functools import cache
from types import SimpleNamespace

import torch

from ndm_apps.config import expand_overrides, load_config
from ndm_apps.datasets import load_source
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.stream import build_stream
from ndm_apps.run import seed_everything

load = cache(load_source)


def score(config, samples, seed):
    """Return the final accuracy on held-out samples, and processor seconds."""
    seed_everything(seed)
    data = load(config.task.dataset.name, config.task.dataset.npz, pixels=True)
    data = dataclasses.replace(data, x_train=data.x_train[:samples], y_train=data.y_train[:samples])
    stream = build_stream(config.task.stream, data, seed=seed, evaluate="validation")
    context = SimpleNamespace(seed=seed, device="cpu", dtype=config.run.dtype)
    shown = config.settings.needs_boundaries
    session = Session(config.settings, stream, shown=shown, context=context)
    began = time.process_time()
    stops = stream.stops if shown else [*range(stream.batch_size, len(stream), stream.batch_size), len(stream)]
    for start, stop in zip((0, *stops), stops, strict=False):
        session.feed(*stream.slice(start, stop))
    accuracies = session.evaluate()
    return statistics.fmean(accuracies), time.process_time() - began


def search(reference, samples, seeds, method, grid):
    """Return ``(accuracy, seconds, setting)`` for every point of the grid, best first."""
    found = []
    for label, chosen in expand_overrides([f"methods.{method}.{part}" for part in grid]):
        config = load_config(reference, [f"method={method}", *chosen])
        scores = [score(config, samples, seed) for seed in range(1000, 1000 + seeds)]
        found.append((*map(statistics.fmean, zip(*scores, strict=True)), label.replace(f"methods.{method}.", "")))
    return sorted(found, key=lambda point: -round(point[0], 4))


if __name__ == "__main__":
    torch.set_num_threads(1)
    reference, samples, seeds, method, *grid = sys.argv[1:]
    for accuracy, seconds, setting in search(reference, int(samples), int(seeds), method, grid):
        print(f"{accuracy:.4f} {seconds:6.1f} s  {setting}", flush=True)
