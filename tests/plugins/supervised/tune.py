"""The search behind ``configs/claims``: every grid on held-out training data, on seeds from 1000.

``python -m tests.plugins.supervised.tune CONFIG METHOD KEY=V1,V2 ...`` prints one line per point of the grid, best
first: means over the seeds 1000 ... 1002 of accuracy and negative log-likelihood on held-out samples, of steps and
seconds to the task's target loss (the budget where it is not met), and the settings.
"""

import statistics
import sys
from functools import cache
from types import SimpleNamespace

import torch

from ndm_apps.config import expand_overrides, load_config
from ndm_apps.plugins.supervised.calibration import calibration
from ndm_apps.plugins.supervised.data import load_data
from ndm_apps.plugins.supervised.run import predict, prepare
from ndm_apps.plugins.supervised.training import Training
from ndm_apps.run import seed_everything

SEEDS = (1000, 1001, 1002)
data_of = cache(load_data)


def scores(config, seed):
    """Return accuracy and negative log-likelihood on held-out samples, steps and seconds to the target loss."""
    seed_everything(seed)
    context = SimpleNamespace(seed=seed, device="cpu", dtype=config.run.dtype, evaluate="validation")
    samples, classifier = prepare(config.task, data_of(config.task), config.settings, context)
    training = Training(config.settings, classifier.network, classifier.inputs(samples.x), samples.y, seed=seed)
    reached = None
    while training.step < config.settings.steps:
        training.advance()
        if reached is None and training.loss() <= config.task.target_loss:
            reached = training.step, training.seconds
    classifier.eval()
    logits = predict(classifier, samples.x_test)
    right = (logits.argmax(1) == samples.y_test).double().mean().item()
    return right, calibration(logits, samples.y_test)["nll"], *(reached or (training.step, training.seconds))


def search(reference, method, grid):
    """Return ``(accuracy, nll, steps, seconds, setting)`` for every point of the grid, best first."""
    found = []
    for label, chosen in expand_overrides([f"methods.{method}.{part}" for part in grid]):
        config = load_config(reference, [f"method={method}", *chosen])
        means = map(statistics.fmean, zip(*(scores(config, seed) for seed in SEEDS), strict=True))
        found.append((*means, label.replace(f"methods.{method}.", "")))
    return sorted(found, key=lambda point: (-round(point[0], 4), point[1]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    reference, method, *grid = sys.argv[1:]
    for accuracy, nll, steps, seconds, setting in search(reference, method, grid):
        print(f"{accuracy:.4f} {nll:.3f} {steps:5.0f} {seconds:6.2f}  {setting}", flush=True)
