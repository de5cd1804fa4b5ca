"""Reading finished runs from disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ndm_apps.plugins.base import Column, plugins
from ndm_apps.records import domain_of, flatten

MISSING = "–"
COMMON = frozenset({"seed", "seconds", "peak_memory_mb"})  # numbers of result.json that say nothing of the method


def load_results(paths: Iterable[Path | str], on_problem: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Read the finished runs at or below some folders; copies of results without their run are passed over.

    Parameters
    ----------
    paths
        Run folders, sweep folders, or folders above them.
    on_problem
        Called with one sentence for every ``result.json`` that cannot be read; by default `warnings.warn`.

    Returns
    -------
    list of dict
        Content of each ``result.json``, with its folder under the key ``folder``, sorted by folder. A run that is
        found through two of the paths is listed once.
    """
    tell = on_problem or (lambda text: warnings.warn(text, RuntimeWarning, stacklevel=2))
    found = {
        file.resolve(): file
        for path in paths
        for file in Path(path).rglob("result.json")
        if (file.parent / "config.yaml").is_file() and (file.parent / "metrics.jsonl").is_file()  # no copy of MLflow's
    }
    results = []
    for file in sorted(found.values()):
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(read, dict):
                raise ValueError(f"expected a mapping, got {type(read).__name__}")
        except (OSError, ValueError) as error:
            tell(f"{file} is left out: {error}")
            continue
        results.append({**read, "folder": str(file.parent)})
    return results


def lookup(values: Mapping[str, Any], key: str) -> Any:
    """Return the value under a dotted path, or None.

    Examples
    --------
    >>> lookup({"shift": {"f1": 0.5}}, "shift.f1"), lookup({"shift": None}, "shift.f1")
    (0.5, None)
    """
    value: Any = values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def label_of(result: Mapping[str, Any], key: str) -> str:
    """Return what distinguishes a run: the text under a dotted path in its result, else in its config, else "–".

    Examples
    --------
    >>> label_of({"config": {"methods": {"ndm": {"lift": 1000}}}}, "methods.ndm.lift")
    '1000'
    """
    value = lookup(result, key)
    if value is None:
        value = lookup(result.get("config") or {}, key)
    return MISSING if value is None else str(value)


def varying_settings(results: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the settings in which runs of the same task and method differ, apart from the seed.

    A mean over such runs would mix different things: the summary needs these keys in its ``by``.

    Examples
    --------
    >>> runs = [{"task": "t", "method": "m", "config": {"seed": s, "methods": {"m": {"lr": lr}}}}
    ...         for s in (0, 1) for lr in (0.1, 0.2)]
    >>> varying_settings(runs)
    ('methods.m.lr',)
    """
    seen: dict[tuple[str, str, str], set[str]] = {}
    for result in results:
        group = str(result.get("task")), str(result.get("method"))
        for key, value in flatten(result.get("config") or {}):
            if key not in ("seed", ""):
                seen.setdefault((*group, key), set()).add(repr(value))
    return tuple(dict.fromkeys(key for (*_, key), values in seen.items() if len(values) > 1))


def columns_of(result: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns of a result's domain; for a domain without a plugin, one for each of its own numbers."""
    try:
        plugin = plugins().get(domain_of(result.get("config") or {}))
    except Exception as error:  # a third party's plugin that does not load must not cost the user the report
        warnings.warn(f"plugins cannot be loaded: {error}", RuntimeWarning, stacklevel=2)
        plugin = None
    if plugin is not None:
        return plugin.columns
    numbers = [key for key, value in result.items() if isinstance(value, (bool, int, float)) and key not in COMMON]
    return tuple(Column(key, key.replace("_", " "), ".4g") for key in [*numbers, "seconds"])


def by_task(results: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each task, in the order in which the tasks first appear."""
    tasks: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        tasks.setdefault(str(result.get("task", MISSING)), []).append(result)
    return tasks
