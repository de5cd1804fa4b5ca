"""Mini-batches sliced from tensors in memory, in place of Avalanche's sample-by-sample loading.

Avalanche fetches every sample through ``dataset[i]`` and collates. Where a dataset is tensors underneath (no
transform to apply per sample), one gather per mini-batch gives the same batches.
"""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import CLStream
from avalanche.benchmarks.scenarios.online import OnlineCLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_attribute import DataAttribute
from avalanche.benchmarks.utils.flat_data import FlatData
from avalanche.evaluation.metric_definitions import GenericPluginMetric
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor
from torch.utils.data import TensorDataset


class ResidentLoader:
    """Iterate over mini-batches ``[x, y, ...]`` of tensors that share their first dimension.

    Parameters
    ----------
    tensors
        Tensors of shape ``(samples, ...)``.
    batch_size
        Samples per mini-batch.
    shuffle
        Draw a new order for each pass from torch's global generator.
    drop_last
        Leave out a last mini-batch that is not full.
    """

    def __init__(
        self, tensors: Sequence[Tensor], batch_size: int, *, shuffle: bool = False, drop_last: bool = False
    ) -> None:
        self.tensors = tuple(tensors)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last

    def __len__(self) -> int:
        full, rest = divmod(len(self.tensors[0]), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = torch.randperm(len(self.tensors[0])).to(self.tensors[0].device) if self.shuffle else None
        for number in range(len(self)):
            here = slice(number * self.batch_size, (number + 1) * self.batch_size)
            yield [tensor[here if order is None else order[here]] for tensor in self.tensors]


class ResidentBatches:
    """Mixin for Avalanche strategies: load mini-batches from memory wherever the dataset is tensors underneath.

    Put it before the strategy in the list of bases. Datasets with transforms go through Avalanche's own loader. An
    evaluator that measures nothing in training is not asked during it (Avalanche asks ten times a mini-batch).
    """

    _everyone: list[Any] | None = None

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Train as Avalanche does, and return the last metrics."""
        self._everyone = self.plugins
        if idles_in_training(self.evaluator):
            self.plugins = [plugin for plugin in self._everyone if plugin is not self.evaluator]
        try:
            return super().train(experiences, eval_streams, **kwargs)
        finally:
            self.plugins, self._everyone = self._everyone, None

    def eval(self, exp_list: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate as Avalanche does, also in the midst of training, and return the last metrics."""
        present = self.plugins
        self.plugins = self._everyone or present
        try:
            return super().eval(exp_list, **kwargs)
        finally:
            self.plugins = present

    def make_train_dataloader(self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any) -> None:
        """Set ``self.dataloader`` for training."""
        tensors = resident_tensors(self.adapted_dataset)
        if tensors is None:
            super().make_train_dataloader(shuffle=shuffle, drop_last=drop_last, **kwargs)
        else:
            self.dataloader = ResidentLoader(tensors, self.train_mb_size, shuffle=shuffle, drop_last=drop_last)

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Set ``self.dataloader`` for evaluation."""
        tensors = resident_tensors(self.adapted_dataset)
        if tensors is None:
            super().make_eval_dataloader(**kwargs)
        else:
            self.dataloader = ResidentLoader(tensors, self.eval_mb_size)


_TRAINING_HOOKS = [
    name for name in dir(GenericPluginMetric) if name.startswith(("before_", "after_")) and "eval" not in name
]


def idles_in_training(evaluator: EvaluationPlugin) -> bool:
    """Whether none of its metrics and loggers has anything to do in training, as far as is known of their classes."""

    def idles(metric: Any) -> bool:
        own = (getattr(type(metric), name, None) is not getattr(GenericPluginMetric, name) for name in _TRAINING_HOOKS)
        return isinstance(metric, GenericPluginMetric) and metric._mode == "eval" and not any(own)

    return type(evaluator) is EvaluationPlugin and not evaluator.loggers and all(map(idles, evaluator.metrics))


def resident_tensors(dataset: Any) -> tuple[Tensor, ...] | None:
    """Return the tensors that make up a dataset, in its order, or None if it must be read sample by sample.

    Understands :class:`torch.utils.data.TensorDataset` and Avalanche's subsets and concatenations of it, with
    per-sample attributes (task labels) appended as Avalanche does.
    """
    if isinstance(dataset, TensorDataset):
        return dataset.tensors
    if isinstance(dataset, AvalancheDataset):
        tensors = resident_tensors(dataset._flat_data)
        if tensors is None:
            return None
        extra = [torch.as_tensor(list(a.data)) for a in dataset._data_attributes.values() if a.use_in_getitem]
        return (*tensors, *(attribute.to(tensors[0].device) for attribute in extra))
    if isinstance(dataset, FlatData) and not _has_transforms(dataset):
        parts = [resident_tensors(part) for part in dataset._datasets]
        if not parts or any(part is None for part in parts):
            return None
        tensors = tuple(column[0] if len(column) == 1 else torch.cat(column) for column in zip(*parts, strict=True))
        if dataset._indices is None:
            return tensors
        index = torch.as_tensor(list(dataset._indices), device=tensors[0].device)
        return tuple(tensor[index] for tensor in tensors)
    return None


def _has_transforms(data: FlatData) -> bool:
    groups = (getattr(data, name, None) for name in ("_transform_groups", "_frozen_transform_groups"))
    return any(any(g is not None for g in group.transform_groups.values()) for group in groups if group is not None)


def tensor_dataset(x: Tensor, y: Tensor) -> AvalancheDataset:
    """Wrap tensors as an Avalanche dataset with ``targets``."""
    return AvalancheDataset([TensorDataset(x, y)], data_attributes=[DataAttribute(y.tolist(), "targets")])


def read_into_memory(dataset: AvalancheDataset) -> AvalancheDataset:
    """Read any dataset once, with its current transforms, and return it as tensors.

    Random augmentations are thereby drawn once.
    """
    columns = list(zip(*(dataset[index] for index in range(len(dataset))), strict=True))
    x = torch.stack([torch.as_tensor(value) for value in columns[0]])
    return tensor_dataset(x, torch.as_tensor([int(label) for label in columns[1]]))


def experiences(name: str, arrays: Sequence[tuple[Tensor, Tensor]]) -> list[DatasetExperience]:
    """Return arrays ``(x, y)`` as the experiences of one Avalanche stream."""
    return list(CLStream(name, [DatasetExperience(dataset=tensor_dataset(x, y)) for x, y in arrays]))


def online_experience(x: Tensor, y: Tensor, number: int) -> OnlineCLExperience:
    """Return one mini-batch as an online experience that knows neither its task nor any boundary."""
    online = OnlineCLExperience(dataset=tensor_dataset(x, y), origin_experience=None, access_task_boundaries=False)
    online.current_experience = number
    online.origin_stream = CLStream("train", [online], set_stream_info=False)
    return online
