"""What the benchmarks share: jobs that take turns, tables, and where the results go. Run by make targets only."""

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ndm_apps import provenance, report

OUTPUT = Path("results/geometry")


def compare(jobs: Mapping[str, Callable[[], Any]], repeats: int = 5, budget: float = 20.0) -> dict[str, float]:
    """Milliseconds of each job, the best of several turns that the jobs take one after another.

    A turn lasts 10 ms or one call, whichever is longer: every job is timed with its own data in the cache, as in a
    loop of its own. One that has used up its ``budget`` of seconds takes no further turn.
    """
    best: dict[str, float] = {}
    spent = dict.fromkeys(jobs, 0.0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            spent[name] = time.perf_counter() - start
            best[name] = spent[name] if spent[name] > budget else float("inf")
        for _ in range(repeats):
            for name, job in jobs.items():
                if spent[name] > budget:
                    continue
                turn = 0.0
                while turn < 0.01:
                    start = time.perf_counter()
                    job()
                    seconds = time.perf_counter() - start
                    turn += seconds
                    best[name] = min(best[name], seconds)
                spent[name] += turn
    finally:
        if collecting:
            gc.enable()
    return {name: 1e3 * seconds for name, seconds in best.items()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table; floats with three significant digits, what is missing as a dash."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(column)) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(name: str, sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write ``results/geometry/NAME.{json,md}``: the sections, and on what they were measured."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": {"cpu": _cpu(), "threads": torch.get_num_threads()},
        "versions": provenance.versions(),
        "sections": {title: list(rows) for title, rows in sections.items()},
    }
    (OUTPUT / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join(f"## {title}\n\n{table(rows)}" for title, rows in sections.items())
    (OUTPUT / f"{name}.md").write_text(text)


def deliver(page: Callable[[list[dict[str, Any]]], str], output: Path, arguments: Sequence[str]) -> None:
    """Make the page of the runs in the folders named; with ``--write`` it goes to its file, else to the terminal."""
    text = page(report.load_results([Path(name) for name in arguments if name != "--write"]))
    if "--write" in arguments:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    else:
        print(text)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
