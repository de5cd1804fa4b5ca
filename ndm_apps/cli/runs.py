"""The commands that run something: ``run``, ``sweep``, ``demo``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndm_apps.cli.options import (
    RESULTS,
    ConfigArgument,
    DeviceOption,
    JobsOption,
    NoTrackOption,
    SetOption,
    SystemMetricsOption,
    as_options,
)
from ndm_apps.errors import InputError

if TYPE_CHECKING:
    from ndm_apps.sweep import Member


def run(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed; by default the config's.", min=0)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default a new one in results/runs.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: DeviceOption = None,
    system_metrics: SystemMetricsOption = False,
    no_track: NoTrackOption = False,
) -> None:
    """Run a config, or all runs of one that lists several."""
    from ndm_apps.config import load_config

    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else []), *_device(device)]
    chosen = load_config(config, overrides)
    if chosen.run.sweep.tasks or chosen.run.sweep.variants:
        return sweep(config, overrides, jobs=1, out=out, system_metrics=system_metrics, no_track=no_track)
    if resume and out is None:
        raise InputError("--resume: needs --out DIR, the folder of the run to go on with")
    from ndm_apps import report, terminal, tracking
    from ndm_apps.run import default_folder, execute

    if system_metrics:
        tracking.request_system_metrics()
    folder = out or default_folder(chosen, RESULTS)
    title = f"{chosen.name} {chosen.run.method} seed {chosen.run.seed}"
    try:
        with terminal.progress(title) as progress:
            result = execute(
                chosen, folder, resume=resume, track=not no_track, progress=progress, warn=terminal.warning
            )
    except KeyboardInterrupt:
        terminal.interrupted(["ndm", "run", config, *as_options("--set", overrides), "--out", str(folder), "--resume",
                              *_flags(system_metrics, no_track)])  # fmt: skip
        raise
    terminal.table(report.compare([result]))
    if verdict := result.get("verdict"):
        typer.echo(verdict)
    typer.echo(f"report: {folder / 'report.html'}")


def sweep(
    config: ConfigArgument,
    set_: SetOption = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Such as 0:5 or 0,3,7; by default the config's.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Runs at a time; by default 2, on Ray one for each processor.", min=1),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on the Ray cluster at ADDRESS, such as auto or HOST:6379, or start one here: local. "
            "All its nodes must see the folder of the sweep: one file system for all.",
        ),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Search for good settings in the space of the config's search section."),
    ] = False,
    baseline: Annotated[
        str | None, typer.Option(metavar="METHOD", help="Method that the page compares the others with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the sweep; one that exists is completed.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table to this file (.csv or .md).")
    ] = None,
    device: DeviceOption = None,
    system_metrics: SystemMetricsOption = False,
    no_track: NoTrackOption = False,
) -> None:
    """Run methods x settings x seeds and compare them.

    Several values of a setting, as in --set a.b=v1,v2, are all tried. Runs that are complete are not run again, so the
    same command goes on with a sweep; two at a time share the work. Exit status 1: some run has failed.
    """
    from ndm_apps.config import parse_seeds

    _keep_to_one_thread()
    overrides = [*(set_ or []), *_device(device)]
    chosen_seeds = parse_seeds(seeds) if seeds is not None else None
    again = ["ndm", "sweep", config, *as_options("--set", overrides), *as_options("--seeds", [seeds] if seeds else []),
             *as_options("--jobs", [jobs] if jobs else []), *as_options("--ray", [ray] if ray else []),
             *(["--search"] if search else []), *as_options("--baseline", [baseline] if baseline else []),
             *as_options("--table", [table] if table else []), *_flags(system_metrics, no_track)]  # fmt: skip
    work = _Work(jobs if jobs or ray else 2, ray, track=not no_track, system_metrics=system_metrics, table=table)
    if search:
        if baseline is not None or table is not None:
            raise InputError("--search: writes its own table, trials.csv; leave --baseline and --table out")
        return _search(config, overrides, chosen_seeds, out, again, work)
    from ndm_apps.sweep import members

    runs = members(config, overrides, seeds=chosen_seeds)
    methods = list(dict.fromkeys(member.config.run.method for member in runs))
    if baseline is not None and baseline not in methods:
        raise InputError(f"--baseline: got {baseline!r}, must be a method of the sweep ({', '.join(methods)})")
    folder = out or _new_folder(f"{runs[0].config.name}-sweep")
    if not _sweep(runs, folder, [*again, "--out", str(folder)], work, baseline):
        raise typer.Exit(1)


def demo(
    jobs: JobsOption = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results; by default a new one in results/runs.")
    ] = None,
    no_track: NoTrackOption = False,
) -> None:
    """Run each plugin's main job, small and real, with baselines."""
    from ndm_apps.plugins import base

    _keep_to_one_thread()
    from ndm_apps.sweep import members

    well = True
    folder = out or _new_folder("demo")
    work = _Work(jobs, track=not no_track)
    again = ["ndm", "demo", "--jobs", str(jobs), "--out", str(folder), *_flags(False, no_track)]
    for plugin in base.plugins().values():
        for name in plugin.demo:
            typer.echo(f"{name}: {plugin.summary}")
            well &= _sweep(members(name), folder / name.replace("/", "-"), again, work)
    if not no_track:
        typer.echo("MLflow's view of the same runs: ndm ui")
    if not well:
        raise typer.Exit(1)


def _search(
    config: str, overrides: Sequence[str], seeds: Sequence[int] | None, out: Path | None, again: list[str], work: _Work
) -> None:
    """Search for settings with a progress bar, and print the best."""
    from ndm_apps import terminal, tracking
    from ndm_apps.sweep import plan_search
    from ndm_apps.sweep import search as search_all

    plan = plan_search(config, overrides, seeds)
    folder = out or _new_folder(f"{plan.config.name}-search")
    again = [*again, "--out", str(folder)]
    if work.system_metrics:
        tracking.request_system_metrics()
    try:
        with terminal.progress(f"{plan.config.name}: {plan.search.trials} trials") as show:
            found = search_all(
                plan, folder, jobs=work.jobs, ray=work.ray, track=work.track, command=again, warn=terminal.warning,
                progress=lambda now: show(now.done + now.failed, now.total, str(now)),
            )  # fmt: skip
    except KeyboardInterrupt:
        terminal.interrupted(again)
        raise
    failed = sum(not trial.scores for trial in found.trials)
    typer.echo(f"trials: {len(found.trials)} ({failed} failed), in {folder / 'trials.csv'}")
    typer.echo(f"best {found.column.heading} on held-out data: {found.best.value:{found.column.format}}")
    for key, value in found.best.settings.items():
        typer.echo(f"  {key}: {json.dumps(value)}")
    typer.echo(f"config: {found.config}")
    typer.echo(f"report: {folder / 'report.html'}")


@dataclass(frozen=True)
class _Work:
    """How many runs are done: at a time, where, with MLflow or without, and where else the table is written."""

    jobs: int | None
    ray: str | None = None
    track: bool = True
    system_metrics: bool = False
    table: Path | None = None


def _sweep(
    runs: Sequence[Member], folder: Path, again: Sequence[str], work: _Work, baseline: str | None = None
) -> bool:
    """Run a sweep with a progress bar, print its table, and return whether every run came through."""
    from ndm_apps import report, terminal, tracking
    from ndm_apps.sweep import sweep as run_all

    if work.system_metrics:
        tracking.request_system_metrics()
    try:
        with terminal.progress(f"{runs[0].config.name}: {len(runs)} runs") as show:
            outcomes = run_all(
                runs, folder, jobs=work.jobs, ray=work.ray, track=work.track, command=again, baseline=baseline,
                warn=terminal.warning, progress=lambda now: show(now.done + now.failed, now.total, str(now)),
            )  # fmt: skip
    except KeyboardInterrupt:
        terminal.interrupted(again)
        raise
    failed = [outcome for outcome in outcomes if outcome.result is None]
    for reason in dict.fromkeys(outcome.reason for outcome in outcomes if outcome.result is not None):
        if reason:
            terminal.warning(reason)
    for outcome in failed:
        terminal.failure(outcome.label, outcome.reason)
    results: list[dict[str, Any]] = [outcome.result for outcome in outcomes if outcome.result is not None]
    if results:
        shown = report.compare(results)
        terminal.table(shown)
        if baseline is not None:
            terminal.differences(baseline, results)
        if work.table is not None:
            shown.save(work.table)
        typer.echo(f"report: {folder / 'report.html'}")
    return not failed


def _keep_to_one_thread() -> None:
    """Keep numerical libraries to one thread, as the workers are: they read this when they are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _device(name: str | None) -> list[str]:
    return [] if name is None else [f"device={name}"]


def _flags(system_metrics: bool, no_track: bool) -> list[str]:
    return [*(["--system-metrics"] if system_metrics else []), *(["--no-track"] if no_track else [])]


def _new_folder(name: str) -> Path:
    return RESULTS / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
