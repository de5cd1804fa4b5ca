"""The page of a sweep, and its tables."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import Column
from ndm_apps.records import flatten
from ndm_apps.report.curves import Drawing, draw_bands
from ndm_apps.report.differences import difference_table, paired, paired_differences, save_differences
from ndm_apps.report.panels import Dots, draw_dots
from ndm_apps.report.render import BUDGET, environment, existing, files, is_number, link, plain, read, show
from ndm_apps.report.results import by_task, columns_of, label_of, load_results, lookup, varying_settings
from ndm_apps.report.tables import compare, summary

PANELS = 6
SCRIPT = Path(__file__).parent / "templates" / "sort.js"


def write_sweep(sweep_dir: Path | str, *, baseline: str | None = None) -> Path:
    """Write tables and page of a sweep from what is on disk: ``summary.csv``, ``summary.md``, ``differences.csv``.

    Parameters
    ----------
    sweep_dir
        Folder of a sweep.
    baseline
        Method that the others are compared with; by default that of ``sweep.json``, else that of the first run.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        As for :func:`write_sweep_page`.
    """
    folder = existing(sweep_dir)
    sweep, results, problems = _read(folder)
    if results:
        table = compare(results)
        table.to_csv(folder / "summary.csv")
        write_text(folder / "summary.md", table.to_markdown())
        rows, asked = [], _asked(sweep, baseline, results)
        for task, runs in by_task(results).items():
            by = ("method", *varying_settings(runs))
            reference, found = paired_differences(runs, columns_of(runs[0]), by, _baseline(asked, runs))
            rows += [(task, reference, difference) for difference in found]
        if rows:
            save_differences(folder / "differences.csv", rows)
    return _write_page(folder, sweep, results, problems, baseline)


def write_sweep_page(sweep_dir: Path | str, *, baseline: str | None = None) -> Path:
    """Write ``report.html`` of all runs below a folder: summary, differences, comparison, and a line for every run.

    Parameters
    ----------
    sweep_dir
        Folder of a sweep, or any folder above run folders.
    baseline
        As for :func:`write_sweep`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If there is no such folder, its ``sweep.json`` cannot be read, or no run is of the baseline's method.
    """
    folder = existing(sweep_dir)
    return _write_page(folder, *_read(folder), baseline)


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Return what is known of a sweep, its results in order, and what could not be read of them."""
    sweep = read(folder / "sweep.json", json.loads)
    problems: list[str] = []
    return sweep, _in_order(folder, sweep, load_results([folder], problems.append)), problems


def _write_page(
    folder: Path, sweep: dict[str, Any], results: list[dict[str, Any]], problems: list[str], baseline: str | None
) -> Path:
    sections, left, asked = [], BUDGET, _asked(sweep, baseline, results)
    for number, (task, runs) in enumerate(by_task(results).items()):
        section = _section(folder, number, task, runs, _baseline(asked, runs))
        for part in ("dots", "bands"):
            size = sum(map(len, section[part].panels)) if section[part] else 0
            if size > left:  # the numbers are in the tables; a page has to end somewhere
                section[part] = None
            else:
                left -= size
        sections.append(section)
    failed = {str(label): str(reason) for label, reason in (sweep.get("failed") or {}).items()}
    planned = [str(label) for label in sweep.get("runs") or ()]
    done = {_name(folder, run) for run in results}
    missing = [label for label in planned if label not in done and label not in failed]
    script = SCRIPT.read_text(encoding="utf-8")
    page = (
        environment()
        .get_template("sweep.html.j2")
        .render(
            name=folder.resolve().name,
            finished=len(results),
            planned=len(planned) or len(results),
            failed=[(label, reason, link(folder, folder / label / "report.html")) for label, reason in failed.items()],
            missing=missing,
            problems=problems,
            sections=sections,
            command=shlex.join(map(str, sweep["command"])) if sweep.get("command") else "",
            settings=[(key, plain(value)) for key, value in flatten(sweep.get("config") or {})],
            files=files(folder),
            script=Markup(script),
            digest=b64encode(sha256(script.encode()).digest()).decode(),
        )
    )
    return write_text(folder / "report.html", page)


def _in_order(folder: Path, sweep: Mapping[str, Any], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results in the order in which the sweep lists its runs, the others after them."""
    order = {str(label): place for place, label in enumerate(sweep.get("runs") or ())}
    return sorted(results, key=lambda run: order.get(_name(folder, run), len(order)))


def _name(folder: Path, run: Mapping[str, Any]) -> str:
    return Path(run["folder"]).relative_to(folder).as_posix()


def _baseline(asked: str | None, runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the method of the baseline where the runs have it; among those of another task it need not be."""
    return asked if asked in {label_of(run, "method") for run in runs} else None


def _asked(sweep: Mapping[str, Any], given: str | None, results: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the method that was asked for as baseline, by the reader or by the sweep; raises if no run is of it."""
    methods = list(dict.fromkeys(label_of(run, "method") for run in results))
    if given is not None and given not in methods:
        raise InputError(f"--baseline: got {given!r}, must be one of {', '.join(methods)}")
    return given if given is not None else sweep.get("baseline")


def _section(folder: Path, number: int, task: str, runs: list[dict[str, Any]], baseline: str | None) -> dict[str, Any]:
    """Return what the page of a sweep shows of one task."""
    varying = varying_settings(runs)
    by = ("method", *varying)
    columns = [c for c in columns_of(runs[0]) if any(lookup(run, c.key) is not None for run in runs)]
    reference, found = paired_differences(runs, columns, by, baseline)
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(", ".join(label_of(run, key) for key in by), []).append(run)
    return {
        "number": number,
        "task": task,
        "table": summary(runs, columns, by),
        "columns": columns,
        "reference": " ".join(reference),
        "differences": difference_table(found, columns, by) if any(d.pairs > 1 for d in found) else None,
        "verdicts": {(d.labels, d.key): d.verdict for d in found},
        "dots": _dots(groups, columns),
        "bands": draw_bands({label: [Path(run["folder"]) for run in own] for label, own in groups.items()}),
        "runs": [
            {
                "name": _name(folder, run),
                "link": "" if Path(run["folder"]) == folder else link(folder, Path(run["folder"]) / "report.html"),
                "file": link(folder, Path(run["folder"]) / "result.json"),
                "labels": [label_of(run, key) for key in by],
                "seed": label_of(run, "seed"),
                "values": [(show(lookup(run, c.key), c), _sorted_by(lookup(run, c.key))) for c in columns],
            }
            for run in runs
        ],
    }


def _sorted_by(value: Any) -> str:
    return repr(float(value)) if is_number(value) else "" if value is None else str(value)


def _dots(groups: Mapping[str, Sequence[Mapping[str, Any]]], columns: Sequence[Column]) -> Drawing | None:
    """Draw the values of all runs by group, where there is something to compare: several values, not all the same."""
    panels = []
    for column in columns:
        values = {label: [_number(lookup(run, column.key)) for run in runs] for label, runs in groups.items()}
        finite = [value for found in values.values() for value in found if np.isfinite(value)]
        if column.better and len(set(finite)) > 1 and len(panels) < PANELS:
            rows = [_row(label, found, place) for place, (label, found) in enumerate(values.items())]
            arrow = "↑" if column.better == "higher" else "↓"
            panels.append(draw_dots(f"{column.heading} {arrow}", rows))
    if not panels:
        return None
    text = "Each dot is a run, the bar the mean, the line its 95 % interval by Student's t. Arrows: the better side."
    return Drawing(tuple(panels), text)


def _row(label: str, values: Sequence[float], place: int) -> Dots:
    finite = [value for value in values if np.isfinite(value)]
    interval = None
    if len(finite) > 1:
        _, low, high, _ = paired(finite)
        interval = (low, high) if low is not None and high is not None else None
    return Dots(label, values, place, interval)


def _number(value: Any) -> float:
    return float(value) if is_number(value) else float("nan")
