"""CIFAR-10 from one of three layouts: lossless WebP tiles, the binary version, torchvision's Python version.

References
----------
Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, 2009.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ndm_apps.datasets.arrays import Arrays, check_labels, make_arrays
from ndm_apps.errors import InputError

TILES = (*(f"train{number}.webp" for number in range(10)), "test0.webp", "test1.webp")
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
TRAIN = 50_000
_RECORD = 1 + 3 * 32 * 32


def find(folder: Path) -> Path | None:
    """Return the first of ``cifar10``, ``cifar-10-batches-bin`` and ``cifar-10-batches-py`` whose files are there."""
    needed = {
        "cifar10": ("labels.npz", *TILES),
        "cifar-10-batches-bin": BATCHES,
        "cifar-10-batches-py": ("test_batch",),
    }
    return next(
        (folder / name for name, files in needed.items() if all((folder / name / file).is_file() for file in files)),
        None,
    )


def read(place: Path) -> Arrays:
    """Read the layout at ``place``: images ``(samples, 3, 32, 32)``, uint8.

    Raises
    ------
    InputError
        If a file is damaged, or a label is outside 0..9.
    """
    readers = {"cifar10": _read_tiles, "cifar-10-batches-bin": _read_binary, "cifar-10-batches-py": _read_python}
    source, x, y = readers[place.name](place)
    return make_arrays("cifar10", source, x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:])


def _read_tiles(place: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Read WebP files of 5000 images each, 10 a row, and ``labels.npz`` with the images that were once JPEGs."""
    from PIL import Image

    try:
        with np.load(place / "labels.npz", allow_pickle=False) as stored:
            y, lossy = stored["labels"], stored["lossy_idx"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{place / 'labels.npz'}: must hold arrays labels and lossy_idx") from error
    check_labels(place / "labels.npz", y, 10)
    x = np.empty((60_000, 3, 32, 32), np.uint8)
    for number, name in enumerate(TILES):
        try:
            with Image.open(place / name) as image:
                tile = np.asarray(image.convert("RGB")).reshape(500, 32, 10, 32, 3)
        except (OSError, ValueError) as error:
            raise InputError(f"{place / name}: not a WebP image of 10 x 500 tiles of 32 x 32 pixels") from error
        x[5000 * number : 5000 * (number + 1)] = tile.transpose(0, 2, 4, 1, 3).reshape(5000, 3, 32, 32)
    train = int((lossy < TRAIN).sum())
    note = f"{len(lossy)} of 60000 images JPEG-coded: {train} train, {len(lossy) - train} test"
    return f"{place} (re-assembled in the original order; {note})", x, y


def _read_binary(place: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Read records of one label byte and 3072 bytes, red, green and blue plane, row by row."""
    x, y = np.empty((60_000, 3, 32, 32), np.uint8), np.empty(60_000, np.uint8)
    for number, name in enumerate(BATCHES):
        records = np.fromfile(place / name, np.uint8)
        if records.size != 10_000 * _RECORD:
            raise InputError(f"{place / name}: got {records.size} bytes, must be 10000 records of {_RECORD} bytes")
        records = records.reshape(10_000, _RECORD)
        here = slice(10_000 * number, 10_000 * (number + 1))
        y[here] = check_labels(place / name, records[:, 0], 10)
        x[here] = records[:, 1:].reshape(-1, 3, 32, 32)
    return str(place), x, y


def _read_python(place: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """Let torchvision read the pickles: it compares their MD5 with the published ones first."""
    from ndm_apps import torchvision_shim

    torchvision_shim.ensure_importable()
    from torchvision.datasets import CIFAR10

    try:
        parts = [CIFAR10(str(place.parent), train=train, download=False) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{place}: not the files that torchvision knows ({error})") from error
    x = np.concatenate([part.data for part in parts]).transpose(0, 3, 1, 2)
    return str(place), x, np.concatenate([part.targets for part in parts])
