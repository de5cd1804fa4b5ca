"""One continual-learning run: build the stream and the learner, go through it once, score it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ndm_apps.plugins.base import Dataset, Result, RunContext
from ndm_apps.plugins.continual import pictures
from ndm_apps.plugins.continual.held_out import held_out
from ndm_apps.plugins.continual.immersion.settings import WithImmersion
from ndm_apps.plugins.continual.schema import ContinualTask
from ndm_apps.plugins.continual.scores import accuracy_scores, shift_scores
from ndm_apps.plugins.continual.session import Session
from ndm_apps.plugins.continual.stream import Stream, open_stream

_POINTS = 2000  # of the timeline, at most


@dataclass
class Record:
    """What is measured on the way.

    Attributes
    ----------
    position
        Samples of the stream so far.
    matrix
        Accuracy on each test set, at each stop so far.
    watch
        Position, highest wealth and mean curvature statistic since the last entry.
    peak
        Highest wealth since then.
    prequential
        Of a sequence: for each piece, its end, its samples, and how many were right before they were learnt.
    """

    position: int = 0
    matrix: list[list[float]] = field(default_factory=list)
    watch: list[list[float]] = field(default_factory=list)
    peak: float = 0.0
    prequential: list[list[int]] = field(default_factory=list)


def run(task: ContinualTask, method: str, settings: WithImmersion, context: RunContext) -> Result:
    """Run one method on one stream; see :class:`~ndm_apps.plugins.base.RunContext` for the rest."""
    dtype = getattr(torch, context.dtype)
    stream, dataset = open_stream(task, seed=context.seed, evaluate=context.evaluate, dtype=dtype)
    # Some methods cannot do without boundaries: they are told, and the result says so.
    shown = task.stream.boundaries == "shown" or settings.needs_boundaries
    session = Session(settings, stream, shown=shown, context=context)
    record = Record()
    state = context.checkpoint.load()
    if state is not None:
        session.load_state_dict(state["session"])
        record = Record(**state["record"])
    pieces = list(_pieces(stream, shown))
    for step, (start, stop) in enumerate(pieces, start=1):
        if stop <= record.position:
            continue
        x, y = stream.slice(start, stop)
        if task.stream.kind == "sequence":
            right = round(session.accuracy(x, y) * len(y))
            record.prequential.append([stop, len(y), right])
            context.log("prequential_accuracy", right / len(y), stop)
        session.feed(x, y)
        record.position = stop
        _watch(session, record, context, due=step % max(1, len(pieces) // _POINTS) == 0)
        for _ in range(sum(start < end <= stop for end in stream.stops)):
            _evaluate(session, record, context)
        context.progress(stop, len(stream), f"{len(record.matrix)}/{len(stream.stops)} experiences")
        if context.checkpoint.due(step) or stop == len(stream):
            context.checkpoint.save({"session": session.state_dict(), "record": asdict(record)}, step)
    return _result(task, session, dataset, record, context.evaluate)


def _pieces(stream: Stream, shown: bool) -> Iterator[tuple[int, int]]:
    """Yield what the learner is given at a time: mini-batches, or whole experiences if boundaries are shown."""
    if shown:
        yield from zip((0, *stream.stops), stream.stops, strict=False)
    else:
        for start in range(0, len(stream), stream.batch_size):
            yield start, min(start + stream.batch_size, len(stream))


def _evaluate(session: Session, record: Record, context: RunContext) -> None:
    accuracies = session.evaluate()
    record.matrix.append(accuracies)
    if not accuracies:
        return
    for number, accuracy in enumerate(accuracies):
        context.log(f"accuracy/experience_{number}", accuracy, record.position)
    context.log("accuracy", sum(accuracies) / len(accuracies), record.position)


def _watch(session: Session, record: Record, context: RunContext, *, due: bool) -> None:
    """Follow the detector's wealth and curvature; write them down when ``due``."""
    detector = session.detector
    if detector is None:
        return
    record.peak = max(record.peak, detector.peak_wealth)
    if due:
        record.watch.append([record.position, record.peak, detector.curvature])
        context.log("wealth", record.peak, record.position)
        context.log("curvature", detector.curvature, record.position)
        context.log("charts", session.learner.charts, record.position)
        record.peak = 0.0


def _result(task: ContinualTask, session: Session, dataset: Dataset, record: Record, evaluate: str) -> Result:
    learner, detector, stream = session.learner, session.detector, session.stream
    shift = None
    # Where a sequence shifts nobody knows.
    if detector is not None and task.stream.kind != "sequence":
        shift = shift_scores(
            stream.shifts, learner.alarms, max_delay=task.max_delay, samples=len(stream), blends=stream.blends
        )
        shift["tested"] = detector.samples_tested / len(stream)
    exemplars = learner.stored_exemplars
    scores: dict[str, Any] = accuracy_scores(record.matrix, stream.starts) if stream.tests else {}
    if record.prequential:
        # Validation sees the first fifth of a sequence: what was chosen on it is not scored on it again.
        start = 0 if evaluate == "validation" else len(stream) // 5
        scored = [row for row in record.prequential if row[0] > start]
        scores["prequential_accuracy"] = sum(row[2] for row in scored) / sum(row[1] for row in scored)
    others = session.rule_accuracies() if stream.tests else None
    values = {
        **scores,
        "accuracy_matrix": record.matrix,
        "boundaries": "shown" if session.shown else "hidden",
        "charts": learner.charts,
        "parameters": learner.parameters,
        "memory_mb": sum(tensor.numel() * tensor.element_size() for tensor in _tensors(session.state_dict())) / 2**20,
        "stored_exemplars": exemplars,
        "samples_seen": len(stream),
        "shift": shift,
        "rules": others and {**others, "combined": scores["final_accuracy"]},
        "verdict": _verdict(scores, exemplars, shift),
    }
    shown_pictures = {
        "timeline": pictures.timeline(stream, record.matrix, learner.alarms, record.watch, record.prequential)
    }
    if stream.tests:
        shown_pictures["accuracy_matrix"] = pictures.accuracy_matrix(record.matrix, stream.stops)
    if detector is not None and len(detector.atlas.charts) and stream.tests:
        shown_pictures["charts"] = pictures.chart_map(held_out(session, most=2000))
    return Result(
        values=values,
        pictures=shown_pictures,
        dataset=dataset,
        model=_exportable(session),
        example=stream.tests[0][0][:4] if stream.tests else None,
    )


def _exportable(session: Session) -> nn.Module | None:
    """Return immersion and final classifier as plain layers, where they are no more than that."""
    classifier = session.learner.frozen()
    if classifier is None or session.front is None:
        return classifier and classifier.cpu()
    return nn.Sequential(session.front.immersion, classifier).cpu().eval()


def _verdict(scores: dict[str, float], exemplars: int, shift: dict[str, Any] | None) -> str:
    parts = []
    if "final_accuracy" in scores:
        parts.append(f"{scores['final_accuracy']:.1%} right on the test sets after the stream")
    if "prequential_accuracy" in scores:
        parts.append(f"{scores['prequential_accuracy']:.1%} right before they were learnt")
    text = ", ".join([*parts, f"{exemplars} stored exemplars"])
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
