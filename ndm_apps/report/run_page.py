"""The page of one run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from markupsafe import escape

from ndm_apps.files import write_text
from ndm_apps.records import domain_of, flatten
from ndm_apps.report.curves import draw_curves, read_curves
from ndm_apps.report.render import environment, excerpt, existing, files, is_number, pictures, plain, read, show
from ndm_apps.report.results import MISSING, columns_of, lookup

TILES = 4  # headline numbers above the table
LINES = 200  # of a list of records; the rest is in result.json
BUDGET = 250_000  # characters of all records
MARKUP = 20  # characters around a cell
LONGEST_CELL = 400  # characters


@dataclass(frozen=True)
class Records:
    """Records in a result, such as the invariants found or the orbits by name: a table of its own."""

    title: str
    key: str
    keys: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int


def write_run_page(run_dir: Path | str) -> Path:
    """Write ``report.html`` of one run from what is on disk.

    Parameters
    ----------
    run_dir
        Folder of the run; a run without ``result.json`` gets a page that says so.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If there is no such folder or its ``result.json`` or ``config.yaml`` cannot be read.
    """
    folder = existing(run_dir)
    result = read(folder / "result.json", json.loads)
    config = result.get("config") or read(folder / "config.yaml", yaml.safe_load)
    result = {"config": config, **result}
    known = [(column, lookup(result, column.key)) for column in columns_of(result)]
    values = [(column, show(value, column)) for column, value in known if value is not None]
    tables = _limited(_records({key: value for key, value in result.items() if key not in ("config", "versions")}))
    page = (
        environment()
        .get_template("run.html.j2")
        .render(
            name=folder.resolve().name,
            domain=domain_of(config),
            task=result.get("task") or config.get("task_name") or MISSING,
            method=result.get("method") or config.get("method") or MISSING,
            seed=result.get("seed", config.get("seed", MISSING)),
            complete=(folder / "result.json").exists(),
            ended=_modified(folder / "result.json"),
            result=result,
            tiles=[(column, show(value, column)) for column, value in known if is_number(value)][:TILES],
            values=values,
            records=[table for table in tables if "." not in table.key],
            evidence=[table for table in tables if "." in table.key],
            figures=pictures(folder),
            curves=draw_curves(read_curves(folder / "metrics.jsonl")),
            system=draw_curves(read_curves(folder / "system.jsonl"), "system.jsonl"),
            settings=[(key, plain(value)) for key, value in flatten(config)],
            dataset=read(folder / "dataset.json", json.loads),
            versions=dict(flatten(result.get("versions") or {})),
            git=dict(flatten(result.get("git") or {}, "git")),
            command=f"ndm run {shlex.quote('config.yaml')} --seed {shlex.quote(str(result.get('seed', 0)))}",
            raw=excerpt({key: value for key, value in result.items() if key != "config"}),
            files=files(folder),
        )
    )
    return write_text(folder / "report.html", page)


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M") if path.exists() else ""


def _records(values: Mapping[str, Any], path: str = "") -> Iterator[Records]:
    """Yield the tables in a result: lists of records, and records of the same keys by name."""
    for name, value in values.items():
        at = f"{path}.{name}" if path else str(name)
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            yield _table(at, value)
        elif isinstance(value, Mapping) and _are_alike(list(value.values())):
            yield _table(at, [{"": str(key), **dict(flatten(item))} for key, item in value.items()])
        elif isinstance(value, Mapping):
            yield from _records(value, at)


def _limited(tables: Iterable[Records]) -> list[Records]:
    """Return tables with as many rows as a page has room for."""
    left, kept = BUDGET, []
    for table in tables:
        rows = []
        for row in table.rows:
            left -= sum(len(escape(cell)) + MARKUP for cell in row)
            if left < 0:
                break
            rows.append(row)
        kept.append(replace(table, rows=tuple(rows), left_out=table.left_out + len(table.rows) - len(rows)))
    return kept


def _are_alike(items: list[Any]) -> bool:
    """Whether the values of a mapping are records: mappings of the same keys, a number of them at least among these."""
    keys = [frozenset(item) for item in items if isinstance(item, Mapping)]
    return len(keys) == len(items) > 0 and len(set(keys)) == 1 and len(keys[0]) > 2


def _table(key: str, items: Sequence[Mapping[str, Any]]) -> Records:
    keys = tuple(dict.fromkeys(key for item in items for key in item))
    rows = tuple(tuple(_cell(item.get(key)) for key in keys) for item in items[:LINES])
    title = key.replace("_", " ").replace(".", ": ")
    return Records(title[:1].upper() + title[1:], key, keys, rows, len(items) - len(rows))


def _cell(value: Any) -> str:
    text = plain(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
