"""What the plans of streams draw from, and what they hand back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ndm_apps.datasets import Arrays, as_floats
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import Stream as StreamSettings
from ndm_apps.plugins.continual.stream.base import Transform

Reader = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Source:
    """A data set split into samples to train on and to test on, with the run's random numbers.

    Attributes
    ----------
    settings
        The task's ``stream`` section.
    data
        The data set.
    train
        Indices of the training samples in ``data.x_train``.
    x_test, y_test, test
        Arrays that hold the test samples, and the indices of the latter.
    generator
        Source of every random choice.
    dtype
        Floating type of the inputs.
    """

    settings: StreamSettings
    data: Arrays
    train: Tensor
    x_test: Tensor
    y_test: Tensor
    test: Tensor
    generator: torch.Generator
    dtype: torch.dtype

    @classmethod
    def split(
        cls, settings: StreamSettings, data: Arrays, generator: torch.Generator, evaluate: str, dtype: torch.dtype
    ) -> Source:
        """Split off a fifth of the training samples if ``evaluate`` is ``"validation"``, and thin out classes."""
        x, y, train, test = data.x_test, data.y_test, torch.arange(len(data.y_train)), torch.arange(len(data.y_test))
        if evaluate == "validation" and settings.kind == "sequence":
            train, test = train[: len(train) // 5], test[:0]
        elif evaluate == "validation":
            x, y, shuffled = data.x_train, data.y_train, torch.randperm(len(train), generator=generator)
            test, train = shuffled[: len(train) // 5], shuffled[len(train) // 5 :]
        if settings.imbalance > 1:
            train = _thinned(train, data, settings.imbalance, generator)
        return cls(settings, data, train, x, y, test, generator, dtype)

    @property
    def labels(self) -> Tensor:
        """Labels of the training samples."""
        return self.data.y_train[self.train]

    def shuffled(self, index: Tensor, experiences: int = 1) -> Tensor:
        """Return ``passes`` random orders of samples of so many experiences, one order after the other."""
        most = self.settings.samples_per_experience
        if most is not None and len(index) > most * experiences:
            index = index[torch.randperm(len(index), generator=self.generator)[: most * experiences]]
        return torch.cat(
            [index[torch.randperm(len(index), generator=self.generator)] for _ in range(self.settings.passes)]
        )

    def reader(self, index: Tensor, transform: Transform | None = None) -> Reader:
        """Return a function that returns test samples, seen through a transform."""

        def read() -> tuple[Tensor, Tensor]:
            x = as_floats(self.x_test[index], self.dtype)
            return (x if transform is None else transform(x)), self.y_test[index]

        return read


def _thinned(train: Tensor, data: Arrays, ratio: float, generator: torch.Generator) -> Tensor:
    """Keep ``ratio ** (-rank / (classes - 1))`` of each class, ranks in random order; the order of samples stays."""
    labels, keep = data.y_train[train], torch.zeros(len(train), dtype=torch.bool)
    for rank, number in enumerate(torch.randperm(data.classes, generator=generator).tolist()):
        here = (labels == number).nonzero().flatten()
        share = ratio ** (-rank / max(data.classes - 1, 1))
        kept = max(1, round(share * len(here)))
        keep[here[torch.randperm(len(here), generator=generator)[:kept]]] = True
    return train[keep]


@dataclass(frozen=True)
class Plan:
    """A stream before its scoring data are worked out.

    Attributes
    ----------
    segments
        Sample indices of each part, one part after the other.
    visits
        The experiences that each part shows.
    tests
        Readers of the test sets.
    domains
        Index of the transform through which each part is seen.
    transforms
        The transforms.
    shifts
        Start and length of the transition of each shift; None: wherever an experience is shown for the first time.
    """

    segments: list[Tensor]
    visits: list[tuple[int, ...]]
    tests: list[Reader]
    domains: list[int] = field(default_factory=list)
    transforms: tuple[Transform, ...] = (torch.clone,)
    shifts: list[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        if not self.domains:
            self.domains.extend([0] * len(self.segments))


def class_groups(source: Source) -> list[Tensor]:
    """Draw the classes of each experience, whole groups where the data set has groups."""
    count, classes = source.settings.experiences, source.data.classes
    units = [torch.tensor(group) for group in source.data.groups] or [torch.tensor([c]) for c in range(classes)]
    if count > len(units):
        have = f"{len(units)} groups of classes" if source.data.groups else f"{classes} classes"
        raise InputError(f"stream.experiences: got {count}, the data set has only {have}")
    drawn = torch.tensor_split(torch.randperm(len(units), generator=source.generator), count)
    return [torch.cat([units[unit] for unit in chosen.tolist()]) for chosen in drawn]


def class_tests(source: Source, groups: list[Tensor]) -> list[Reader]:
    """Return readers of the test samples of each group of classes."""
    labels = source.y_test[source.test]
    chosen = [source.test[torch.isin(labels, group)] for group in groups]
    for group, index in zip(groups, chosen, strict=True):
        if not len(index):
            raise InputError(f"stream: no held-out sample of classes {group.tolist()} to evaluate on")
    return [source.reader(index) for index in chosen]


def class_samples(source: Source, groups: list[Tensor]) -> list[Tensor]:
    """Return the indices of the training samples of each group of classes."""
    labels = source.labels
    return [source.train[torch.isin(labels, group)] for group in groups]
