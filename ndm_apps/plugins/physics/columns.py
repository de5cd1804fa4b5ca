"""Which columns of a table are time, trajectory and state, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.names import split_unit, symbols
from ndm_apps.plugins.physics.source import Columns
from ndm_apps.plugins.physics.table import Table
from ndm_apps.plugins.physics.units import UnitError, parse_unit
from ndm_apps.wording import LONGEST_VALUE, one_line, short, unknown

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

#: What a table's column is taken for if it has none of the default name.
_TIMES, _TRAJECTORIES = ("time",), ("traj", "trial", "run")
_DEFAULT_TIME, _DEFAULT_TRAJECTORY = "t", "trajectory"


@final
@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    header
        What the table calls it.
    symbol
        What formulas call it.
    unit, error
        Its unit and the standard deviation of its measurement, after it was multiplied by ``factor``.
    factor
        What brought it to that unit.
    """

    header: str
    symbol: str
    unit: str | None = None
    error: float | None = None
    factor: float = 1.0


def columns_of(table: Table, wanted: Columns, notes: list[str]) -> tuple[Column, str | None, list[Column]]:
    """Return the column of time, the header of trajectories (None: there is none), and the columns of the state.

    Raises
    ------
    InputError
        There is no such column.
    """
    known = _described(table, wanted)
    time = _role(known, wanted.time, _DEFAULT_TIME, _TIMES, "time", notes)
    if time is None:
        raise InputError(f"time: {unknown('column', wanted.time, _headers(known))}")
    trajectory = _role(known, wanted.trajectory, _DEFAULT_TRAJECTORY, _TRAJECTORIES, "trajectory", notes)
    if trajectory is None and wanted.trajectory != _DEFAULT_TRAJECTORY:
        raise InputError(f"trajectory: {unknown('column', wanted.trajectory, _headers(known))}")
    others = [one for one in known if one not in (time, trajectory)]
    state = [named(name, others, "state") for name in wanted.state] or others
    for option in ("units", "error"):
        for name in getattr(wanted, option):
            named(name, known, option)
    return time, trajectory.header if trajectory else None, state


def _described(table: Table, wanted: Columns) -> list[Column]:
    headers = [str(header) for header in table.frame.columns]
    split = [split_unit(header) for header in headers]
    found = []
    for header, (name, inner), symbol in zip(headers, split, symbols([name for name, _ in split]), strict=True):
        unit = table.units.get(header, inner)
        error = None
        for alias in (header, name, symbol):
            unit = wanted.units.get(alias, unit)
            error = wanted.error.get(alias, error)
        if unit is not None:
            try:
                parse_unit(unit)
            except UnitError as problem:
                raise InputError(f"column {short(header)}: {problem}") from None
        found.append(Column(header, symbol, unit, error))
    return found


def _role(
    known: Sequence[Column], name: str, default: str, others: Sequence[str], role: str, notes: list[str]
) -> Column | None:
    found = [one for one in known if name in _aliases(one)]
    if found or name != default:
        return found[0] if found else None
    near = [one for one in known if split_unit(one.header)[0].casefold() in (default, *others)]
    if len(near) == 1:
        notes.append(f"The column {short(near[0].header)} is taken for the {role}.")
        return near[0]
    return None


def named(name: str, known: Sequence[Column], option: str) -> Column:
    """Return the column of a header, a name without its unit, or a symbol.

    Raises
    ------
    InputError
        There is none.
    """
    found = next((one for one in known if name in _aliases(one)), None)
    if found is None:
        raise InputError(f"{option}: {unknown('column', name, _headers(known))}")
    return found


def _headers(known: Sequence[Column]) -> list[str]:
    return [one_line(one.header)[:LONGEST_VALUE] for one in known]


def _aliases(one: Column) -> tuple[str, str, str]:
    return one.header, split_unit(one.header)[0], one.symbol


def numbers(column: pd.Series[Any], header: str) -> Array:
    """Return the numbers of a column, NaN where one is missing.

    Raises
    ------
    InputError
        It holds text, truth values, or an infinity; the message names the first row (counted from 1, after headers).
    """
    import pandas as pd

    if getattr(column.dtype, "kind", "O") in "bc":
        raise InputError(f"column {short(header)}: row 1: got {column.iloc[0]}, must be a real number")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        converted = pd.to_numeric(column, errors="coerce")
        wrong = np.flatnonzero(converted.isna() & column.notna())
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"column {short(header)}: row {row + 1}: got {short(str(column.iloc[row]))}, must be a number (or "
                "name the columns to use as state)"
            )
        column = converted
    found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(found))
    if len(infinite):
        raise InputError(f"column {short(header)}: row {int(infinite[0]) + 1}: got an infinity, must be a number")
    return found


def times(column: pd.Series[Any], header: str, notes: list[str]) -> Array:
    """Return times as numbers; of dates, the seconds since the first.

    Raises
    ------
    InputError
        They are neither.
    """
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(column.dtype) and len(column.dropna()):
        dates = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
        if dates.notna().eq(column.notna()).all():
            notes.append(f"Times are seconds since {dates.min().isoformat()}.")
            return (dates - dates.min()).dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers(column, header)


def labelled(frame: pd.DataFrame, header: str | None) -> tuple[NDArray[np.intp], list[str]]:
    """Return the number of each row's trajectory, -1 where it is missing, and their names, in order of appearance."""
    import pandas as pd

    if header is None:
        return np.zeros(len(frame), dtype=np.intp), ["0"]
    codes, found = pd.factorize(frame[header])
    return codes, [str(label) for label in found]
