"""Plans of the streams whose experiences come one after the other."""

from __future__ import annotations

import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.stream.base import Transform
from ndm_apps.plugins.continual.stream.source import Plan, Source, class_groups, class_samples, class_tests
from ndm_apps.plugins.continual.stream.transforms import permutation, rotation


def class_incremental(source: Source) -> Plan:
    """Plan new classes in each experience."""
    groups = class_groups(source)
    segments = [source.shuffled(index) for index in class_samples(source, groups)]
    return Plan(segments, [(number,) for number in range(len(groups))], class_tests(source, groups))


def recurring(source: Source) -> Plan:
    """Plan A B A C B D C ...: all but the last experience come back once, with samples of their own for each visit."""
    groups = class_groups(source)
    visits = [0]
    for number in range(1, len(groups)):
        visits += [number, number - 1]
    parts = [
        list(torch.tensor_split(source.shuffled(index), visits.count(number)))
        for number, index in enumerate(class_samples(source, groups))
    ]
    segments = [parts[number].pop(0) for number in visits]
    return Plan(segments, [(number,) for number in visits], class_tests(source, groups))


def stationary(source: Source) -> Plan:
    """Plan equal parts of all the data in random order."""
    count = source.settings.experiences
    segments = list(torch.tensor_split(source.shuffled(source.train, count), count))
    return Plan(segments, [(0,)] * count, [source.reader(source.test)], shifts=[])


def sequence(source: Source) -> Plan:
    """Plan equal parts of the data in their own order; where they shift, nobody knows."""
    count = source.settings.experiences
    tests = [source.reader(source.test)] if len(source.test) else []
    return Plan(list(torch.tensor_split(source.train, count)), [(0,)] * count, tests, shifts=[])


def permuted(source: Source) -> Plan:
    """Plan experiences that are all the data, each after the first through a fixed random permutation of features."""
    features = source.data.x_train[0].numel()
    others = [permutation(features, source.generator) for _ in range(source.settings.experiences - 1)]
    return _domains(source, [torch.clone, *others])


def rotated(source: Source) -> Plan:
    """Plan experiences that are all the data, rotated by equally spaced angles."""
    shape = tuple(source.data.x_train.shape[1:])
    if len(shape) not in (2, 3):
        raise InputError(f"stream.kind: rotated needs images, samples have shape {shape}")
    angles = torch.linspace(0.0, source.settings.max_degrees, source.settings.experiences).tolist()
    return _domains(source, [rotation(angle) for angle in angles])


def _domains(source: Source, transforms: list[Transform]) -> Plan:
    numbers = list(range(len(transforms)))
    segments = [source.shuffled(source.train) for _ in numbers]
    tests = [source.reader(source.test, transform) for transform in transforms]
    return Plan(segments, [(number,) for number in numbers], tests, numbers, tuple(transforms))
