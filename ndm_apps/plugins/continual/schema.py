"""Schemas of continual-learning tasks (WHAT) and of the methods' settings (HOW)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import DatasetSource, Schema, Settings, Task


class Stream(Schema):
    """How the data set is turned into a stream.

    Attributes
    ----------
    kind
        ``class_incremental`` (new classes), ``permuted`` and ``rotated`` (same classes, new inputs), ``recurring``
        (class_incremental, where old experiences come back: A B A C B ...), ``blurred`` (class_incremental with
        gradual transitions), ``stationary`` (control: no change).
    experiences
        Number of distinct experiences.
    passes
        How often each sample is seen.
    batch_size
        Samples per mini-batch; also the length of an online experience when boundaries are hidden.
    boundaries
        ``hidden``: the learner gets one mini-batch after the other and cannot tell where an experience ends.
        ``shown``: one Avalanche experience per experience.
    blend
        Samples over which two experiences of a blurred stream mix, at most the length of the shortest one.
    max_degrees
        Rotation of the last experience of a rotated stream; the first has none.
    """

    kind: Literal["class_incremental", "permuted", "rotated", "recurring", "blurred", "stationary"] = (
        "class_incremental"
    )
    experiences: Annotated[int, Field(ge=1, le=1000)] = 5
    passes: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    boundaries: Literal["hidden", "shown"] = "hidden"
    blend: Annotated[int, Field(ge=1, le=10_000_000)] = 128
    max_degrees: Annotated[float, Field(ge=0.0, le=360.0)] = 180.0


class ContinualTask(Task):
    """A stream to learn from, and how detected shifts are scored.

    ``max_delay`` is the number of samples after a true shift within which an alarm counts as its detection.
    """

    domain: Literal["continual"]
    dataset: DatasetSource
    stream: Stream = Stream()
    max_delay: Annotated[int, Field(ge=1, le=1_000_000)] = 320


class DetectorSettings(Schema):
    """Settings of :class:`~ndm_apps.plugins.continual.ShiftDetector`.

    Attributes
    ----------
    dimension
        Chart dimension d (principal components of the first samples).
    warmup
        Samples that fix the embedding, before which nothing is tested.
    threshold
        Alarm when the martingale's wealth reaches it; its inverse bounds the false-alarm rate per sample.
    calibration
        Number of past scores of a component that a new one is ranked among.
    arm_scores, arm_samples
        A component is tested against once it has this many scores, recorded once it holds this many samples.
    burn_in
        Samples after an alarm that train the new chart before testing resumes.
    """

    dimension: Annotated[int, Field(ge=1, le=1024)] = 24
    warmup: Annotated[int, Field(ge=8, le=100_000)] = 64
    threshold: Annotated[float, Field(gt=1.0, le=1e12)] = 1e4
    calibration: Annotated[int, Field(ge=20, le=10_000)] = 200
    arm_scores: Annotated[int, Field(ge=5, le=10_000)] = 40
    arm_samples: Annotated[int, Field(ge=2, le=10_000)] = 60
    burn_in: Annotated[int, Field(ge=1, le=100_000)] = 128


class NDMSettings(Settings):
    """The NDM: frozen immersion, accumulated metric with its natural-gradient read-out, atlas of watching charts.

    Attributes
    ----------
    lift
        Width of the random ReLU lift beside the inputs themselves; 0 for none.
    solver
        ``lda``: within-class metric, shared by all classes; ``ridge``: metric of the inputs.
    shrinkage
        Shrinkage of the metric towards the identity, relative to its mean eigenvalue.
    detector
        The shift detector; ``null`` switches detection and chart growth off.
    """

    lift: Annotated[int, Field(ge=0, le=100_000)] = 1000
    solver: Literal["lda", "ridge"] = "lda"
    shrinkage: Annotated[float, Field(gt=0.0, le=1e3)] = 1e-2
    detector: DetectorSettings | None = DetectorSettings()


class TrainedNDMSettings(Settings):
    """The paper's network trained by gradient: one NDM per chart, grown at alarms, old ones frozen.

    Attributes
    ----------
    depth
        Layers, each an invertible coordinate map and a Metric Net.
    structure
        Structure of the Metric Nets.
    geometric
        Weight of ``L_curv + L_vol``; 0 leaves the metric untrained.
    learning_rate, steps
        Step size of Adam, and its steps on each mini-batch.
    detector
        The shift detector, whose charts the networks belong to.
    """

    depth: Annotated[int, Field(ge=1, le=100)] = 2
    structure: Literal["conformal", "diagonal", "cholesky"] = "conformal"
    geometric: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 3e-3
    steps: Annotated[int, Field(ge=1, le=1000)] = 5
    detector: DetectorSettings = DetectorSettings()


class NaiveSettings(Settings):
    """Fine-tuning of a multilayer perceptron: plain SGD on the stream (Avalanche's ``Naive``)."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(max_length=10)] = (400, 400)
    learning_rate: Annotated[float, Field(gt=0.0, le=100.0)] = 0.1
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class ReplaySettings(NaiveSettings):
    """Experience replay: the same network and optimiser, with a reservoir of stored exemplars.

    Each mini-batch of the stream is joined by ``replayed`` exemplars drawn from a reservoir of ``exemplars``.
    """

    exemplars: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    replayed: Annotated[int, Field(ge=1, le=65536)] = 32


class StreamingLDASettings(Settings):
    """Avalanche's ``StreamingLDA`` on the inputs themselves (Hayes and Kanan 2020): no lift, no charts."""

    shrinkage: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-2
