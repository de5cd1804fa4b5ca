"""What several commands share: arguments, options, the folder of results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

RESULTS = Path("results")

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Path of a config, or a shipped name.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=v", help="Override a key of the config; may be repeated.")
]
JobsOption = Annotated[int, typer.Option(metavar="N", help="Runs at a time.", min=1)]
DeviceOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N or mps; by default the config's.")
]
SystemMetricsOption = Annotated[
    bool, typer.Option("--system-metrics", help="Also record processor, memory, disk, network and GPU.")
]
NoTrackOption = Annotated[bool, typer.Option("--no-track", help="Do not record anything in MLflow.")]


def fail(text: str) -> int:
    """Print an error and return the exit status of wrong input."""
    typer.echo(f"error: {text}", err=True)
    return 2


def as_options(name: str, values: Iterable[Any]) -> list[str]:
    """Return the words of a command line that give an option once for each value."""
    return [word for value in values for word in (name, str(value))]
