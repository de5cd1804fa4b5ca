"""Schema of continual-learning tasks: WHAT is learnt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import DatasetSource, Schema, Task

Count = Annotated[int, Field(ge=1, le=10_000_000)]


class Segment(Schema):
    """A part of a scripted stream, drawn from one distribution with samples that have not been shown yet.

    Attributes
    ----------
    show
        Experiences shown, numbered from 0, in equal shares; within each, its classes in equal shares.
    samples
        Length of the segment.
    share
        Share of the first class of each experience shown, the others divide the rest: an imbalance, no shift.
    blend
        Samples over which the segment replaces the one before it, its share rising linearly from 0 to 1; 0: at once.
    """

    show: Annotated[tuple[Annotated[int, Field(ge=0, le=999)], ...], Field(min_length=1, max_length=1000)]
    samples: Count
    share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    blend: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Segment:
        if len(set(self.show)) < len(self.show):
            raise FieldError(("show",), f"got {list(self.show)}, each experience once")
        if self.blend > self.samples:
            raise FieldError(("blend",), f"got {self.blend}, must be at most the segment's {self.samples} samples")
        return self


class Stream(Schema):
    """How the data set is turned into a stream.

    Attributes
    ----------
    kind
        ``class_incremental`` (new classes; whole groups of them where the data set has groups, as Omniglot its
        alphabets), ``permuted`` and ``rotated`` (same classes, new inputs), ``recurring`` (class_incremental, where
        old experiences come back: A B A C B ...), ``blurred`` (class_incremental with gradual transitions),
        ``scripted`` (class_incremental experiences in the order of ``segments``), ``sequence`` (the data in their own
        order), ``stationary`` (control: no change).
    experiences
        Number of distinct experiences; of a sequence or a stationary stream, number of equal parts after each of
        which the learner is evaluated.
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
    segments
        Of a scripted stream: what is shown, one part after the other.
    samples_per_experience
        At most so many distinct training samples of each experience; null for all.
    imbalance
        Training samples of the most frequent class for one of the rarest; geometric in between, in random order of the
        classes. 1 leaves the classes as they are.
    label_noise
        Share of the training samples whose label is replaced by another class of the data set; test labels stay.
    """

    kind: Literal[
        "class_incremental", "permuted", "rotated", "recurring", "blurred", "scripted", "sequence", "stationary"
    ] = "class_incremental"
    experiences: Annotated[int, Field(ge=1, le=1000)] = 5
    passes: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    boundaries: Literal["hidden", "shown"] = "hidden"
    blend: Count = 128
    max_degrees: Annotated[float, Field(ge=0.0, le=360.0)] = 180.0
    segments: Annotated[tuple[Segment, ...], Field(max_length=10_000)] = ()
    samples_per_experience: Count | None = None
    imbalance: Annotated[float, Field(ge=1.0, le=1e6)] = 1.0
    label_noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    @model_validator(mode="after")
    def _fit_the_kind(self) -> Stream:
        if self.kind in ("scripted", "sequence"):
            if self.passes > 1:
                raise FieldError(("passes",), f"got {self.passes}, must be 1 for kind {self.kind}")
            if self.samples_per_experience is not None:
                raise FieldError(("samples_per_experience",), f"has no meaning for kind {self.kind}")
        if (self.kind == "scripted") != bool(self.segments):
            must = "at least one is needed" if self.kind == "scripted" else "only kind scripted has any"
            raise FieldError(("segments",), f"got {len(self.segments)} segments: {must}")
        for number, segment in enumerate(self.segments):
            if max(segment.show) >= self.experiences:
                told = f"got experience {max(segment.show)}, there are {self.experiences}, numbered from 0"
                raise FieldError(("segments", number, "show"), told)
        if self.segments and self.segments[0].blend:
            raise FieldError(("segments", 0, "blend"), f"got {self.segments[0].blend}, nothing comes before it")
        unseen = set(range(self.experiences)).difference(*(segment.show for segment in self.segments))
        if self.segments and unseen:
            raise FieldError(("segments",), f"experience {min(unseen)} is never shown")
        return self


class Benchmark(Schema):
    """A classic benchmark of Avalanche, in place of a data set and the kind of stream made of it.

    Avalanche looks for its data in ``NDM_DATA`` and the user's cache, and downloads into the cache what it lacks.

    Attributes
    ----------
    avalanche
        Name of a function or class of ``avalanche.benchmarks.classic``, such as ``SplitCIFAR100``.
    kwargs
        Its arguments. ``seed`` is the run's and ``dataset_root`` the cache unless they are given.
    """

    avalanche: Annotated[str, Field(pattern=r"^[A-Za-z]\w*$", max_length=100)]
    kwargs: dict[str, Any] = Field(default_factory=dict)


class ContinualTask(Task):
    """A stream to learn from, and how detected shifts are scored.

    Either ``dataset`` and ``stream`` make the stream, or ``benchmark`` brings its own; of ``stream``, only ``passes``,
    ``batch_size``, ``boundaries`` and ``label_noise`` hold then. ``max_delay`` is the number of samples after a true
    shift within which an alarm counts as its detection.
    """

    domain: Literal["continual"]
    dataset: DatasetSource | None = None
    benchmark: Benchmark | None = None
    stream: Stream = Stream()
    max_delay: Annotated[int, Field(ge=1, le=1_000_000)] = 320

    @model_validator(mode="after")
    def _one_source(self) -> ContinualTask:
        if (self.dataset is None) == (self.benchmark is None):
            raise ValueError("give exactly one of: dataset, benchmark")
        if self.benchmark is not None:
            for name in sorted(set(Stream.model_fields) - {"passes", "batch_size", "boundaries", "label_noise"}):
                if getattr(self.stream, name) != Stream.model_fields[name].default:
                    raise FieldError(("stream", name), "the benchmark brings its own stream: leave it out")
        return self
