"""One continual-learning run: build the stream and the learner, go through it once, score it."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from ndm_apps import datasets
from ndm_apps.plugins.base import Dataset, Result, RunContext, Settings
from ndm_apps.plugins.continual import pictures
from ndm_apps.plugins.continual.baselines.replay import ReservoirReplay, ResidentLDA, ResidentNaive, perceptron
from ndm_apps.plugins.continual.baselines.settings import NaiveSettings, ReplaySettings, StreamingLDASettings
from ndm_apps.plugins.continual.resident import experiences, online_experience
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.scores import accuracy_scores, shift_scores
from ndm_apps.plugins.continual.settings import NDMSettings, TrainedNDMSettings
from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.strategy import NDMStrategy
from ndm_apps.plugins.continual.stream import Stream, build_stream
from ndm_apps.plugins.continual.trained import TrainedNDMStrategy

Learner = NDMStrategy | TrainedNDMStrategy | ResidentNaive | ResidentLDA


def run(task: ContinualTask, method: str, settings: Settings, context: RunContext) -> Result:
    """Run one method on one stream; see :class:`~ndm_apps.plugins.base.RunContext` for the rest."""
    data = load_data(task)
    stream = build_stream(task.stream, data, seed=context.seed, evaluate=context.evaluate)
    stream = to_dtype(stream, context.dtype)
    learner = build_learner(settings, stream, context)
    tests = experiences("test", stream.tests)
    matrix: list[list[float]] = []
    wealth: list[tuple[int, float]] = []
    position = 0
    state = context.checkpoint.load()
    if state is not None:
        learner.load_state_dict(state["learner"])
        matrix, wealth, position = state["matrix"], [tuple(pair) for pair in state["wealth"]], state["position"]
    for step, (start, stop) in enumerate(_pieces(stream, task.stream.boundaries), start=1):
        if stop <= position:
            continue
        x, y = stream.slice(start, stop)
        hidden = task.stream.boundaries == "hidden"
        experience = online_experience(x, y, step - 1) if hidden else experiences("train", [(x, y)])[0]
        learner.train(experience, eval_streams=[], shuffle=False)
        position = stop
        detector = getattr(learner, "detector", None)
        if detector is not None:
            wealth.append((position, detector.peak_wealth))
            context.log("wealth", detector.peak_wealth, position)
            context.log("charts", learner.charts, position)
        if isinstance(learner, ResidentNaive):
            context.log("loss", learner.last_loss, position)
        for _ in range(sum(start < end <= position for end in stream.stops)):
            matrix.append(evaluate(learner, tests))
            for number, accuracy in enumerate(matrix[-1]):
                context.log(f"accuracy/experience_{number}", accuracy, position)
            context.log("accuracy", sum(matrix[-1]) / len(matrix[-1]), position)
        context.progress(position, len(stream), f"{len(matrix)}/{len(stream.stops)} experiences")
        if context.checkpoint.due(step) or position == len(stream):
            context.checkpoint.save(
                {"learner": learner.state_dict(), "matrix": matrix, "wealth": wealth, "position": position}, step
            )
    return _result(task, learner, stream, data, matrix, wealth)


def load_data(task: ContinualTask) -> datasets.Arrays:
    """Load the task's data set."""
    return datasets.load_source(task.dataset.name, task.dataset.npz)


def to_dtype(stream: Stream, dtype: str) -> Stream:
    """Return the stream with inputs of another floating type."""
    kind = getattr(torch, dtype)
    return replace(stream, x=stream.x.to(kind), tests=tuple((x.to(kind), y) for x, y in stream.tests))


def build_learner(settings: Settings, stream: Stream, context: RunContext) -> Learner:
    """Return the Avalanche strategy that the settings describe."""
    common: dict[str, Any] = {
        "train_mb_size": stream.batch_size,
        "eval_mb_size": 512,
        "device": context.device,
        "evaluator": _evaluator(),
    }
    features = stream.x[0].numel()
    match settings:
        case NDMSettings():
            detector = settings.detector and ShiftDetector(**settings.detector.model_dump(), seed=context.seed)
            return NDMStrategy(
                lift=settings.lift,
                solver=settings.solver,
                shrinkage=settings.shrinkage,
                seed=context.seed,
                detector=detector,
                **common,
            )
        case TrainedNDMSettings():
            return TrainedNDMStrategy(
                features=features,
                classes=stream.classes,
                detector=ShiftDetector(**settings.detector.model_dump(), seed=context.seed),
                depth=settings.depth,
                structure=settings.structure,
                geometric=settings.geometric,
                learning_rate=settings.learning_rate,
                steps=settings.steps,
                dtype=stream.x.dtype,
                **common,
            )
        case StreamingLDASettings():
            return ResidentLDA(
                dtype=stream.x.dtype,
                slda_model=torch.nn.Flatten(),
                criterion=torch.nn.CrossEntropyLoss(),
                input_size=features,
                num_classes=stream.classes,
                shrinkage_param=settings.shrinkage,
                **common,
            )
        case NaiveSettings():
            model = perceptron(features, settings.hidden, stream.classes).to(stream.x.dtype)
            optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
            replay = isinstance(settings, ReplaySettings)
            plugins = [ReservoirReplay(settings.exemplars, settings.replayed, seed=context.seed)] if replay else []
            return ResidentNaive(model=model, optimizer=optimizer, plugins=plugins, **common)
    raise TypeError(f"no learner for {type(settings).__name__}")


def _evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")  # the run has a log of its own
        return EvaluationPlugin(accuracy_metrics(experience=True))


def evaluate(learner: Learner, tests: list[Any]) -> list[float]:
    """Return the accuracy on each test set, as Avalanche's metric measures it."""
    measured = learner.eval(tests)
    accuracy = {}
    for name, value in measured.items():
        if found := re.fullmatch(r"Top1_Acc_Exp/eval_phase/.*Exp(\d+)", name):
            accuracy[int(found[1])] = float(value)
    return [accuracy[number] for number in range(len(tests))]


def _pieces(stream: Stream, boundaries: str) -> Iterator[tuple[int, int]]:
    """Yield what the learner is given at a time: mini-batches, or whole experiences if boundaries are shown."""
    if boundaries == "hidden":
        for start in range(0, len(stream), stream.batch_size):
            yield start, min(start + stream.batch_size, len(stream))
    else:
        yield from zip((0, *stream.stops), stream.stops, strict=False)


def _result(
    task: ContinualTask,
    learner: Learner,
    stream: Stream,
    data: datasets.Arrays,
    matrix: list[list[float]],
    wealth: list[tuple[int, float]],
) -> Result:
    exemplars = len(learner.replay) if getattr(learner, "replay", None) is not None else 0
    tensors = list(_tensors(learner.state_dict()))
    watches = getattr(learner, "detector", None) is not None
    shift = None
    if watches:
        shift = shift_scores(stream.shifts, learner.alarms, max_delay=task.max_delay, samples=len(stream))
        shift["tested"] = learner.detector.samples_tested / len(stream)
    scores = accuracy_scores(matrix, stream.starts)
    values = {
        **scores,
        "accuracy_matrix": matrix,
        "charts": learner.charts,
        "parameters": _parameters(learner),
        "memory_mb": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20,
        "stored_exemplars": exemplars,
        "samples_seen": len(stream),
        "shift": shift,
        "verdict": _verdict(scores, exemplars, shift),
    }
    shown = {"accuracy_matrix": pictures.accuracy_matrix(matrix, stream.stops)}
    shown["timeline"] = pictures.timeline(stream, matrix, learner.alarms if watches else None, wealth)
    return Result(
        values=values,
        pictures=shown,
        dataset=Dataset(data.name, data.source, data.digest, len(data.x_train)),
        model=_exportable(learner),
        example=stream.tests[0][0][:4],
    )


def _parameters(learner: Learner) -> int:
    """Return the number of learnt weights that a prediction uses (what is kept for learning on is in memory_mb)."""
    if isinstance(learner, ResidentLDA):
        return learner.muK.numel() + learner.Sigma.numel()
    if isinstance(learner, NDMStrategy):
        return sum(part.numel() for part in learner.model.readout.solution())
    return sum(parameter.numel() for parameter in learner.model.parameters())


def _exportable(learner: Learner) -> torch.nn.Module | None:
    """Return the final classifier as plain layers, where it is no more than that."""
    if isinstance(learner, NDMStrategy):
        return learner.model.frozen().cpu()
    return learner.model.cpu().eval() if isinstance(learner, ResidentNaive) else None


def _verdict(scores: dict[str, float], exemplars: int, shift: dict[str, Any] | None) -> str:
    text = f"{scores['final_accuracy']:.1%} right on the test sets after the stream, {exemplars} stored exemplars"
    if shift is None:
        return text + "."
    found = round((shift["recall"] or 0) * len(shift["true"]))
    false = len(shift["alarms"]) - found
    return f"{text}; {found} of {len(shift['true'])} shifts detected, {false} false alarms."


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _tensors(value)
