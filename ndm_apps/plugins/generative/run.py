"""One generative run: train a latent model, then judge its paths and samples."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Dataset, Result, RunContext
from ndm_apps.plugins.generative.data import Split, load_data, split_data
from ndm_apps.plugins.generative.evaluate import evaluate
from ndm_apps.plugins.generative.groups import train_groups
from ndm_apps.plugins.generative.head import train_head
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.own import own_metric
from ndm_apps.plugins.generative.schema import GenerativeTask
from ndm_apps.plugins.generative.settings import LatentSettings
from ndm_apps.plugins.generative.train import Training, calibrate, codes, fit_density

#: Steps between entries of the log.
LOG_EVERY = 50


def run(task: GenerativeTask, method: str, settings: LatentSettings, context: RunContext) -> Result:
    """Train one method's model and score it; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    Raises
    ------
    InputError
        If the data cannot be interpolated, the user's decoder or metric does not fit, or training diverges.
    """
    data = load_data(task)
    split = split_data(data, context.evaluate, context.device, getattr(torch, context.dtype))
    model = build_model(task, settings, split).to(context.device, getattr(torch, context.dtype))
    if settings.metric.own is not None:
        own_metric(settings.metric.own, model.dimension)
    state = context.checkpoint.load() or {}
    if "model" not in state:
        state = train(model, split, settings, context, state)
    model.load_state_dict(state["model"])
    model.eval().requires_grad_(False)

    def save(evaluation: dict[str, Any]) -> None:
        context.checkpoint.save({**state, "evaluation": evaluation}, state["step"])

    values, pictures = evaluate(model, split, task, settings, context, saved=state.get("evaluation"), save=save)
    return Result(
        values={**values, "train_seconds": state["seconds"], "steps": state["step"]},
        pictures=pictures,
        dataset=Dataset(data.name, data.source, data.digest, len(split.x)),
        model=model.cpu(),
        example=split.x_test[:4].cpu(),
    )


def build_model(task: GenerativeTask, settings: LatentSettings, split: Split) -> LatentModel:
    """Return the untrained model of a run."""
    classes = split.classes if task.labels else 0
    model = LatentModel(split.shape, classes, settings.model, settings.density, settings.head)
    if not model.images:
        model.standardise(split.x)
    return model


def restore(
    task: GenerativeTask, method: str, settings: LatentSettings, state: dict[str, Any], run: Any
) -> tuple[LatentModel, Split]:
    """Return the model and the samples of a run from its saved state.

    Raises
    ------
    InputError
        If the run was stopped before its model was trained.
    """
    if "model" not in state:
        raise InputError("the run has no trained model yet: finish it with --resume")
    split = split_data(load_data(task), run.evaluate, run.device, getattr(torch, run.dtype))
    model = build_model(task, settings, split).to(run.device, getattr(torch, run.dtype))
    model.load_state_dict(state["model"])
    return model.eval().requires_grad_(False), split


def train(
    model: LatentModel, split: Split, settings: LatentSettings, context: RunContext, state: dict[str, Any]
) -> dict[str, Any]:
    """Train the model, from a saved state if that is not empty; return the state of the trained model."""
    training = Training(model, split.x, settings.model, seed=context.seed)
    seconds = 0.0
    if state:
        training.load_state_dict(state["training"])
        seconds = state["seconds"]
    began = time.perf_counter() - seconds
    while training.step < training.steps:
        training.advance()
        step = training.step
        if step % LOG_EVERY == 0 or step == training.steps:
            if not math.isfinite(training.loss):
                raise InputError(
                    f"model.rate: got {settings.model.rate}, the loss is {training.loss} after {step} steps"
                )
            context.log("loss", training.loss, step)
            context.progress(step, training.steps, f"training loss {training.loss:.4g}")
        if context.checkpoint.due(step):
            context.checkpoint.save({"training": training.state_dict(), "seconds": time.perf_counter() - began}, step)
    model.eval()
    code = codes(model, split.x)
    context.progress(training.steps, training.steps, "density of codes")
    fit_density(model, code, settings.density, seed=context.seed)
    if model.classes:
        context.progress(training.steps, training.steps, "task head")
        known = slice(split.labelled)
        train_head(model, code, split.x[known], split.y[known], settings.head, seed=context.seed)
    context.progress(training.steps, training.steps, "head of groups")
    train_groups(model, code, split.x[: split.labelled], settings.head, seed=context.seed)
    calibrate(model, split.x_held, seed=context.seed)
    trained = {"model": model.state_dict(), "step": training.step, "seconds": time.perf_counter() - began}
    context.checkpoint.save(trained, training.step)
    return trained
