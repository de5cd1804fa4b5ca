"""The user's own arrays from one ``.npz`` file, read without pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ndm_apps.datasets.arrays import Arrays, make_arrays
from ndm_apps.errors import InputError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: str | Path, *, pixels: bool = False) -> Arrays:
    """Load the user's own arrays ``x_train, y_train, x_test, y_test`` from a ``.npz`` file.

    Inputs of type uint8 are taken as images and scaled to [0, 1]; labels are any integers.

    Parameters
    ----------
    path
        The file.
    pixels
        Leave inputs of type uint8 as they are.

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
            missing = [key for key in KEYS if key not in stored]
            if missing:
                found = ", ".join(stored.files) or "nothing"
                raise InputError(
                    f"{path}: array {missing[0]!r} is missing (needed: {', '.join(KEYS)}; the file holds {found})"
                )
            x_train, y_train, x_test, y_test = (stored[key] for key in KEYS)
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
    if (x_train.dtype == np.uint8) != (x_test.dtype == np.uint8):  # bytes are scaled, other numbers are not
        raise InputError(f"{path}: x_test: got {x_test.dtype}, x_train has {x_train.dtype}")
    data = make_arrays(path.stem, str(path), x_train, y_train, x_test, y_test)
    return data if pixels else data.floats()
