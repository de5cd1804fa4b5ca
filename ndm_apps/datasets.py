"""Data sets as tensors: looked for in ``NDM_DATA``, then in the user's cache, and fetched only on request.

``digits`` ships with scikit-learn. ``mnist`` and ``fashion_mnist`` are read straight from their four original IDX
files (gzip or not), so a read-only folder serves as it is. The user's own arrays come from one ``.npz`` file, read
without pickles.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ndm_apps.errors import InputError

# Folder of torchvision's classes, which is also where most people already have the files.
_IDX_FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
NAMES = ("digits", *_IDX_FOLDERS)
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Arrays:
    """A classification data set in memory.

    Attributes
    ----------
    name, source, digest
        Its name, where it was read from, and the SHA-256 of its content (first 16 hexadecimal digits).
    x_train, x_test
        Inputs of shape ``(samples, *shape)``, float32; images of known range lie in [0, 1].
    y_train, y_test
        Labels of shape ``(samples,)``, int64, from 0 to ``classes - 1``.
    classes
        Number of classes.
    """

    name: str
    source: str
    digest: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int


def cache_dir() -> Path:
    """Folder for downloads: ``$XDG_CACHE_HOME/ndm_apps``, by default ``~/.cache/ndm_apps``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ndm_apps"


def search_path() -> list[Path]:
    """Folders in which data sets are looked for, first hit wins."""
    chosen = os.environ.get("NDM_DATA")
    return ([Path(chosen)] if chosen else []) + [cache_dir()]


def locate(name: str) -> Path | None:
    """Return the folder that holds the raw files of ``name``, or None if they are not here."""
    for folder in search_path():
        raw = folder / _IDX_FOLDERS[name] / "raw"
        if all(_idx_file(raw, stem) is not None for stem in _stems()):
            return raw
    return None


def available() -> dict[str, str]:
    """Return where each known data set is, as text, by name."""
    return {name: "ships with scikit-learn" if name == "digits" else str(locate(name) or "not here") for name in NAMES}


def load(name: str) -> Arrays:
    """Load a data set by name.

    Raises
    ------
    InputError
        If the name is unknown, or the files are not here (the message says how to get them).
    """
    if name == "digits":
        return _digits()
    if name not in _IDX_FOLDERS:
        raise InputError(f"data set: got {name!r}, must be one of {', '.join(NAMES)}")
    raw = locate(name)
    if raw is None:
        looked = ", ".join(str(folder) for folder in search_path())
        raise InputError(
            f"data set {name!r} is not here (looked in {looked}); "
            f"`ndm data {name}` downloads it, or set NDM_DATA to the folder that holds {_IDX_FOLDERS[name]}/raw"
        )
    train_x, train_y, test_x, test_y = (_read_idx(raw, stem) for stem in _stems())
    return _arrays(name, str(raw), train_x / np.float32(255), train_y, test_x / np.float32(255), test_y)


def load_source(name: str | None, npz: str | None) -> Arrays:
    """Load a data set by name, or else the user's own arrays; see :func:`load` and :func:`load_npz`."""
    if npz is not None:
        return load_npz(npz)
    assert name is not None
    return load(name)


def load_npz(path: str | Path) -> Arrays:
    """Load the user's own arrays ``x_train, y_train, x_test, y_test`` from a ``.npz`` file.

    Raises
    ------
    InputError
        If the file is missing or no ``.npz``, an array is missing, has the wrong shape or type, holds a value that
        is not finite, or the test labels do not occur in the training labels.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [key for key in _ARRAYS if key not in stored]
            if missing:
                raise InputError(f"{path}: array {missing[0]!r} is missing (needed: {', '.join(_ARRAYS)})")
            x_train, y_train, x_test, y_test = (stored[key] for key in _ARRAYS)
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable .npz file of plain arrays") from error
    for x_key, x, y_key, y in (("x_train", x_train, "y_train", y_train), ("x_test", x_test, "y_test", y_test)):
        if x.dtype.kind not in "biuf" or x.ndim < 2 or len(x) == 0:
            raise InputError(
                f"{path}: {x_key}: got {x.dtype} of shape {x.shape}, must be numbers (samples, features...)"
            )
        if y.dtype.kind not in "iu" or y.shape != (len(x),):
            raise InputError(
                f"{path}: {y_key}: got {y.dtype} of shape {y.shape}, must be integers of shape ({len(x)},)"
            )
        if not np.isfinite(x).all():
            raise InputError(f"{path}: {x_key}: sample {int(np.argwhere(~np.isfinite(x))[0][0])} is not finite")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise InputError(f"{path}: x_test: got samples of shape {x_test.shape[1:]}, x_train has {x_train.shape[1:]}")
    scale = np.float32(255) if x_train.dtype == np.uint8 else np.float32(1)
    return _arrays(path.stem, str(path), x_train / scale, y_train, x_test / scale, y_test)


def fetch(name: str) -> Path:
    """Download a data set into the cache through torchvision and return the folder of its raw files.

    Raises
    ------
    InputError
        If it cannot be downloaded; the message says where to put the files by hand.
    """
    if name not in _IDX_FOLDERS:
        raise InputError(f"data set: got {name!r}, nothing to fetch; must be one of {', '.join(_IDX_FOLDERS)}")
    from ndm_apps import torchvision_shim

    torchvision_shim.ensure_importable()
    import torchvision

    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    try:
        getattr(torchvision.datasets, _IDX_FOLDERS[name])(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"data set {name!r} could not be downloaded ({error}); put its four IDX files into "
            f"{root / _IDX_FOLDERS[name] / 'raw'}, or set NDM_DATA to a folder that holds {_IDX_FOLDERS[name]}/raw"
        ) from error
    return root / _IDX_FOLDERS[name] / "raw"


def _digits() -> Arrays:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    # One fixed split for everybody: the seed of a run changes the order of classes and samples, never the test set.
    x_train, x_test, y_train, y_test = train_test_split(
        x.reshape(-1, 8, 8) / 16.0, y, test_size=0.2, stratify=y, random_state=0
    )
    return _arrays(
        "digits", "scikit-learn, load_digits; fixed stratified split 80/20", x_train, y_train, x_test, y_test
    )


def _arrays(
    name: str, source: str, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> Arrays:
    labels = np.unique(y_train)
    unknown = np.setdiff1d(y_test, labels)
    if len(unknown):
        raise InputError(f"{source}: y_test: label {unknown[0]} does not occur in y_train")
    digest = hashlib.sha256()
    parts = []
    for x, y in ((x_train, y_train), (x_test, y_test)):
        with np.errstate(over="ignore"):
            x = np.ascontiguousarray(x, dtype=np.float32)
        if not np.isfinite(x).all():
            raise InputError(f"{source}: sample {int(np.argwhere(~np.isfinite(x))[0][0])} is not finite in float32")
        y = np.searchsorted(labels, y).astype(np.int64)
        digest.update(x)
        digest.update(y)
        parts += [torch.from_numpy(x), torch.from_numpy(y)]
    return Arrays(name, source, digest.hexdigest()[:16], *parts, classes=len(labels))


def _stems() -> tuple[str, str, str, str]:
    return ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx_file(raw: Path, stem: str) -> Path | None:
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)


def _read_idx(raw: Path, stem: str) -> np.ndarray:
    """Read one IDX file of unsigned bytes: magic 0, 0, 8, rank; sizes as big-endian 32-bit; data."""
    path = _idx_file(raw, stem)
    if path is None:
        raise InputError(f"{raw / stem}: no such file")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        rank = content[3]
        shape = np.frombuffer(content, ">u4", count=rank, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise InputError(f"{path}: not a readable IDX file") from error
