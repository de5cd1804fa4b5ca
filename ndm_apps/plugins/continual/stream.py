"""Streams: a data set put into an order, with the truth about where its distribution changes.

A stream is two index vectors over arrays that stay in memory: which sample is shown at each position, and through
which transform. The learner sees mini-batches of it; the shifts and stops are for scoring only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ndm_apps.datasets import Arrays
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import Stream as StreamSettings

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stream:
    """A data set in stream order.

    Attributes
    ----------
    x, y
        Training arrays, ``(samples, *shape)`` and ``(samples,)``.
    order, domain
        Sample index and transform index at each position, ``(length,)`` each.
    transforms
        One map of a batch of inputs per domain.
    batch_size
        Samples per mini-batch.
    shifts
        Positions of the first sample of each new distribution (returns of an old one do not count).
    stops
        Positions after which the learner is evaluated, increasing; the last one is the length.
    starts
        For each test set, the index of the first stop by which it has been trained on.
    tests
        Test arrays ``(x, y)`` of each distinct experience.
    classes
        Number of classes.
    """

    x: Tensor
    y: Tensor
    order: Tensor
    domain: Tensor
    transforms: tuple[Transform, ...]
    batch_size: int
    shifts: tuple[int, ...]
    stops: tuple[int, ...]
    starts: tuple[int, ...]
    tests: tuple[tuple[Tensor, Tensor], ...]
    classes: int

    def __len__(self) -> int:
        return len(self.order)

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of positions ``start`` to ``stop``."""
        index, domain = self.order[start:stop], self.domain[start:stop]
        x = self.x[index]
        for number in domain.unique().tolist():
            here = domain == number
            x[here] = self.transforms[number](x[here])
        return x, self.y[index]


def build_stream(settings: StreamSettings, data: Arrays, *, seed: int, evaluate: str = "test") -> Stream:
    """Put a data set into stream order.

    Parameters
    ----------
    settings
        The task's ``stream`` section.
    data
        The data set.
    seed
        Draws the order of classes and samples, the permutations, and the validation split.
    evaluate
        ``"test"``, or ``"validation"``: a fifth of the training data is held out and stands in for the test set.

    Raises
    ------
    InputError
        If the data set has fewer classes or samples than the stream needs, or images are needed and it has none.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y, x_test, y_test = data.x_train, data.y_train, data.x_test, data.y_test
    if evaluate == "validation":
        shuffled = torch.randperm(len(x), generator=generator)
        held_out, kept = shuffled[: len(x) // 5], shuffled[len(x) // 5 :]
        x, y, x_test, y_test = x[kept], y[kept], x[held_out], y[held_out]
    plan = _PLANS[settings.kind](_Source(settings, x, y, x_test, y_test, data.classes, generator))
    lengths = torch.tensor([len(segment) for segment in plan.segments])
    if not len(lengths) or lengths.min() == 0:
        raise InputError(f"stream.experiences: got {settings.experiences}, too many for {len(x)} samples")
    stops = tuple(lengths.cumsum(0).tolist())
    first_visit = [plan.visits.index(number) for number in range(max(plan.visits) + 1)]
    order, domain = (
        torch.cat(plan.segments),
        torch.cat([torch.full((len(s),), d) for s, d in zip(plan.segments, plan.domains, strict=True)]),
    )
    # A test set may serve several experiences (stationary): it is known from the first.
    starts = tuple(first_visit[number] for number in range(len(plan.tests)))
    shifts = tuple(stops[visit - 1] for visit in first_visit if visit > 0) if plan.shifting else ()
    if settings.kind == "blurred":
        order, shifts = _blur(order, stops, min(settings.blend, int(lengths.min())), generator)
    return Stream(
        x, y, order, domain, plan.transforms, settings.batch_size, shifts, stops, starts, plan.tests, data.classes
    )


@dataclass(frozen=True)
class _Source:
    settings: StreamSettings
    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    generator: torch.Generator

    def shuffled(self, index: Tensor) -> Tensor:
        """Return ``passes`` random orders of the given samples, one after the other."""
        return torch.cat(
            [index[torch.randperm(len(index), generator=self.generator)] for _ in range(self.settings.passes)]
        )


@dataclass(frozen=True)
class _Plan:
    """Segments of sample indices, each a visit to an experience, seen through a domain's transform."""

    segments: list[Tensor]
    visits: list[int]
    tests: tuple[tuple[Tensor, Tensor], ...]
    domains: list[int] = field(default_factory=list)
    transforms: tuple[Transform, ...] = (torch.clone,)
    shifting: bool = True

    def __post_init__(self) -> None:
        if not self.domains:
            self.domains.extend([0] * len(self.segments))


def _class_groups(source: _Source) -> list[Tensor]:
    count = source.settings.experiences
    if count > source.classes:
        raise InputError(f"stream.experiences: got {count}, the data set has only {source.classes} classes")
    return list(torch.tensor_split(torch.randperm(source.classes, generator=source.generator), count))


def _class_tests(source: _Source, groups: list[Tensor]) -> tuple[tuple[Tensor, Tensor], ...]:
    chosen = [torch.isin(source.y_test, group) for group in groups]
    for group, mask in zip(groups, chosen, strict=True):
        if not mask.any():
            raise InputError(f"stream: no held-out sample of classes {group.tolist()} to evaluate on")
    return tuple((source.x_test[mask], source.y_test[mask]) for mask in chosen)


def _class_incremental(source: _Source) -> _Plan:
    groups = _class_groups(source)
    segments = [source.shuffled(torch.isin(source.y, group).nonzero().flatten()) for group in groups]
    return _Plan(segments, list(range(len(groups))), _class_tests(source, groups))


def _recurring(source: _Source) -> _Plan:
    """Plan A B A C B D C ...: all but the last experience come back once, with samples of their own for each visit."""
    groups = _class_groups(source)
    visits = [0]
    for number in range(1, len(groups)):
        visits += [number, number - 1]
    parts = {
        number: list(
            torch.tensor_split(source.shuffled(torch.isin(source.y, group).nonzero().flatten()), visits.count(number))
        )
        for number, group in enumerate(groups)
    }
    return _Plan([parts[number].pop(0) for number in visits], visits, _class_tests(source, groups))


def _stationary(source: _Source) -> _Plan:
    everything = source.shuffled(torch.arange(len(source.y)))
    segments = list(torch.tensor_split(everything, source.settings.experiences))
    return _Plan(segments, [0] * len(segments), ((source.x_test, source.y_test),), shifting=False)


def _domains(source: _Source, transforms: list[Transform]) -> _Plan:
    numbers = list(range(len(transforms)))
    segments = [source.shuffled(torch.arange(len(source.y))) for _ in numbers]
    tests = tuple((transform(source.x_test), source.y_test) for transform in transforms)
    return _Plan(segments, numbers, tests, numbers, tuple(transforms))


def _permuted(source: _Source) -> _Plan:
    """Plan experiences that are all the data, each after the first through a fixed random permutation of features."""
    features = source.x[0].numel()

    def permutation() -> Transform:
        order = torch.randperm(features, generator=source.generator)
        return lambda x: x.flatten(1)[:, order].reshape(x.shape)

    return _domains(source, [torch.clone, *(permutation() for _ in range(source.settings.experiences - 1))])


def _rotated(source: _Source) -> _Plan:
    if source.x.ndim < 3:
        raise InputError(f"stream.kind: rotated needs images, samples have shape {tuple(source.x.shape[1:])}")
    angles = torch.linspace(0.0, source.settings.max_degrees, source.settings.experiences).tolist()
    return _domains(source, [_rotation(angle) for angle in angles])


def _rotation(degrees: float) -> Transform:
    """Rotate images ``(batch, [channels,] height, width)`` about their centre, bilinearly."""
    angle = torch.deg2rad(torch.tensor(degrees))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(())
    matrix = torch.stack([torch.stack([cos, -sin, zero]), torch.stack([sin, cos, zero])])

    def rotate(x: Tensor) -> Tensor:
        images = x[:, None] if x.ndim == 3 else x
        grid = affine_grid(matrix.to(x).expand(len(x), 2, 3), list(images.shape), align_corners=False)
        return grid_sample(images, grid, align_corners=False).reshape(x.shape)

    return rotate


def _blur(
    order: Tensor, stops: tuple[int, ...], blend: int, generator: torch.Generator
) -> tuple[Tensor, tuple[int, ...]]:
    """Mix neighbouring segments so that the share of the newer one rises linearly over ``blend`` samples.

    A sample at position p moves to rank p + u, u uniform on [-blend/2, blend/2]. A shift is where the first sample of
    the newer segment appears.
    """
    segment = torch.bucketize(torch.arange(len(order)), torch.tensor(stops), right=True)
    jitter = (torch.rand(len(order), generator=generator, dtype=torch.float64) - 0.5) * blend
    moved = (torch.arange(len(order)) + jitter).argsort()
    segment = segment[moved]
    shifts = tuple(int((segment == number).nonzero()[0]) for number in range(1, len(stops)))
    return order[moved], shifts


_PLANS: dict[str, Callable[[_Source], _Plan]] = {
    "class_incremental": _class_incremental,
    "blurred": _class_incremental,
    "recurring": _recurring,
    "stationary": _stationary,
    "permuted": _permuted,
    "rotated": _rotated,
}
