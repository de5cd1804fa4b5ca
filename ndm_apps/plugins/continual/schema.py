"""Schema of continual-learning tasks: WHAT is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ndm_apps.plugins.base import DatasetSource, Schema, Task


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
