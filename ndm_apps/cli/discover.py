"""The command ``discover``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndm_apps.cli.options import RESULTS, NoTrackOption


def discover(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Table of measurements, .csv or .parquet.")],
    time: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of times; by default t, or else time.")
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column that tells trajectories apart; without one, time that starts again does."
        ),
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(metavar="A,B,...", help="Measured columns; by default all others.")
    ] = None,
    angle: Annotated[
        list[str] | None,
        typer.Option(metavar="A,...|none", help="Columns that are angles; by default those that jump by a turn."),
    ] = None,
    units: Annotated[
        list[str] | None, typer.Option(metavar="A=UNIT,...", help="Units of columns, such as q=m,p=kg*m/s.")
    ] = None,
    error: Annotated[
        list[str] | None,
        typer.Option(metavar="A=SD,...", help="Known standard deviation of the measurement of columns."),
    ] = None,
    velocities: Annotated[
        bool, typer.Option("--velocities", help="Only positions were measured: add their velocities.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", help="Time after which the best so far is told.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of every random choice.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=v", help="Set a key of the method, such as methods.spectral.degree=3."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default a new one in results/runs.")
    ] = None,
    no_track: NoTrackOption = False,
) -> None:
    """Find the conserved quantities in measured trajectories.

    The table has a row for each measurement and a header; a row of units may follow it.
    """
    from ndm_apps.discovery import discovery_config, lines

    config = discovery_config(
        file, time=time, trajectory=trajectory, state=state or (), angles=angle or (), units=units or (),
        error=error or (), velocities=velocities, seconds=seconds, seed=seed, overrides=set_ or (),
    )  # fmt: skip
    from ndm_apps import terminal
    from ndm_apps.run import default_folder, execute

    folder = out or default_folder(config, RESULTS)
    try:
        with terminal.progress(config.name) as progress:
            result = execute(config, folder, track=not no_track, progress=progress, warn=terminal.warning)
    except KeyboardInterrupt:
        terminal.interrupted(["ndm", "run", str(folder / "config.yaml"), "--out", str(folder), "--resume",
                              *(["--no-track"] if no_track else [])])  # fmt: skip
        raise
    for line in lines(result):
        typer.echo(line)
    typer.echo(f"report: {folder / 'report.html'}")
