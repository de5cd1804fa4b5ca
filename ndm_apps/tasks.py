"""Reads and validates task files (WHAT is solved). What a task holds is the business of its domain's plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndm_apps import shipped
from ndm_apps.errors import InputError
from ndm_apps.plugins import base
from ndm_apps.validation import validate
from ndm_apps.wording import did_you_mean, listed, short
from ndm_apps.yaml_source import Place, Source, read_yaml


def load_task(reference: str | Path | Mapping[str, Any], relative_to: Path | None = None) -> tuple[str, base.Task]:
    """Read a task and validate it with the plugin of its domain.

    Parameters
    ----------
    reference
        A shipped name such as ``continual/digits``, the path of a task file, or the task itself as a mapping.
    relative_to
        The file that refers to the task, or its folder: relative paths start there, then in the working folder.

    Returns
    -------
    str
        Its name: the shipped name, the file's name without suffix, or ``"inline"``.
    Task
        The validated task, of the plugin's own class.

    Raises
    ------
    InputError
        The file cannot be read, no plugin is installed for its domain, or a value is wrong.
    """
    if isinstance(reference, Mapping):
        name, source = "inline", Source(dict(reference), {(): Place("task")})
    else:
        folder = relative_to.parent if relative_to is not None and relative_to.is_file() else relative_to
        path = shipped.find("tasks", reference, folder)
        name, source = shipped.name_of("tasks", path), read_yaml(path)
    return name, validate_task(source)[1]


def validate_task(source: Source, prefix: tuple[str, ...] = ()) -> tuple[base.Plugin, base.Task]:
    """Return the plugin of the task at ``prefix`` of a source, and the task validated with its schema."""
    where = (*prefix, "domain")
    installed = base.plugins()
    data = source.get(prefix)
    if "domain" not in data:
        raise source.error(where, f"missing, must be given (installed: {listed(installed)})")
    domain = data["domain"]
    if not isinstance(domain, str):
        raise source.error(where, f"got {short(domain)}, must be text (installed: {listed(installed)})")
    if domain not in installed:
        near = did_you_mean(domain, installed)
        raise source.error(where, f"no plugin for domain {short(domain)}{near or ';'} installed: {listed(installed)}")
    plugin = installed[domain]
    return plugin, validate(plugin.task, source, prefix)


def read_task(source: Source, path: tuple[str, ...]) -> tuple[str, Source]:
    """Read the task file that the text at ``path`` of a source refers to; return its name and content."""
    place = source.place(path)
    try:
        file = shipped.find("tasks", str(source.get(path)), place.folder)
    except InputError as error:
        raise source.error(path, str(error)) from None
    return shipped.name_of("tasks", file), read_yaml(file)
