"""A classification data set in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ndm_apps.errors import InputError


@dataclass(frozen=True)
class Arrays:
    """A classification data set in memory.

    Attributes
    ----------
    name, source, digest
        Its name, where it was read from with what is to be said about it, and the SHA-256 of its content (first 16
        hexadecimal digits).
    x_train, x_test
        Inputs of shape ``(samples, *shape)``: float32, where images of known range lie in [0, 1]; or uint8, which
        stand for ``x / 255`` (see :func:`as_floats`).
    y_train, y_test
        Labels of shape ``(samples,)``, int64, from 0 to ``classes - 1``. A sequence in time has no test samples.
    classes
        Number of classes.
    groups
        Classes that belong together (the characters of an alphabet), each class in one group; empty if the data set
        has no such structure.
    """

    name: str
    source: str
    digest: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int
    groups: tuple[tuple[int, ...], ...] = ()

    def floats(self) -> Arrays:
        """Return the data set with inputs in float32, four times the memory of uint8."""
        return replace(self, x_train=as_floats(self.x_train), x_test=as_floats(self.x_test))


def as_floats(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return inputs as floating-point numbers, bytes scaled from 0..255 to [0, 1].

    Examples
    --------
    >>> as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return x.to(dtype).div_(255) if x.dtype == torch.uint8 else x.to(dtype)


def make_arrays(
    name: str,
    source: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    groups: tuple[tuple[int, ...], ...] = (),
) -> Arrays:
    """Check arrays and make a data set of them; labels become consecutive, bytes stay bytes.

    Raises
    ------
    InputError
        Naming ``source``, if images and labels are not equally many, train and test samples differ in shape, a value
        is not finite, or a test label does not occur in training.
    """
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(f"{source}: x_test: got samples of shape {x_test.shape[1:]}, x_train has {x_train.shape[1:]}")
    labels = np.unique(y_train)
    unknown = np.setdiff1d(y_test, labels)
    if len(unknown):
        raise InputError(f"{source}: y_test: label {unknown[0]} does not occur in y_train")
    (x, y), (z, w) = _part(source, "train", x_train, y_train, labels), _part(source, "test", x_test, y_test, labels)
    digest = hashlib.sha256()
    for array in (x, y, z, w):
        digest.update(array.data)
    tensors = (torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(z), torch.from_numpy(w))
    return Arrays(name, source, digest.hexdigest()[:16], *tensors, len(labels), groups)


def _part(source: str, part: str, x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs as float32 or uint8 and labels as their places in ``labels``, both contiguous."""
    if len(x) != len(y):
        raise InputError(f"{source}: got {len(x)} samples x_{part}, but {len(y)} labels y_{part}")
    if x.dtype != np.uint8:
        with np.errstate(over="ignore"):
            x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            wrong = int(np.argwhere(~np.isfinite(x))[0][0])
            raise InputError(f"{source}: x_{part}: sample {wrong} is not finite in float32")
    return np.ascontiguousarray(x), np.searchsorted(labels, y).astype(np.int64)


def check_labels(path: object, y: np.ndarray, classes: int) -> np.ndarray:
    """Return labels read from ``path`` if all lie in 0..classes-1, else raise an InputError that names the first."""
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if len(wrong):
        raise InputError(f"{path}: label {y[wrong[0]]} of sample {wrong[0]}: must be in 0..{classes - 1}")
    return y
