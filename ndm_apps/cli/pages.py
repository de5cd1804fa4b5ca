"""The commands that show what runs have found: ``inspect``, ``report``, ``ui``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ndm_apps.cli.options import RESULTS
from ndm_apps.errors import InputError


def inspect(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
) -> None:
    """Show the geometry that a run has learnt."""
    from ndm_apps import terminal
    from ndm_apps.run import inspect_run

    terminal.values(_with_intervals(inspect_run(run_dir)))
    typer.echo(f"report: {run_dir / 'report.html'}")


def _with_intervals(found: dict[str, Any]) -> dict[str, Any]:
    """Return values with ``name_low``, ``name_high``, ``name_p`` and ``name_n`` in the line of ``name``."""
    shown = dict(found)
    for name in found:
        if {f"{name}_low", f"{name}_high", f"{name}_n"} <= set(found):
            low, high, n = (shown.pop(f"{name}_{end}") for end in ("low", "high", "n"))
            p = f", p = {shown.pop(f'{name}_p'):.2g}" if f"{name}_p" in shown else ""
            shown[name] = f"{found[name]:.4g} [{low:.4g}, {high:.4g}]{p}, n = {n}"
    return shown


def report_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of runs or sweeps, or folders above them.")
    ],
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table of all runs found to this file (.csv or .md).")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="METHOD", help="Compare with this method; by default the first of a sweep."),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Send to MLflow what it has not got yet.")] = False,
) -> None:
    """Write pages and tables again from what is on disk."""
    from ndm_apps import report, terminal
    from ndm_apps.records import domain_of

    for path in paths:
        if not path.is_dir():
            raise InputError(f"PATH: {path} is not a folder")
        if not any((path / name).is_file() for name in ("config.yaml", "sweep.json")) and not any(
            path.rglob("result.json")
        ):
            raise InputError(f"PATH: no run and no sweep in {path}")
    results = report.load_results(paths, terminal.warning)
    domains = sorted({domain_of(result.get("config") or {}) for result in results})
    if table is not None and len(domains) != 1:
        found = f"the runs found are of {len(domains)} domains ({', '.join(domains)})" if domains else "no finished run"
        raise InputError(f"--table: {found}, must be of one")
    for domain in domains:
        own = [r for r in results if domain_of(r.get("config") or {}) == domain]
        shown = report.compare(own)
        terminal.table(shown)
        if baseline is not None:
            terminal.differences(baseline, own)
        if table is not None:
            shown.save(table)
    for path in paths:
        if (path / "config.yaml").is_file():
            page = report.write_run_page(path)
        else:
            write = report.write_sweep if (path / "sweep.json").is_file() else report.write_sweep_page
            page = write(path, baseline=baseline)
        typer.echo(f"report: {page}")
    if log and not _send(paths):
        raise typer.Exit(1)


def ui(
    port: Annotated[int, typer.Option(metavar="N", help="Port on the loopback address.", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's own pages on the runs of this folder."""
    import subprocess

    from ndm_apps import tracking

    uri = tracking.default_uri(RESULTS)
    command = tracking.ui_command(uri, port=port)
    store = tracking.sqlite_path(uri)
    if store is not None and not store.exists():
        raise InputError(f"{store}: no runs here yet; `ndm run` makes the first one")
    typer.echo(f"MLflow at http://127.0.0.1:{port} in a few seconds (Ctrl-C ends it)")
    try:
        raise typer.Exit(subprocess.run(command, env=tracking.ui_environment(), check=False).returncode)
    except KeyboardInterrupt:  # the way to end it; the server has been told as well
        raise typer.Exit from None


def _send(paths: Sequence[Path]) -> bool:
    """Send runs to MLflow, those of a sweep nested under it, and return whether it now holds everything."""
    from ndm_apps import terminal, tracking
    from ndm_apps.sweep import send

    sent = [held for path in paths for held in send(path, warn=terminal.warning)]
    store = tracking.public_uri(tracking.default_uri(RESULTS))
    typer.echo(f"MLflow at {store} holds {sum(sent)} of {len(sent)} runs")
    return all(sent)
