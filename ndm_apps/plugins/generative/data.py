"""The images of a run, and who may see which: the model, its head, the judge, the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ndm_apps import datasets
from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.schema import GenerativeTask

#: Shares of the training file: what stands in for the test file in validation, and what the density is calibrated on.
_VALIDATION, _CALIBRATION = 6, 30
#: Fewest samples of the training file: below that, a part is empty.
_FEWEST = 60


@dataclass(frozen=True)
class Split:
    """Samples (n, *shape) and their classes (n,), on the run's device.

    Attributes
    ----------
    x, y
        What the model is trained on; its head may know the first ``labelled`` labels.
    labelled
        Half of them.
    x_judge, y_judge
        The other half, with whose labels the judge is trained: no image's label serves both.
    x_held
        On whose codes the density is calibrated.
    x_test, y_test
        What is scored: the test file, or in validation the last sixth of the training file.
    classes
        Number of classes.
    """

    x: Tensor
    y: Tensor
    labelled: int
    x_judge: Tensor
    y_judge: Tensor
    x_held: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.x.shape[1:])


def load_data(task: GenerativeTask) -> datasets.Arrays:
    """Load the task's data set, and check that it can be interpolated and scored.

    Raises
    ------
    InputError
        If it has no test set, one class, too few samples, or images with values outside [0, 1].
    """
    data = datasets.load_source(task.dataset.name, task.dataset.npz)
    if not len(data.x_test):
        raise InputError(f"dataset: {data.name} has no test set to be scored on")
    for part, y in (("y_train", data.y_train), ("y_test", data.y_test)):
        if len(y.unique()) < 2:
            raise InputError(
                f"dataset: {data.name} has one class in {part}: no pairs of different classes, must have two"
            )
    if len(data.x_train) < _FEWEST:
        raise InputError(f"dataset: {data.name} has {len(data.x_train)} training samples, must have {_FEWEST} or more")
    for part, x in (("x_train", data.x_train), ("x_test", data.x_test)):
        if x.ndim > 2 and (x.min() < 0 or x.max() > 1):
            told = f"[{x.min().item():g}, {x.max().item():g}]"
            raise InputError(
                f"dataset: {data.name}: {part}: images with values in {told}, must be in [0, 1] (or uint8)"
            )
    return data


def split_data(
    data: datasets.Arrays,
    evaluate: Literal["test", "validation"],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Split:
    """Return who sees what; the same for every seed, in the order of the files."""
    count = len(data.x_train)
    last = count - count // _VALIDATION
    trained = last - count // _CALIBRATION
    labelled = trained // 2
    x, y = _samples(data.x_train, device, dtype), data.y_train.to(device)
    test = (x[last:], y[last:])
    if evaluate == "test":
        test = (_samples(data.x_test, device, dtype), data.y_test.to(device))
    return Split(
        x[:trained],
        y[:trained],
        labelled,
        x[labelled:trained],
        y[labelled:trained],
        x[trained:last],
        *test,
        data.classes,
    )


def _samples(x: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    """Return samples with a channel if they are images without, and vectors as they are."""
    return (x[:, None] if x.ndim == 3 else x).to(device, dtype)
