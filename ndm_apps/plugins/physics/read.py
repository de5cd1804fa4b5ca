"""The user's measurements: a table becomes trajectories, and what was done to it is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.datasets.motion import load_motion
from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Dataset
from ndm_apps.plugins.physics import columns as find
from ndm_apps.plugins.physics.angles import in_radians
from ndm_apps.plugins.physics.columns import Column
from ndm_apps.plugins.physics.source import MOST_COLUMNS, Columns, Recording
from ndm_apps.plugins.physics.table import Table, read_table, shown
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.units import Unit, allows, parse_unit
from ndm_apps.plugins.physics.velocities import derived
from ndm_apps.wording import listed, short

Array = NDArray[np.float64]

#: Samples times columns: what a search holds in memory.
MOST_VALUES = 2_000_000
#: A trajectory of fewer samples is left out.
FEWEST_SAMPLES = 5
#: Samples in all.
FEWEST_ROWS = 10
#: Numbers larger, or spreads smaller than this would leave the range of floating point when they are squared.
LARGEST, SMALLEST = 1e100, 1e-100
#: A table without a column of trajectories is one of several only if these have so many samples on average.
_AVERAGE_LENGTH = 5


@final
@dataclass(frozen=True)
class Measured:
    """Trajectories with what is known of their columns.

    Attributes
    ----------
    data
        The trajectories; their columns are symbols.
    columns
        The columns of the state, in order.
    time
        The column of times.
    labels
        Name of each trajectory.
    notes
        What was done to the table, in sentences.
    name, source
        What the data are called, and where they came from.
    """

    data: Trajectories
    columns: tuple[Column, ...]
    time: Column
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    name: str
    source: str

    @property
    def units(self) -> dict[str, Unit]:
        """Units by symbol, of columns that have one."""
        return {one.symbol: parse_unit(one.unit) for one in self.columns if one.unit is not None}

    @property
    def noise(self) -> dict[str, float]:
        """Known standard deviations of the measurement by symbol."""
        return {one.symbol: one.error for one in self.columns if one.error is not None}

    def allows(self, function: str, symbols: Sequence[str]) -> bool:
        """Whether a function of columns can occur in a law; see :func:`~ndm_apps.plugins.physics.units.allows`."""
        return allows(function, [self.units.get(symbol) for symbol in symbols])

    def values(self) -> dict[str, Any]:
        """Return the part of ``result.json`` that tells what was read."""
        lengths = self.data.lengths
        columns = [
            {"symbol": one.symbol, "header": one.header, "unit": one.unit,
             "kind": "angle" if one.symbol in self.data.angles else "number", "error": one.error}
            for one in self.columns
        ]  # fmt: skip
        return {
            "trajectories": len(self.data),
            "samples": len(self.data.time),
            "samples_per_trajectory": [int(lengths.min()), int(lengths.max())],
            "time": {"header": self.time.header, "unit": self.time.unit},
            "columns": columns,
            "notes": list(self.notes),
        }

    def dataset(self) -> Dataset:
        """Return what was read, for the record."""
        digest = hashlib.sha256()
        for array in (self.data.time, self.data.values, self.data.starts):
            digest.update(np.ascontiguousarray(array).data)
        return Dataset(self.name, self.source, digest.hexdigest(), self.data.values.size)


def read(recording: Recording) -> Measured:
    """Read a file of measured trajectories, or a table that is known by name.

    Raises
    ------
    InputError
        The file cannot be read, or its columns are not what the recording says; in one line.
    """
    if recording.table is None:
        path = Path(str(recording.file))
        return measured(read_table(path), recording, shown(path), path.stem)
    motion = load_motion(recording.table)
    known = recording.model_copy(
        update={"angles": motion.angles if recording.angles is None else recording.angles,
                "units": motion.units | recording.units}
    )  # fmt: skip
    return measured(Table(motion.frame, {}), known, motion.source, recording.table)


def measured(table: Table, wanted: Columns, where: str, name: str) -> Measured:
    """Make trajectories of a table.

    Rows with missing values are left out. Rows are sorted by trajectory and time; without a column of trajectories,
    a new one begins where time goes back. Angles are brought to radians in (-pi, pi].

    Parameters
    ----------
    table
        The table; see :func:`~ndm_apps.plugins.physics.table.read_table`.
    wanted
        What its columns are.
    where
        What messages begin with.
    name
        What the data are called.

    Raises
    ------
    InputError
        A column is missing, holds text or an infinity, or never changes; two rows tell different values at one time;
        there are too few rows or too many.
    """
    try:
        return _measured(table, wanted, where, name)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _measured(table: Table, wanted: Columns, where: str, name: str) -> Measured:
    frame, notes = table.frame, list(table.notes)
    time, label, state = find.columns_of(table, wanted, notes)
    if not state:
        raise InputError(f"no measured column beside {short(time.header)}, must have one at least")
    if len(state) > MOST_COLUMNS:
        raise InputError(f"{len(state)} measured columns, must be at most {MOST_COLUMNS} (name those to use as state)")
    if len(frame) < 2:
        raise InputError(f"{('no row', 'one row')[len(frame)]}, must be {FEWEST_ROWS} or more")
    if len(frame) * len(state) > MOST_VALUES:
        raise InputError(
            f"{len(frame)} rows of {len(state)} measured columns, must be at most {MOST_VALUES} values (name fewer "
            "columns as state, or leave rows out)"
        )
    times = find.times(frame[time.header], time.header, notes)
    values = np.stack([find.numbers(frame[one.header], one.header) for one in state], axis=1)
    codes, labels = find.labelled(frame, label)
    present = np.isfinite(times) & np.isfinite(values).all(axis=1) & (codes >= 0)
    if not present.all():
        notes.append(f"{int((~present).sum())} of {len(frame)} rows have a missing value and are left out.")
        times, values, codes = times[present], values[present], codes[present]
    rows = np.flatnonzero(present)
    if len(times) < FEWEST_ROWS:
        raise InputError(f"{len(times)} complete rows, must be {FEWEST_ROWS} or more")
    if label is None:
        codes = _split_where_time_restarts(times, time.header)
        labels = [str(number) for number in range(int(codes[-1]) + 1)]
        if len(labels) > 1:
            notes.append(f"Time starts again {len(labels) - 1} times: taken for {len(labels)} trajectories.")
    order = np.lexsort((times, codes))
    if (np.diff(order) < 0).any():
        notes.append("Rows were sorted by trajectory and time.")
    times, values, codes, rows = times[order], values[order], codes[order], rows[order]
    kept = _distinct_times(times, values, codes, rows, time.header, label, notes)
    times, values, codes = times[kept], values[kept], codes[kept]
    times, values, codes = _long_enough(times, values, codes, notes)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    state, values, angles = in_radians(state, values, starts, wanted, notes)
    _check_ranges(state, values)
    data = Trajectories(tuple(one.symbol for one in state), angles, times, values, starts)
    named = [labels[code] for code in codes[starts]]
    if wanted.velocities:
        data, state, kept = derived(data, state, time, notes)
        named = [named[number] for number in kept]
    _tell_names(state, notes)
    return Measured(data, tuple(state), time, tuple(named), tuple(notes), name, where)


def _split_where_time_restarts(times: Array, header: str) -> NDArray[np.intp]:
    codes = np.cumsum(np.diff(times, prepend=times[0]) < 0)
    if codes[-1] + 1 > len(times) / _AVERAGE_LENGTH:
        raise InputError(
            f"column {short(header)}: time goes back {int(codes[-1])} times in {len(times)} rows, must increase (sort "
            "the rows, or name the column that tells trajectories apart as trajectory)"
        )
    return codes


def _distinct_times(
    times: Array, values: Array, codes: NDArray[np.intp], rows: NDArray[np.intp], header: str, label: str | None,
    notes: list[str],
) -> NDArray[np.bool_]:  # fmt: skip
    again = np.concatenate([[False], (np.diff(times) == 0) & (np.diff(codes) == 0)])
    differs = again & np.concatenate([[False], (np.diff(values, axis=0) != 0).any(axis=1)])
    if differs.any():
        second = int(np.argmax(differs))
        hint = "" if label else "; is a column that tells trajectories apart missing?"
        raise InputError(
            f"column {short(header)}: rows {rows[second - 1] + 1} and {rows[second] + 1} have the same time "
            f"{times[second]:.6g} and different values, must be one row for each time{hint}"
        )
    if again.any():
        notes.append(f"{int(again.sum())} rows repeat another one and are left out.")
    return ~again


def _long_enough(
    times: Array, values: Array, codes: NDArray[np.intp], notes: list[str]
) -> tuple[Array, Array, NDArray[np.intp]]:
    lengths = np.bincount(codes)
    kept = lengths[codes] >= FEWEST_SAMPLES
    if not kept.all():
        few = int(((lengths > 0) & (lengths < FEWEST_SAMPLES)).sum())
        if not kept.any():
            raise InputError(f"every trajectory has fewer than {FEWEST_SAMPLES} samples, must have so many or more")
        notes.append(f"{few} trajectories of fewer than {FEWEST_SAMPLES} samples are left out.")
    if kept.sum() < FEWEST_ROWS:
        raise InputError(f"{int(kept.sum())} usable rows, must be {FEWEST_ROWS} or more")
    return times[kept], values[kept], codes[kept]


def _check_ranges(state: Sequence[Column], values: Array) -> None:
    for n, one in enumerate(state):
        column = values[:, n]
        if np.ptp(column) == 0:
            raise InputError(
                f"column {short(one.header)} is {column[0]:.6g} in every row, must change (name the others as state)"
            )
        largest = float(np.abs(column).max())
        if largest > LARGEST or np.ptp(column) < SMALLEST:
            raise InputError(
                f"column {short(one.header)}: got values up to {largest:.3g}, must be at most {LARGEST:g} and differ "
                f"by {SMALLEST:g} or more (choose another unit)"
            )


def _tell_names(state: Sequence[Column], notes: list[str]) -> None:
    renamed: Mapping[str, str] = {one.symbol: one.header for one in state if one.symbol != one.header}
    if renamed:
        pairs = listed([f"{symbol} for {short(header)}" for symbol, header in renamed.items()])
        notes.append(f"Formulas use {pairs}.")
