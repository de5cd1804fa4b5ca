"""Any benchmark of Avalanche as a stream of samples."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from avalanche.benchmarks import CLScenario
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from ndm_apps.datasets import as_floats
from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.resident import resident_tensors
from ndm_apps.plugins.continual.schema import Stream as StreamSettings
from ndm_apps.plugins.continual.stream.base import Stream, TestSets
from ndm_apps.plugins.continual.stream.build import noisy


@dataclass(frozen=True, kw_only=True)
class BenchmarkStream(Stream):
    """The train stream of an Avalanche benchmark; one experience at a time is in memory.

    Attributes
    ----------
    read
        Function that returns inputs and labels of an experience.
    order, domain
        Index of a sample within its experience, and the experience, at each position, ``(length,)`` each.
    """

    read: Callable[[int], tuple[Tensor, Tensor]]
    order: Tensor
    domain: Tensor

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return inputs and labels of positions ``start`` to ``stop``."""
        index, domain = self.order[start:stop], self.domain[start:stop]
        parts = []
        for number in torch.unique_consecutive(domain).tolist():
            x, y = self.read(number)
            here = index[domain == number]
            parts.append((x[here], y[here]))
        x, y = (torch.cat(column) for column in zip(*parts, strict=True))
        return x, y


def benchmark_stream(
    benchmark: CLScenario,
    settings: StreamSettings,
    *,
    seed: int,
    evaluate: str = "test",
    dtype: torch.dtype = torch.float32,
) -> BenchmarkStream:
    """Put the train stream of an Avalanche benchmark into one stream of samples.

    Each experience is read into memory when the stream comes to it, once and with its transforms, in a random order of
    its samples; random augmentations are thereby drawn once. Every start of an experience counts as a shift. Task
    labels are left out.

    Parameters
    ----------
    benchmark
        Any benchmark for classification with a train and a test stream.
    settings
        The task's ``stream`` section: ``passes``, ``batch_size``, ``label_noise``.
    seed
        Draws the order of samples, noise, and the validation split.
    evaluate
        ``"test"``: the benchmark's test stream, each experience a test set; if they are as many as in training, each
        is known from the training experience of its number, otherwise from the first. ``"validation"``: a fifth of
        each training experience is held out and stands in for them.
    dtype
        Floating type of the inputs.

    Raises
    ------
    InputError
        Naming stream and experience: if one is empty, samples are no tensors or differ in shape, a value is not
        finite, or a label is negative or, in the test stream, unknown to training.
    """
    generator = torch.Generator().manual_seed(seed)
    train = [experience.dataset for experience in benchmark.train_stream]
    shuffled = []
    for number, dataset in enumerate(train):
        if len(dataset) < (5 if evaluate == "validation" else 1):
            raise InputError(f"benchmark: experience {number} of the train stream has {len(dataset)} samples, too few")
        shuffled.append(torch.randperm(len(dataset), generator=generator))
    classes = 1 + max(int(labels_of(dataset, "train stream").max()) for dataset in train)
    test, starts = [experience.dataset for experience in benchmark.test_stream], tuple(range(len(train)))
    if evaluate == "validation":
        held_out = [order[: len(order) // 5] for order in shuffled]
        shuffled = [order[len(order) // 5 :] for order in shuffled]
        test = [dataset.eval().subset(index.tolist()) for dataset, index in zip(train, held_out, strict=True)]
    elif len(test) != len(train):
        starts = (0,) * len(test)
    segments = [
        torch.cat([index[torch.randperm(len(index), generator=generator)] for _ in range(settings.passes)])
        for index in shuffled
    ]
    lengths = torch.tensor([len(segment) for segment in segments])
    stops = tuple(lengths.cumsum(0).tolist())

    @lru_cache(maxsize=1)
    def read(number: int) -> tuple[Tensor, Tensor]:
        x, y = read_samples(train[number], f"benchmark: experience {number} of the train stream", classes, dtype)
        return x, noisy(y, settings.label_noise, classes, torch.Generator().manual_seed(seed + number))

    def reader(number: int) -> Callable[[], tuple[Tensor, Tensor]]:
        where = f"benchmark: experience {number} of the test stream"
        return lambda: read_samples(test[number], where, classes, dtype)

    return BenchmarkStream(
        batch_size=settings.batch_size,
        classes=classes,
        shape=tuple(_tensor(train[0], 0, "benchmark: experience 0 of the train stream").shape),
        dtype=dtype,
        shifts=stops[:-1],
        blends=(0,) * (len(train) - 1),
        stops=stops,
        starts=starts,
        tests=TestSets([reader(number) for number in range(len(test))]),
        read=read,
        order=torch.cat(segments),
        domain=torch.arange(len(train)).repeat_interleave(lengths),
    )


def read_samples(dataset: AvalancheDataset, where: str, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Read a data set with its present transforms: inputs ``(samples, *shape)`` and labels ``(samples,)``.

    Raises
    ------
    InputError
        Naming ``where`` and the sample; see :func:`benchmark_stream`.
    """
    if not len(dataset):
        raise InputError(f"{where} is empty")
    y = labels_of(dataset, where)
    wrong = ((y < 0) | (y >= classes)).nonzero().flatten()
    if len(wrong):
        raise InputError(f"{where}: sample {wrong[0]}: label {y[wrong[0]]}, must be in 0..{classes - 1}")
    resident = resident_tensors(dataset)
    x = as_floats(resident[0], dtype) if resident is not None else _stacked(dataset, where, dtype)
    finite = x.flatten(1).isfinite().all(1)
    if not finite.all():
        raise InputError(f"{where}: sample {int((~finite).nonzero()[0])} is not finite")
    return x, y


def _stacked(dataset: Sequence[Any], where: str, dtype: torch.dtype) -> Tensor:
    stacked: Tensor | None = None
    for number in range(len(dataset)):
        sample = _tensor(dataset, number, where)
        if stacked is None:
            stacked = torch.empty(len(dataset), *sample.shape, dtype=dtype)
        if sample.shape != stacked.shape[1:]:
            told = f"got shape {tuple(sample.shape)}, the first has {tuple(stacked.shape[1:])}"
            raise InputError(f"{where}: sample {number}: {told}")
        stacked[number] = as_floats(sample, dtype)
    assert stacked is not None
    return stacked


def _tensor(dataset: Sequence[Any], number: int, where: str) -> Tensor:
    sample = dataset[number][0]
    if not isinstance(sample, Tensor):
        raise InputError(f"{where}: sample {number} is a {type(sample).__name__}: give transforms to tensors")
    return sample


def labels_of(dataset: AvalancheDataset, where: str) -> Tensor:
    """Return the labels of a data set, ``(samples,)``, or raise an InputError that names ``where``."""
    if not hasattr(dataset, "targets"):
        raise InputError(f"{where}: has no targets: only classification can be learnt")
    return torch.as_tensor([int(label) for label in dataset.targets])
