"""MNIST and Fashion-MNIST, read straight from their four original IDX files (gzip or not)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from ndm_apps.datasets.arrays import Arrays, check_labels, make_arrays
from ndm_apps.errors import InputError

STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def find(folder: Path, title: str) -> Path | None:
    """Return ``folder/title/raw`` if it holds the four files; ``title`` is the folder of torchvision's class."""
    raw = folder / title / "raw"
    return raw if all(_file(raw, stem) is not None for stem in STEMS) else None


def read(raw: Path, name: str) -> Arrays:
    """Read the four files of a folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, or a label is no digit from 0 to 9.
    """
    x_train, y_train, x_test, y_test = (read_idx(raw, stem) for stem in STEMS)
    for stem, y in zip(STEMS[1::2], (y_train, y_test), strict=True):
        check_labels(_file(raw, stem), y, 10)
    return make_arrays(name, str(raw), x_train, y_train, x_test, y_test)


def _file(raw: Path, stem: str) -> Path | None:
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)


def read_idx(raw: Path, stem: str) -> np.ndarray:
    """Read one IDX file of unsigned bytes: magic 0, 0, 8, rank; sizes as big-endian 32-bit; data."""
    path = _file(raw, stem)
    if path is None:
        raise InputError(f"{raw / stem}: no such file")
    try:
        # A bytearray, so that the array made of it can be written to, as torch expects of memory that it shares.
        content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        rank = content[3]
        shape = np.frombuffer(content, ">u4", count=rank, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise InputError(f"{path}: not a readable IDX file") from error
