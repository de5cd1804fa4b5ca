"""Plan of a stream whose segments the task file lists: imbalance, recurrence and blends where it wants them."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.schema import Segment
from ndm_apps.plugins.continual.stream.source import Plan, Source, class_groups, class_samples, class_tests


def scripted(source: Source) -> Plan:
    r"""Draw the class at each position, then a sample of that class that has not been shown.

    With :math:`\pi_s` the distribution over classes of segment s, position i of it has class distribution
    :math:`w \pi_s + (1 - w) \pi_{s-1}`, :math:`w = \min(1, (i + 1/2) / \text{blend}_s)`. A shift is where the first
    sample of a new experience appears.
    """
    groups = class_groups(source)
    drawn: list[Tensor] = []
    previous: Tensor | None = None
    for segment in source.settings.segments:
        current = class_distribution(segment, groups, source.data.classes)
        drawn.append(_draw(segment, current, previous, source.generator))
        previous = current
    order = _without_repeats(source, torch.cat(drawn))
    shifts: list[tuple[int, int]] = []
    seen: set[int] = set()
    position = 0
    for segment, labels in zip(source.settings.segments, drawn, strict=True):
        new = [groups[number] for number in segment.show if number not in seen]
        first = torch.isin(labels, torch.cat(new)).nonzero().flatten()[:1] if new and seen else labels[:0]
        shifts += [(position + int(index), segment.blend) for index in first]
        seen.update(segment.show)
        position += len(labels)
    sizes = [len(labels) for labels in drawn]
    visits = [segment.show for segment in source.settings.segments]
    return Plan(list(order.split(sizes)), visits, class_tests(source, groups), shifts=shifts)


def class_distribution(segment: Segment, groups: list[Tensor], classes: int) -> Tensor:
    """Return the probability of each class in a segment, ``(classes,)``."""
    weights = torch.zeros(classes, dtype=torch.float64)
    for number in segment.show:
        group = groups[number]
        if segment.share is None or len(group) == 1:
            weights[group] = 1 / len(group)
        else:
            weights[group[1:]] = (1 - segment.share) / (len(group) - 1)
            weights[group[0]] = segment.share
    return weights / weights.sum()


def _draw(segment: Segment, current: Tensor, previous: Tensor | None, generator: torch.Generator) -> Tensor:
    labels = torch.multinomial(current, segment.samples, replacement=True, generator=generator)
    if previous is not None and segment.blend:
        old = torch.multinomial(previous, segment.blend, replacement=True, generator=generator)
        share = (torch.arange(segment.blend, dtype=torch.float64) + 0.5) / segment.blend
        stays = torch.rand(segment.blend, dtype=torch.float64, generator=generator) >= share
        labels[: segment.blend][stays] = old[stays]
    return labels


def _without_repeats(source: Source, labels: Tensor) -> Tensor:
    """Return the index of a sample for each label, none twice."""
    order = torch.empty_like(labels)
    for number, pool in enumerate(class_samples(source, [torch.tensor([c]) for c in range(source.data.classes)])):
        here = (labels == number).nonzero().flatten()
        if len(here) > len(pool):
            raise InputError(f"stream.segments: need {len(here)} samples of class {number}, there are {len(pool)}")
        order[here] = pool[torch.randperm(len(pool), generator=source.generator)[: len(here)]]
    return order
