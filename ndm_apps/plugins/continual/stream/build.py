"""Put a data set into stream order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ndm_apps.datasets import Arrays
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import Stream as StreamSettings
from ndm_apps.plugins.continual.stream import plans
from ndm_apps.plugins.continual.stream.base import ArrayStream, TestSets
from ndm_apps.plugins.continual.stream.scripted import scripted
from ndm_apps.plugins.continual.stream.source import Plan, Source

_PLANS: dict[str, Callable[[Source], Plan]] = {
    "class_incremental": plans.class_incremental,
    "blurred": plans.class_incremental,
    "recurring": plans.recurring,
    "stationary": plans.stationary,
    "sequence": plans.sequence,
    "permuted": plans.permuted,
    "rotated": plans.rotated,
    "scripted": scripted,
}


def build_stream(
    settings: StreamSettings,
    data: Arrays,
    *,
    seed: int,
    evaluate: str = "test",
    dtype: torch.dtype = torch.float32,
) -> ArrayStream:
    """Put a data set into stream order.

    Parameters
    ----------
    settings
        The task's ``stream`` section.
    data
        The data set. Inputs in uint8 stay so: slices and test sets of the stream are floating-point numbers.
    seed
        Draws the order of classes and samples, the permutations, and the validation split.
    evaluate
        ``"test"``, or ``"validation"``: a fifth of the training data is held out and stands in for the test set. Of
        a sequence, validation sees the first fifth only.
    dtype
        Floating type of the inputs.

    Raises
    ------
    InputError
        If the data set has fewer classes or samples than the stream needs, images are needed and it has none, or it
        has no test set and the stream is no sequence.
    """
    if settings.kind != "sequence" and not len(data.x_test):
        raise InputError(f"stream.kind: got {settings.kind}; {data.name} has no test set, so it must be sequence")
    generator = torch.Generator().manual_seed(seed)
    source = Source.split(settings, data, generator, evaluate, dtype)
    plan = _PLANS[settings.kind](source)
    lengths = torch.tensor([len(segment) for segment in plan.segments])
    if not len(lengths) or lengths.min() == 0:
        raise InputError(f"stream.experiences: got {settings.experiences}, too many for {len(source.train)} samples")
    stops = tuple(lengths.cumsum(0).tolist())
    known = range(1 + max(max(shown) for shown in plan.visits))
    first_visit = [next(part for part, shown in enumerate(plan.visits) if number in shown) for number in known]
    order = torch.cat(plan.segments)
    shifts = plan.shifts
    if shifts is None:
        shifts = [(stops[visit - 1], 0) for visit in first_visit if visit > 0]
    if settings.kind == "blurred":
        blend = min(settings.blend, int(lengths.min()))
        order, starts = blur(order, stops, blend, generator)
        shifts = [(start, blend) for start in starts]
    return ArrayStream(
        batch_size=settings.batch_size,
        classes=data.classes,
        shape=tuple(data.x_train.shape[1:]),
        dtype=dtype,
        shifts=tuple(start for start, _ in shifts),
        blends=tuple(blend for _, blend in shifts),
        stops=stops,
        # A test set may serve several experiences (stationary): it is known from the first.
        starts=tuple(first_visit[number] for number in range(len(plan.tests))),
        tests=TestSets(plan.tests),
        x=data.x_train if data.x_train.dtype == torch.uint8 else data.x_train.to(dtype),
        y=noisy(data.y_train, settings.label_noise, data.classes, generator),
        order=order,
        domain=torch.tensor(plan.domains).repeat_interleave(lengths),
        transforms=plan.transforms,
    )


def noisy(y: Tensor, share: float, classes: int, generator: torch.Generator) -> Tensor:
    """Return labels of which ``share`` are replaced, each by one of the other classes, all equally likely."""
    if not share or classes < 2:
        return y
    wrong = torch.randperm(len(y), generator=generator)[: round(share * len(y))]
    y = y.clone()
    y[wrong] = (y[wrong] + torch.randint(1, classes, wrong.shape, generator=generator)) % classes
    return y


def blur(
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
