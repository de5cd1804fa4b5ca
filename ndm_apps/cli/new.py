"""The commands that write what a newcomer starts from: ``ndm new plugin`` and ``ndm new task``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Where to write; by default the working folder.")]

app = typer.Typer(help="Write a plugin or a task to start from.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the plugin, such as my_plugin.")],
    out: OutOption = Path(),
) -> None:
    """Write a plugin as a small project that can be installed and passes its tests."""
    from ndm_apps.scaffold import new_plugin

    for file in new_plugin(name, out):
        typer.echo(file)
    typer.echo(f"next: pip install --editable {out / name}; pytest {out / name}")


@app.command()
def task(
    name: Annotated[str, typer.Argument(metavar="DOMAIN/NAME", help="Such as physics/mine.")],
    out: OutOption = Path(),
) -> None:
    """Write a task and a config for it, to be changed into your own."""
    from ndm_apps.scaffold import new_task

    written, config = new_task(name, out)
    typer.echo(f"{written}\n{config}\nnext: ndm check {config}; ndm run {config}")
