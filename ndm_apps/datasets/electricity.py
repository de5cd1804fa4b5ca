"""Electricity: whether the price in New South Wales goes up, every half hour for two and a half years.

References
----------
Harries, "Splice-2 comparative evaluation: electricity pricing", technical report, University of New South Wales, 1999.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from ndm_apps.datasets.arrays import Arrays, check_labels, make_arrays
from ndm_apps.errors import InputError

FILES = ("streams/elec.csv.gz", "streams/elec.csv")


def find(folder: Path) -> Path | None:
    """Return ``folder/streams/elec.csv.gz`` or ``elec.csv``, whichever is there."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read(path: Path) -> Arrays:
    """Read the samples in the order of time, ``(samples, 6)``: they make one sequence and have no test set.

    Raises
    ------
    InputError
        If the file is no table of six numbers and a class 0 or 1.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            table = np.loadtxt(lines, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not a readable table: {str(error).splitlines()[0]}") from error
    if table.shape[1] != 7:
        raise InputError(f"{path}: got {table.shape[1]} columns, must be six numbers and the class")
    x, y = table[:, :6], check_labels(path, table[:, 6], 2)
    source = f"{path} (in the order of time; the version without date and day)"
    return make_arrays("electricity", source, x, y, x[:0], y[:0])
