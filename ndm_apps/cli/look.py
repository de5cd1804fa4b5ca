"""The commands that look at what is there: ``list``, ``check``, ``data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndm_apps.cli.options import SetOption, fail
from ndm_apps.errors import InputError


def list_(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="tasks, configs or plugins; all if left out.")] = "all",
) -> None:
    """List the shipped tasks and configs, and the plugins."""
    from ndm_apps import shipped
    from ndm_apps.plugins import base

    if kind not in ("all", "tasks", "configs", "plugins"):
        raise InputError(f"KIND: got {kind!r}, must be tasks, configs or plugins")
    if kind in ("all", "plugins"):
        typer.echo("plugins")
        for plugin in base.plugins().values():
            typer.echo(f"  {plugin.domain}: {plugin.summary}")
            typer.echo(f"  {' ' * len(plugin.domain)}  methods: {', '.join(plugin.methods)}")
    for shelf in ("tasks", "configs"):
        if kind in ("all", shelf):
            typer.echo(shelf)
            for name in shipped.names(shelf):
                typer.echo(f"  {name}")


def check(
    configs: Annotated[
        list[str], typer.Argument(metavar="CONFIG...", help="Configs or task files, by path or shipped name.")
    ],
    set_: SetOption = None,
) -> None:
    """Validate configs and tasks without running them."""
    wrong = 0
    for reference in configs:
        try:
            typer.echo(f"ok: {_check(reference, set_ or [])}")
        except InputError as error:
            wrong = fail(str(error))
    raise typer.Exit(wrong)


def _check(reference: str, overrides: list[str]) -> str:
    from ndm_apps.config import load_config
    from ndm_apps.tasks import load_task
    from ndm_apps.wording import one_line
    from ndm_apps.yaml_source import read_yaml

    path = Path(reference)
    # A task file has a domain at its top; a config names its task.
    if reference.startswith("tasks/") or (_is_file(path) and "domain" in read_yaml(path).data):
        if overrides:
            raise InputError(f"--set: {one_line(reference)} is a task, only keys of a config can be overridden")
        name, task = load_task(reference)
        return f"{one_line(reference)} (task {name}, domain {task.domain})"
    run = load_config(reference, overrides)
    return f"{one_line(reference)} (config: task {run.task_name}, method {run.run.method}, seed {run.run.seed})"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no file has such a name; the loader says so in its own words
        return False


def data(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Data set to fetch; without it, list what is here.")
    ] = None,
) -> None:
    """Tell which data sets are here, or fetch one."""
    from ndm_apps import datasets

    if name is None:
        for known, where in datasets.available().items():
            typer.echo(f"{known:15} {where}")
        typer.echo(f"looked in: {', '.join(map(str, datasets.search_path()))} (NDM_DATA sets the first)")
    elif name == "digits":
        typer.echo("digits ships with scikit-learn: nothing to fetch")
    else:
        here = datasets.locate(name) if name in datasets.NAMES else None
        typer.echo(f"{name} is in {here or datasets.fetch(name)}")
