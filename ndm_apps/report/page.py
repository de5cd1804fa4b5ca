"""Self-contained HTML pages: one of a run, one of a sweep. They ask no other host for anything."""

from __future__ import annotations

import json
import math
import shlex
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import Column
from ndm_apps.records import domain_of, flatten
from ndm_apps.report.figures import draw_comparison, draw_curves, read_curves, svg_text
from ndm_apps.report.results import MISSING, columns_of, label_of, load_results, lookup, varying_settings
from ndm_apps.report.svg import inline_svg
from ndm_apps.report.tables import format_number, summary

TILES = 4  # headline numbers above the table
LINES = 200  # of a list of records; the rest is in result.json
FILES = {
    "config.yaml": "everything that defines the run",
    "result.json": "all results",
    "sweep.json": "what was swept",
    "laws.tex": "the laws in LaTeX",
    "metrics.jsonl": "metrics, one point a line",
    "dataset.json": "the data",
    "summary.csv": "the table, all digits",
    "summary.md": "the table in Markdown",
    "figures": "figures as SVG",
    "checkpoint": "state to resume from",
}


@dataclass(frozen=True)
class Drawing:
    """A figure ready to be put into a page."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Records:
    """A list of records in a result, such as the invariants found: a table of its own."""

    title: str
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
    folder = _existing(run_dir)
    result = _read(folder / "result.json", json.loads)
    config = result.get("config") or _read(folder / "config.yaml", yaml.safe_load)
    result = {"config": config, **result}
    columns = columns_of(result)
    known = [(column, lookup(result, column.key)) for column in columns]
    curves = read_curves(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else {}
    drawn = draw_curves(curves)
    written = {key: value for key, value in result.items() if key != "config"}
    page = (
        _environment()
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
            tiles=[(column, _show(value, column)) for column, value in known if _is_number(value)][:TILES],
            values=[(column, _show(value, column)) for column, value in known],
            records=_records(result),
            figures=_pictures(folder),
            curves=_drawing(*drawn, "curves-") if drawn else None,
            settings=[(key, _plain(value)) for key, value in flatten(config)],
            dataset=_read(folder / "dataset.json", json.loads),
            versions=dict(flatten(result.get("versions") or {})),
            git=dict(flatten(result.get("git") or {}, "git")),
            command=f"ndm run {shlex.quote('config.yaml')} --seed {shlex.quote(str(result.get('seed', 0)))}",
            raw=json.dumps(written, indent=2, ensure_ascii=False, default=str),
            files=_files(folder),
        )
    )
    return write_text(folder / "report.html", page)


def write_sweep_page(sweep_dir: Path | str) -> Path:
    """Write ``report.html`` of all finished runs below a folder: summary, comparison, and a line for every run.

    Parameters
    ----------
    sweep_dir
        Folder of a sweep, or any folder above run folders.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If there is no such folder or its ``sweep.json`` cannot be read.
    """
    folder = _existing(sweep_dir)
    sweep = _read(folder / "sweep.json", json.loads)
    problems: list[str] = []
    results = load_results([folder], problems.append)
    tasks: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        tasks.setdefault(str(result.get("task", MISSING)), []).append(result)
    sections = [_section(folder, number, task, runs) for number, (task, runs) in enumerate(tasks.items())]
    planned = len(sweep.get("runs") or results)
    page = (
        _environment()
        .get_template("sweep.html.j2")
        .render(
            name=folder.resolve().name,
            finished=len(results),
            planned=planned,
            problems=problems,
            sections=sections,
            settings=[(key, _plain(value)) for key, value in flatten(sweep.get("config") or {})],
            files=_files(folder),
        )
    )
    return write_text(folder / "report.html", page)


def _section(folder: Path, number: int, task: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page of a sweep shows of one task."""
    columns, varying = columns_of(runs[0]), varying_settings(runs)
    by = ("method", *varying)
    drawn = draw_comparison(runs, columns, by)
    return {
        "task": task,
        "table": summary(runs, columns, by),
        "columns": columns,
        "varying": varying,
        "figure": _drawing(*drawn, f"compare-{number}-") if drawn else None,
        "runs": [
            {
                "name": Path(run["folder"]).relative_to(folder).as_posix(),
                "link": _link(folder, Path(run["folder"])),
                "labels": [label_of(run, key) for key in by],
                "seed": label_of(run, "seed"),
                "values": [_show(lookup(run, column.key), column) for column in columns],
            }
            for run in runs
        ],
    }


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _existing(path: Path | str) -> Path:
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: expected the folder of a run or a sweep")
    return folder


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return a mapping from a file, an empty one if there is no such file."""
    if not path.exists():
        return {}
    try:
        read = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(read, dict):
        raise InputError(f"{path} must hold a mapping, got {type(read).__name__}")
    return read


def _modified(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M") if path.exists() else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _show(value: Any, column: Column) -> str:
    if _is_number(value):
        return format_number(float(value), column.format)
    return MISSING if value is None or isinstance(value, (list, dict)) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return MISSING if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _records(result: Mapping[str, Any]) -> list[Records]:
    """Return the lists of flat records in a result, such as ``invariants``: each makes a table."""
    found = []
    for name, value in flatten({key: value for key, value in result.items() if key != "config"}):
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            keys = tuple(dict.fromkeys(key for item in value for key in item))
            rows = tuple(tuple(_plain(item.get(key)) for key in keys) for item in value[:LINES])
            found.append(Records(name.replace("_", " ").replace(".", ": "), keys, rows, len(value) - len(rows)))
    return found


def _pictures(folder: Path) -> list[Drawing]:
    captions = _read(folder / "figures" / "captions.json", json.loads)
    drawings = []
    for number, path in enumerate(sorted((folder / "figures").glob("*.svg"))):
        caption = str(captions.get(path.stem) or path.stem.replace("_", " "))
        try:
            svg = inline_svg(path.read_text(encoding="utf-8"), f"figure-{number}-", caption)
        except ValueError as error:
            drawings.append(Drawing(Markup("<p>{}</p>").format(f"{path.name} is not shown: {error}"), caption))
        else:
            drawings.append(Drawing(Markup(svg), caption))
    for path in sorted((folder / "figures").glob("*.gif")):
        caption = str(captions.get(path.stem) or path.stem.replace("_", " "))
        data = b64encode(path.read_bytes()).decode()
        drawings.append(Drawing(Markup('<img alt="{}" src="data:image/gif;base64,{}">').format(caption, data), caption))
    return drawings


def _drawing(figure: Any, caption: str, prefix: str) -> Drawing:
    return Drawing(Markup(inline_svg(svg_text(figure), prefix, caption)), caption)


def _files(folder: Path) -> list[tuple[str, str]]:
    return [(name, text) for name, text in FILES.items() if (folder / name).exists()]


def _link(folder: Path, run: Path) -> str:
    """Return the relative address of a run's page, or an empty text if it has none or is the page itself."""
    if run == folder or not (run / "report.html").exists():
        return ""
    return "./" + quote(f"{run.relative_to(folder).as_posix()}/report.html")
