"""Tables from files: CSV and Parquet, with their size checked before they are read; nothing in them is evaluated."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.units import UnitError, parse_unit
from ndm_apps.wording import either, one_line, short

if TYPE_CHECKING:
    import pandas as pd

CSV, PARQUET = (".csv", ".tsv"), (".parquet", ".pq")
#: Largest text file, in bytes.
MOST_BYTES = 512 * 2**20
#: Most numbers in the columns of a Parquet file that are needed.
MOST_VALUES = 50_000_000
#: Most columns, whether they are needed or not.
MOST_COLUMNS = 10_000
#: The header and the first rows must lie within so many bytes.
_HEAD = 2**20
_LOOKED_AT = 20
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")
_MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "null", "none", "-", "?", "."})


@final
@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes
    ----------
    frame
        One row for each row of the file.
    units
        Units that the file gives, by header.
    notes
        What was made of the file, in sentences.
    """

    frame: pd.DataFrame
    units: dict[str, str]
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read a CSV or Parquet file.

    CSV is text in UTF-8: lines that begin with ``#`` are comments; the header is the
    first line, or the last comment if that line holds numbers only; a row of units may follow. Commas, semicolons or
    tabs separate; with the latter two a decimal comma is understood.

    Raises
    ------
    InputError
        The file is missing, too large, damaged, or no table; the message tells where.
    """
    if path.is_dir():
        raise InputError(f"{shown(path)} is a folder, must be a file ({either((*CSV, *PARQUET))})")
    if not path.is_file():
        raise InputError(f"{shown(path)}: no such file")
    ending = path.suffix.lower()
    if ending not in (*CSV, *PARQUET):
        raise InputError(f"{shown(path)}: got a file {short(ending)}, must be {either((*CSV, *PARQUET))}")
    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{shown(path)}: the file is empty")
        return _read_parquet(path) if ending in PARQUET else _read_csv(path, size)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read ({_reason(error)})") from error


def shown(path: Path) -> str:
    """Return a path for a message."""
    return one_line(str(path))


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(text.splitlines()[0]).rstrip(".")[:200].lower()


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            about, schema = file.metadata, file.schema_arrow
            needed = [n for n in schema.names if not n.startswith("__index_level_")]
            if about.num_columns > MOST_COLUMNS or about.num_rows * len(needed) > MOST_VALUES:
                raise InputError(
                    f"{shown(path)}: it claims {about.num_rows} rows of {len(needed)} columns, must be at most "
                    f"{MOST_VALUES} values in {MOST_COLUMNS} columns (leave columns or rows out)"
                )
            bytes_claimed = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if bytes_claimed > 8 * MOST_VALUES:
                raise InputError(
                    f"{shown(path)}: it claims {bytes_claimed} bytes of data, must be at most {8 * MOST_VALUES}"
                )
            _check_headers(path, needed)
            wrong = next((f for f in schema if f.name in needed and pa.types.is_nested(f.type)), None)
            if wrong is not None:
                raise InputError(f"{shown(path)}: column {short(wrong.name)} holds {wrong.type}, must be numbers")
            # Repeated texts stay one in memory.
            texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            frame = file.read(columns=needed).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, ValueError, MemoryError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise InputError(f"{shown(path)}: not a readable Parquet file ({_reason(error)})") from error
    units = {f.name: _unit_of(f.metadata) for f in schema if f.name in needed}
    return Table(frame, {name: unit for name, unit in units.items() if unit})


def _unit_of(metadata: Any) -> str:
    found = metadata or {}
    return (found.get(b"unit") or found.get(b"units") or b"").decode(errors="replace")


def _check_headers(path: Path, headers: Sequence[str]) -> None:
    seen: set[str] = set()
    for header in headers:
        if header in seen:
            raise InputError(f"{shown(path)}: two columns are called {short(header)}")
        seen.add(header)


@final
@dataclass(frozen=True)
class _Layout:
    """How a CSV file is written: separator and decimal sign, its headers, and the number of lines before the rows."""

    separator: str
    decimal: str
    headers: list[str]
    skipped: int
    units: dict[str, str]


def _read_csv(path: Path, size: int) -> Table:
    import pandas as pd

    if size > MOST_BYTES:
        raise InputError(f"{shown(path)}: {size} bytes, must be at most {MOST_BYTES} (leave columns out)")
    layout = _layout(path)
    named = [header for header in layout.headers if header]
    if len(layout.headers) > MOST_COLUMNS:
        raise InputError(f"{shown(path)}: {len(layout.headers)} columns, must be at most {MOST_COLUMNS}")
    _check_headers(path, named)
    # Columns without a name (an index, or a separator at the ends of lines) get one that no header can have.
    names = [header or f"\0{number}" for number, header in enumerate(layout.headers)]
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for _ in range(layout.skipped):
                stream.readline()
            frame = pd.read_csv(
                stream, sep=layout.separator, decimal=layout.decimal, names=names, header=None, comment="#",
                skipinitialspace=True, na_values=sorted(_MISSING), low_memory=False,
            )[named]  # fmt: skip
    except pd.errors.ParserError as error:
        if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            wanted, line, got = map(int, match.groups())
            raise InputError(f"{shown(path)}:{line + layout.skipped}: got {got} fields, must be {wanted}") from None
        raise InputError(f"{shown(path)}: not a readable table ({_reason(error)})") from error
    except UnicodeError as error:
        raise InputError(f"{shown(path)}: not text in UTF-8 ({_reason(error)})") from error
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame({name: [] for name in named})
    if layout.decimal == ",":  # one text in a column leaves all its numbers as text
        for name in named:
            if not pd.api.types.is_numeric_dtype(frame[name].dtype):
                frame[name] = frame[name].map(_with_point, na_action="ignore")
    notes = []
    if len(named) < len(names):
        notes.append(f"{len(names) - len(named)} column(s) without a name are left out.")
    return Table(frame, layout.units, tuple(notes))


def _with_point(cell: Any) -> Any:
    return cell.replace(",", ".") if isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell) else cell


def _layout(path: Path) -> _Layout:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    if len(head) == _HEAD:
        cut = head.rfind(b"\n")
        if cut < 0:
            raise InputError(f"{shown(path)}:1: a line of more than {_HEAD} bytes, must be a table")
        head = head[: cut + 1]
    try:
        text = head.decode("utf-8-sig")
    except UnicodeError as error:
        line = head[: getattr(error, "start", 0)].count(b"\n") + 1
        raise InputError(f"{shown(path)}:{line}: not text in UTF-8 (save the table as UTF-8)") from None
    if "\0" in text:
        raise InputError(f"{shown(path)}:{text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL byte, must be text")
    lines = text.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), None)
    if first is None:
        raise InputError(f"{shown(path)}: the file holds no rows")
    comment = next((line for line in reversed(lines[:first]) if line.strip()), "")
    separator, decimal, rows, ends = _separated(path, lines, first)
    headers, skipped, used = [cell.strip() for cell in rows[0]], first + ends[0], 1
    if all(_is_number(cell, decimal) or cell.lower() in _MISSING for cell in headers):
        headers = [cell.strip() for cell in comment.lstrip().lstrip("#").strip("\r\n").split(separator)]
        skipped, used = first, 0
        if len(headers) != len(rows[0]) or any(_is_number(cell, decimal) for cell in headers):
            raise InputError(f"{shown(path)}:{first + 1}: got {short(lines[first].strip())}, must be names of columns")
    units: dict[str, str] = {}
    if used and len(rows) > 1 and _is_units(path, first + ends[1], rows[1:3], decimal):
        units = {h: cell.strip() for h, cell in zip(headers, rows[1], strict=True) if h and cell.strip()}
        skipped = first + ends[1]
    return _Layout(separator, decimal, headers, skipped, units)


def _separated(path: Path, lines: list[str], first: int) -> tuple[str, str, list[list[str]], list[int]]:
    """Return separator, decimal sign, and the cells of the first rows with the number of lines to the end of each."""
    found = {}
    for separator in _SEPARATORS:
        reader = csv.reader((line for line in lines[first:]), delimiter=separator, skipinitialspace=True)
        rows, ends = [], []
        try:
            for row in reader:
                if row and any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#"):
                    rows.append(row)
                    ends.append(reader.line_num)
                if len(rows) >= _LOOKED_AT:
                    break
        except csv.Error as error:
            raise InputError(f"{shown(path)}:{first + reader.line_num}: {_reason(error)}") from None
        found[separator] = rows, ends
    wide = {separator: len(rows[0]) for separator, (rows, _) in found.items()}
    whole = [s for s, (rows, _) in found.items() if wide[s] > 1 and {len(row) for row in rows} == {wide[s]}]
    best = max(whole or wide, key=lambda s: wide[s])
    rows, ends = found[best]
    if wide[best] == 1:
        sample = lines[first].strip()
        hint = "; blanks do not separate" if len(sample.split()) > 1 else ""
        raise InputError(
            f"{shown(path)}:{first + 1}: got one column, {short(sample)}, must be two or more (time and a measured "
            f"one), separated by {either(list(_SEPARATORS.values()))}{hint}"
        )
    if not whole:
        wrong = next(n for n, row in enumerate(rows) if len(row) != wide[best])
        hint = "; with decimal commas, separate by semicolons" if best == "," and len(rows[wrong]) > wide[best] else ""
        raise InputError(
            f"{shown(path)}:{first + ends[wrong]}: got {len(rows[wrong])} fields, must be {wide[best]}{hint}"
        )
    cells = [cell for row in rows[1:] for cell in row]
    comma = best != "," and any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    if comma and any(re.fullmatch(r"\s*[+-]?\d+\.\d+\s*", cell) for cell in cells):
        raise InputError(f"{shown(path)}: decimal commas and decimal points, must be one of them")
    return best, "," if comma else ".", rows, ends


def _is_number(cell: str, decimal: str) -> bool:
    return bool(_NUMBER.fullmatch(cell.replace(decimal, ".")))


def _is_units(path: Path, line: int, rows: list[list[str]], decimal: str) -> bool:
    """Whether the first of some rows holds units: text where the next one has a number, and no number but 1."""
    cells, below = [cell.strip() for cell in rows[0]], rows[1] if len(rows) > 1 else None
    texts = [cell.lower() not in _MISSING and not _is_number(cell, decimal) for cell in cells]
    over_number = [t and (below is None or _is_number(below[n], decimal)) for n, t in enumerate(texts)]
    if not any(over_number) or any(_is_number(cell, decimal) and cell != "1" for cell in cells):
        return False
    for cell in cells:
        try:
            parse_unit("" if cell.lower() in _MISSING else cell)
        except UnitError:
            if any(_is_number(one, decimal) for one in cells):
                return False  # text in a row of numbers is told with its column
            raise InputError(f"{shown(path)}:{line}: got {short(cell)}, must be a number (or a unit)") from None
    return True
