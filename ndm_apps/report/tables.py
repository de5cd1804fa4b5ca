"""Summary tables: mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import io
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndm_apps.files import write_text
from ndm_apps.plugins.base import Column
from ndm_apps.report.results import MISSING, columns_of, label_of, lookup, varying_settings

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Cell:
    """One value of a table: its text; mean, standard deviation and count if it is a number; whether it is best."""

    text: str
    mean: float | None = None
    sd: float | None = None
    count: int = 0
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One group of runs: what they have in common, how many runs and seeds, and a cell for each column."""

    labels: tuple[str, ...]
    runs: int
    seeds: int
    cells: tuple[Cell, ...]

    @property
    def count(self) -> str:
        """Number of seeds, and of runs where some seed ran more than once."""
        return str(self.seeds) if self.runs == self.seeds else f"{self.seeds} ({self.runs} runs)"


@dataclass(frozen=True)
class Table:
    """A summary table that can be shown in the terminal, in Markdown and HTML, and saved with all digits."""

    by: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def headings(self) -> list[str]:
        """Return the headings as shown, with an arrow for the better direction."""
        arrows = {"higher": " ↑", "lower": " ↓", "": ""}
        return [*self.by, "seeds", *(column.heading + arrows[column.better] for column in self.columns)]

    def to_csv(self, path: Path | str) -> Path:
        """Write ``<key>_mean, <key>_sd, <key>_n`` for each column, with all digits; text columns as ``<key>``."""
        texts = [any(r.cells[i].mean is None and r.cells[i].count for r in self.rows) for i in range(len(self.columns))]
        names = [*self.by, "runs", "seeds"]
        for column, is_text in zip(self.columns, texts, strict=True):
            names += [column.key] if is_text else [f"{column.key}_{part}" for part in ("mean", "sd", "n")]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            line: list[Any] = [*row.labels, row.runs, row.seeds]
            for cell, is_text in zip(row.cells, texts, strict=True):
                line += [cell.text] if is_text else [cell.mean, cell.sd, cell.count]
            writer.writerow(line)
        return write_text(Path(path), stream.getvalue())

    def save(self, path: Path | str) -> Path:
        """Write the table as Markdown if the file is to end in ``.md``, else as CSV."""
        return write_text(Path(path), self.to_markdown()) if Path(path).suffix == ".md" else self.to_csv(path)

    def to_markdown(self) -> str:
        """Return a Markdown table; best values are bold."""
        lines = [self.headings(), ["---"] * len(self.by) + ["---:"] * (1 + len(self.columns))]
        for row in self.rows:
            cells = [f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text) for cell in row.cells]
            lines.append([*map(_markdown, row.labels), row.count, *cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def to_rich(self, width: int | None = None) -> RichTable:
        """Return the table for the terminal; best values are bold and green.

        A label that all rows share goes into the title. Where the rows do not fit ``width`` (by default the
        terminal's), rows and columns change places.
        """
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        shared = [
            len(self.rows) > 1 and len(set(labels)) == 1 for labels in zip(*(r.labels for r in self.rows), strict=True)
        ]
        shown = [number for number, same in enumerate(shared) if not same]
        title = ", ".join(self.rows[0].labels[number] for number, same in enumerate(shared) if same) or None
        headings = self.headings()
        lines = [[Text(headings[number]) for number in (*shown, *range(len(self.by), len(headings)))]]
        for row in self.rows:
            cells = [Text(cell.text, style="bold green" if cell.best else "") for cell in row.cells]
            lines.append([*(Text(row.labels[number]) for number in shown), Text(row.count), *cells])
        needed = sum(2 + max(len(cell) for cell in column) for column in zip(*lines, strict=True))
        turned = needed > (width or shutil.get_terminal_size().columns)
        if turned:
            lines = [list(column) for column in zip(*lines, strict=True)]
        texts = 1 if turned else len(shown)
        table = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD)
        for number, heading in enumerate(lines[0]):
            table.add_column(heading, justify="left" if number < texts else "right", overflow="fold")
        for line in lines[1:]:
            table.add_row(*line)
        return table


def summary(
    results: Sequence[Mapping[str, Any]], columns: Sequence[Column], by: Sequence[str] = ("task", "method")
) -> Table:
    r"""Summarise runs: :math:`\bar v \pm s` over the runs of each group, :math:`s^2 = \sum (v - \bar v)^2 / (n - 1)`.

    Among the groups of the same task the best mean of each column is marked; means that read the same are all marked.

    Parameters
    ----------
    results
        As `load_results` returns them.
    columns
        Which values, by dotted path.
    by
        Dotted paths, in the result or its config, of what distinguishes the groups.

    Returns
    -------
    Table
        One row a group, in the order in which the groups first appear. A missing value is shown as "–"; a mean over
        fewer runs than the group has tells how many.

    Raises
    ------
    ValueError
        If ``by`` is empty.

    Examples
    --------
    >>> runs = [{"task": "t", "method": m, "seed": s, "acc": a}
    ...         for m, s, a in [("x", 0, 0.5), ("x", 1, 0.7), ("y", 0, 0.4)]]
    >>> print(summary(runs, [Column("acc", "accuracy", ".2f", "higher")]).to_markdown())
    | task | method | seeds | accuracy ↑ |
    | --- | --- | ---: | ---: |
    | t | x | 2 | **0.60 ± 0.14** |
    | t | y | 1 | 0.40 |
    """
    if not by:
        raise ValueError(f"by = {by!r} must name at least one key, such as 'method'")
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        labels = tuple(label_of(result, key) for key in by)
        groups.setdefault(labels, []).append(result)
    cells = {
        labels: [_cell([lookup(run, column.key) for run in runs], column) for column in columns]
        for labels, runs in groups.items()
    }
    task = tuple(by).index("task") if "task" in by else None
    rows = []
    for labels, runs in groups.items():
        rivals = [cells[other] for other in groups if task is None or other[task] == labels[task]]
        marked = (
            _marked(cell, [rival[number] for rival in rivals], column)
            for number, (cell, column) in enumerate(zip(cells[labels], columns, strict=True))
        )
        rows.append(Row(labels, len(runs), len({str(run.get("seed")) for run in runs}), tuple(marked)))
    return Table(tuple(by), tuple(columns), tuple(rows))


def compare(results: Sequence[Mapping[str, Any]]) -> Table:
    """Summarise runs of one domain in its plugin's columns, one row for each task, method and setting that varies.

    Columns that no run has a value for are left out.
    """
    by = ("task", "method", *varying_settings(results))
    columns = columns_of(results[0]) if results else ()
    return summary(results, [c for c in columns if any(lookup(run, c.key) is not None for run in results)], by)


def _cell(values: list[Any], column: Column) -> Cell:
    present = [value for value in values if value is not None and not isinstance(value, (list, dict))]
    if not present:
        return Cell(MISSING)
    if any(isinstance(value, str) for value in present):
        texts = {str(value) for value in present}
        return Cell(texts.pop() if len(texts) == 1 else "varies", count=len(present))
    numbers = [float(value) for value in present]
    finite = all(map(math.isfinite, numbers))
    mean = math.fsum(numbers) / len(numbers) if finite else math.nan
    sd = (statistics.stdev(numbers) if finite else math.nan) if len(numbers) > 1 else None
    text = format_number(mean, column.format)
    if sd is not None:
        text += f" ± {format_number(sd, column.format)}"
    if len(present) < len(values):
        text += f" (n={len(present)})"
    return Cell(text, mean, sd, len(present))


def _marked(cell: Cell, rivals: list[Cell], column: Column) -> Cell:
    """Mark the best of the rivals; a lone value, and values that all read the same, are no contest."""
    means = [rival.mean for rival in rivals if rival.mean is not None and math.isfinite(rival.mean)]
    shown = {format_number(mean, column.format) for mean in means}
    if not column.better or cell.mean is None or not math.isfinite(cell.mean) or len(shown) < 2:
        return cell
    best = max(means) if column.better == "higher" else min(means)
    is_best = format_number(cell.mean, column.format) == format_number(best, column.format)
    return Cell(cell.text, cell.mean, cell.sd, cell.count, is_best)


def format_number(value: float, specification: str) -> str:
    """Format a number as a column asks; a specification that does not fit numbers gives four significant digits.

    Examples
    --------
    >>> format_number(0.5, ".3f"), format_number(1 / 3, "s")
    ('0.500', '0.3333')
    """
    try:
        return format(value, specification)
    except ValueError:
        return format(value, ".4g")


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
