"""The samples of a supervised task: a small training set, and what the result is scored on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ndm_apps import datasets
from ndm_apps.errors import InputError
from ndm_apps.plugins.supervised.schema import SupervisedTask


@dataclass(frozen=True)
class Samples:
    """Inputs ``(samples, *shape)`` and labels ``(samples,)`` to train on and to score on.

    ``low`` and ``high`` bound the training inputs: the range of the data.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    low: float
    high: float


def load_data(task: SupervisedTask) -> datasets.Arrays:
    """Load the task's data set."""
    data = datasets.load_source(task.dataset.name, task.dataset.npz)
    if not len(data.x_test):
        raise InputError(f"dataset: {data.name} has no test set to be scored on")
    return data


def draw_samples(
    data: datasets.Arrays,
    train_samples: int | None,
    *,
    seed: int,
    evaluate: Literal["test", "validation"],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Samples:
    """Draw the training samples, with the classes as even as can be.

    For ``evaluate="validation"`` a fifth of the training data is set aside first and stands in for the test set.

    Raises
    ------
    InputError
        If the data set has fewer training samples than asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data.x_train), generator=generator)
    x_test, y_test = data.x_test, data.y_test
    if evaluate == "validation":
        held_out, order = order.split([len(order) // 5, len(order) - len(order) // 5])
        x_test, y_test = data.x_train[held_out], data.y_train[held_out]
    if train_samples is not None:
        if train_samples > len(order):
            raise InputError(f"train_samples: got {train_samples}, must be at most {len(order)} for {data.name}")
        order = order[even_first(data.y_train[order])[:train_samples]]
    x = data.x_train[order]
    kind = {"device": device, "dtype": dtype}
    return Samples(
        x=x.to(**kind),
        y=data.y_train[order].to(device),
        x_test=x_test.to(**kind),
        y_test=y_test.to(device),
        classes=data.classes,
        low=data.x_train.min().item(),
        high=data.x_train.max().item(),
    )


def even_first(labels: Tensor) -> Tensor:
    """Return an order of the samples in which the classes take turns for as long as each has samples left.

    Examples
    --------
    >>> even_first(torch.tensor([0, 0, 0, 1, 1])).tolist()
    [0, 3, 1, 4, 2]
    """
    turn = torch.empty_like(labels)
    for label in labels.unique():
        own = labels == label
        turn[own] = torch.arange(int(own.sum()))
    return turn.argsort(stable=True)


class Projection(nn.Module):
    r"""Flatten, centre and scale inputs, and project them onto principal components if asked to.

    .. math:: z = V^\top (x - m) / s

    with m the mean of the samples it is made from, V their leading principal directions (the identity if ``components``
    is not given), and s the root mean variance of the coordinates kept.

    Parameters
    ----------
    x
        Samples, (samples, ...).
    components
        Number of principal components, at most the number of inputs.

    Raises
    ------
    InputError
        If there are fewer inputs than components.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, x: Tensor, components: int | None = None) -> None:
        super().__init__()
        x = x.flatten(1)
        if components is not None and components > x.shape[1]:
            raise InputError(f"components: got {components}, must be at most the number of inputs, {x.shape[1]}")
        mean = x.mean(0)
        centred = (x - mean).double()
        basis = torch.eye(x.shape[1], dtype=centred.dtype, device=x.device)
        if components is not None:
            basis = _signed(torch.linalg.eigh(centred.mT @ centred).eigenvectors.flip(1)[:, :components])
        scale = (centred @ basis).square().mean().sqrt().clamp(min=torch.finfo(x.dtype).eps)
        self.register_buffer("mean", mean)
        self.register_buffer("basis", (basis / scale).to(x.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map samples (batch, ...) to coordinates (batch, n)."""
        return (x.flatten(1) - self.mean) @ self.basis


def _signed(basis: Tensor) -> Tensor:
    """Return the columns with their largest entry positive: eigenvectors are defined up to sign only."""
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    return basis * largest.sign()
