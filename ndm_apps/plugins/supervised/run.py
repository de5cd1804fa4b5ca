"""One supervised run: train on few samples, then score accuracy, robustness and calibration."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.engine import NDM
from ndm_apps.engine.parallel import workers
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Dataset, Result, RunContext
from ndm_apps.plugins.supervised import pictures
from ndm_apps.plugins.supervised.calibration import calibration
from ndm_apps.plugins.supervised.data import Projection, Samples, draw_samples, load_data
from ndm_apps.plugins.supervised.model import Classifier, baked, build_network, predicting_parameters
from ndm_apps.plugins.supervised.robustness import CORRUPTIONS, add_noise, fgsm, pgd
from ndm_apps.plugins.supervised.schema import Robustness, SupervisedTask, TrainingSettings
from ndm_apps.plugins.supervised.training import Training

#: Steps between entries of the log.
LOG_EVERY = 10
#: Samples that go through a network at a time when it is scored, and that its curvature is taken at.
CHUNK, CURVATURE_SAMPLES = 2000, 256


def run(task: SupervisedTask, method: str, settings: TrainingSettings, context: RunContext) -> Result:
    """Train one method and score it; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    Raises
    ------
    InputError
        If there are too few samples or inputs for the settings, or training diverges.
    """
    data = load_data(task)
    samples, classifier = prepare(task, data, settings, context)
    z = classifier.inputs(samples.x)
    training = Training(settings, classifier.network, z, samples.y, seed=context.seed, workers=workers())
    reached: tuple[int, float] | None = None
    if (state := context.checkpoint.load()) is not None:
        training.load_state_dict(state["training"])
        reached = state["reached"] and tuple(state["reached"])
    while training.step < settings.steps:
        training.advance()
        step, last = training.step, training.step == settings.steps
        if reached is None or step % LOG_EVERY == 0 or last:
            loss = training.loss()
            if not math.isfinite(loss):
                raise InputError(f"learning_rate: got {settings.learning_rate}, the loss is {loss} after {step} steps")
            if reached is None and loss <= task.target_loss:
                reached = step, training.seconds
            if step % LOG_EVERY == 0 or last:
                context.log("loss", loss, step)
                context.progress(step, settings.steps, f"training loss {loss:.3g}")
        if context.checkpoint.due(step) or last:
            context.checkpoint.save({"training": training.state_dict(), "reached": reached}, step)
    classifier.eval()
    values = score(classifier, samples, task.robustness) | {
        "steps": training.step,
        "train_seconds": training.seconds,
        "final_loss": training.loss(),
        "steps_to_loss": reached[0] if reached else None,
        "seconds_to_loss": reached[1] if reached else None,
        "parameters": predicting_parameters(classifier.network),
    }
    for name in ("train_accuracy", "final_accuracy"):
        context.log(name, values[name], training.step)
    return Result(
        values={**values, "verdict": _verdict(values, task)},
        pictures={"reliability": pictures.reliability_diagram(predict(classifier, samples.x_test), samples.y_test)},
        dataset=Dataset(data.name, data.source, data.digest, len(samples.x)),
        model=baked(classifier).cpu().requires_grad_(False),
        example=samples.x_test[:4].cpu(),
    )


def prepare(task: SupervisedTask, data: Any, settings: TrainingSettings, context: Any) -> tuple[Samples, Classifier]:
    """Return the samples of a run, and its untrained network behind the projection fitted to the training samples."""
    where = {"device": context.device, "dtype": getattr(torch, context.dtype)}
    samples = draw_samples(data, task.train_samples, seed=context.seed, evaluate=context.evaluate, **where)
    inputs = Projection(samples.x, settings.components)
    network = build_network(settings, inputs.basis.shape[1], samples.classes)
    return samples, Classifier(inputs, network).to(**where)


def score(classifier: Classifier, samples: Samples, spoilt: Robustness) -> dict[str, Any]:
    """Return accuracies on training, test and spoilt test samples, and the calibration on the test samples."""
    logits = predict(classifier, samples.x_test)
    trained, tested = accuracy(classifier, samples.x, samples.y), _share_right(logits, samples.y_test)
    x, y = samples.x_test[: spoilt.samples], samples.y_test[: spoilt.samples]
    right = logits[: spoilt.samples].argmax(1) == y

    def attacked(adversarial: Tensor) -> float:
        # An attack may also leave an input as it is, so what is wrong already stays wrong.
        return (right & (predict(classifier, adversarial).argmax(1) == y)).double().mean().item()

    low, high = samples.low, samples.high
    eps = spoilt.eps * (high - low)
    noise = {str(sd): accuracy(classifier, add_noise(x, sd * (high - low)), y) for sd in spoilt.noise}
    images = x.ndim >= 3
    corrupted = {name: accuracy(classifier, spoil(x, low, high), y) for name, spoil in CORRUPTIONS.items() if images}
    return {
        "train_accuracy": trained,
        "final_accuracy": tested,
        "gap": trained - tested,
        "noise_accuracy": _mean(noise.values()),
        "fgsm_accuracy": attacked(fgsm(classifier, x, y, eps, low, high)),
        "pgd_accuracy": attacked(pgd(classifier, x, y, eps, low, high, spoilt.pgd_steps)),
        "corruption_accuracy": _mean(corrupted.values()) if images else None,
        "noise": [{"sd": float(sd), "accuracy": value} for sd, value in noise.items()],
        "corruptions": corrupted,
        **calibration(logits, samples.y_test),
        "squared_curvature": squared_curvature(classifier, samples.x_test[:CURVATURE_SAMPLES]),
    }


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> Tensor:
    """Return logits, a part of the samples at a time."""
    return torch.cat([model(part) for part in x.split(CHUNK)])


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of samples that a model gets right."""
    return _share_right(predict(model, x), y)


@torch.no_grad()
def squared_curvature(classifier: Classifier, x: Tensor) -> float | None:
    """Return the mean of R^2 over samples and layers; None for a network without metrics."""
    if not isinstance(classifier.network, NDM):
        return None
    _, geometries = classifier.network(classifier.inputs(x))
    return _mean([geometry.curvature.square().mean().item() for geometry in geometries])


def _share_right(logits: Tensor, y: Tensor) -> float:
    return (logits.argmax(1) == y).double().mean().item()


def _mean(values: Any) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)


def _verdict(values: dict[str, Any], task: SupervisedTask) -> str:
    return (
        f"{values['final_accuracy']:.1%} right on test samples, {values['train_accuracy']:.1%} on training samples; "
        f"{values['noise_accuracy']:.1%} under noise, {values['pgd_accuracy']:.1%} under attack "
        f"(eps {task.robustness.eps:g} of the range); expected calibration error {values['ece']:.3f}."
    )
