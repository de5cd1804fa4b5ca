"""Reading the records of a run: resolved configs and results as nested mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def domain_of(config: Mapping[str, Any]) -> str:
    """Return the domain that a resolved config names, or an empty string.

    Examples
    --------
    >>> domain_of({"task": "physics/kepler"}), domain_of({"task": {"domain": "planning"}}), domain_of({})
    ('physics', 'planning', '')
    """
    task = config.get("task")
    if config.get("domain"):
        return str(config["domain"])
    if isinstance(task, Mapping):
        return str(task.get("domain", ""))
    return task.partition("/")[0] if isinstance(task, str) and "/" in task else ""


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested mapping under dotted names; a list is a leaf."""
    if isinstance(value, Mapping) and (value or not prefix):
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value
