"""The command ``ndm``.

Heavy packages are imported inside the commands that need them: ``ndm --help``, ``list`` and ``check`` import neither
torch nor MLflow. Results go to standard output; progress, warnings and errors to standard error.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndm_apps import __version__
from ndm_apps.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndm_apps.sweep import Member, Outcome

RESULTS = Path("results")
RUNS = RESULTS / "runs"
INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: one line for one error, and nothing is taken for markup
    help="Networks that learn their own Riemannian geometry, and applications of that geometry.",
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Path of a config, or a shipped name.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=v", help="Override a key of the config; may be repeated.")
]
JobsOption = Annotated[int, typer.Option(metavar="N", help="Runs at a time.", min=1)]
NoTrackOption = Annotated[bool, typer.Option("--no-track", help="Do not record anything in MLflow.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: wrong input is one line and exit status 2, Ctrl-C is status 130."""
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="ndm", standalone_mode=False)
    except InputError as error:
        status = _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:  # `ndm list | head`; nobody reads on, so nothing may be flushed at the end either
        sys.stdout = None
        status = 1
    except Exception as error:
        # A wrong option or argument. The class of it has moved between versions of typer, its method has not.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        status = _fail(
            f"{error.format_message().rstrip('.')} (see: {context.command_path if context else 'ndm'} --help)"
        )
    sys.exit(status or 0)


def _fail(text: str) -> int:
    typer.echo(f"error: {text}", err=True)
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ndm {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
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


@app.command()
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
            wrong = _fail(str(error))
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


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed; by default the config's.", min=0)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; by default a new one in results/runs.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    no_track: NoTrackOption = False,
) -> None:
    """Run a config, or all runs of one that lists several."""
    from ndm_apps.config import load_config

    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
    chosen = load_config(config, overrides)
    if chosen.run.sweep.tasks or chosen.run.sweep.variants:
        return sweep(config, overrides, jobs=1, out=out, no_track=no_track)
    if resume and out is None:
        raise InputError("--resume: needs --out DIR, the folder of the run to go on with")
    from ndm_apps import report, terminal
    from ndm_apps.run import default_folder, execute

    folder = out or default_folder(chosen, RESULTS)
    title = f"{chosen.name} {chosen.run.method} seed {chosen.run.seed}"
    try:
        with terminal.progress(title) as progress:
            result = execute(
                chosen, folder, resume=resume, track=not no_track, progress=progress, warn=terminal.warning
            )
    except KeyboardInterrupt:
        terminal.interrupted(["ndm", "run", config, *_options("--set", overrides), "--out", str(folder), "--resume",
                              *(["--no-track"] if no_track else [])])  # fmt: skip
        raise
    terminal.table(report.compare([result]))
    if verdict := result.get("verdict"):
        typer.echo(verdict)
    typer.echo(f"report: {folder / 'report.html'}")


@app.command()
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


@app.command()
def sweep(
    config: ConfigArgument,
    set_: SetOption = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="Such as 0:5 or 0,3,7; by default the config's.")
    ] = None,
    jobs: JobsOption = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the sweep; one that exists is completed.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table to this file (.csv or .md).")
    ] = None,
    no_track: NoTrackOption = False,
) -> None:
    """Run methods x settings x seeds and compare them.

    Several values of a setting, as in --set a.b=v1,v2, are all tried. Exit status 1: some run has failed.
    """
    from ndm_apps.config import parse_seeds
    from ndm_apps.sweep import members

    runs = members(config, set_ or [], seeds=parse_seeds(seeds) if seeds is not None else None)
    folder = out or _new_folder(f"{runs[0].config.name}-sweep")
    again = ["ndm", "sweep", config, *_options("--set", set_ or []), *_options("--seeds", [seeds] if seeds else []),
             "--jobs", str(jobs), "--out", str(folder), *_options("--table", [table] if table else []),
             *(["--no-track"] if no_track else [])]  # fmt: skip
    if not _sweep(runs, folder, again, jobs=jobs, table=table, track=not no_track):
        raise typer.Exit(1)


@app.command()
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


@app.command("report")
def report_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Folders of runs or sweeps, or folders above them.")
    ],
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table of all runs found to this file (.csv or .md).")
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
        shown = report.compare([r for r in results if domain_of(r.get("config") or {}) == domain])
        terminal.table(shown)
        if table is not None:
            shown.save(table)
    for path in paths:
        write = report.write_run_page if (path / "config.yaml").is_file() else report.write_sweep_page
        typer.echo(f"report: {write(path)}")
    if log and not _send(paths):
        raise typer.Exit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(metavar="N", help="Port on the loopback address.", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's own pages on the runs of this folder."""
    import subprocess

    from ndm_apps import tracking, tracking_state

    uri = tracking.default_uri(RESULTS)
    command = tracking.ui_command(uri, port=port)
    store = tracking_state.sqlite_path(uri)
    if store is not None and not store.exists():
        raise InputError(f"{store}: no runs here yet; `ndm run` makes the first one")
    typer.echo(f"MLflow at http://127.0.0.1:{port} in a few seconds (Ctrl-C ends it)")
    try:
        raise typer.Exit(subprocess.run(command, env=tracking.ui_environment(), check=False).returncode)
    except KeyboardInterrupt:  # the way to end it; the server has been told as well
        raise typer.Exit from None


@app.command()
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


@app.command()
def demo(
    jobs: JobsOption = 2,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results; by default a new one in results/runs.")
    ] = None,
    no_track: NoTrackOption = False,
) -> None:
    """Run each plugin's main job, small and real, with baselines."""
    from ndm_apps.plugins import base
    from ndm_apps.sweep import members

    well = True
    folder = out or _new_folder("demo")
    again = ["ndm", "demo", "--jobs", str(jobs), "--out", str(folder), *(["--no-track"] if no_track else [])]
    for plugin in base.plugins().values():
        for name in plugin.demo:
            typer.echo(f"{name}: {plugin.summary}")
            well &= _sweep(members(name), folder / name.replace("/", "-"), again, jobs=jobs, track=not no_track)
    if not no_track:
        typer.echo("MLflow's view of the same runs: ndm ui")
    if not well:
        raise typer.Exit(1)


def _sweep(
    runs: Sequence[Member],
    folder: Path,
    again: Sequence[str],
    *,
    jobs: int,
    table: Path | None = None,
    track: bool = True,
) -> bool:
    """Run a sweep with a progress bar, print its table, and return whether every run came through."""
    from ndm_apps import report, terminal
    from ndm_apps.sweep import sweep as run_all

    done: list[Outcome] = []  # as they come, for the progress bar
    try:
        with terminal.progress(f"{runs[0].config.name}: {len(runs)} runs") as progress:
            progress(0, len(runs), "")

            def finished(outcome: Outcome) -> None:
                done.append(outcome)
                progress(len(done), len(runs), outcome.label)

            outcomes = run_all(runs, folder, jobs=jobs, track=track, warn=terminal.warning, finished=finished)
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
        if table is not None:
            shown.save(table)
        typer.echo(f"report: {folder / 'report.html'}")
    return not failed


def _send(paths: Sequence[Path]) -> bool:
    """Send runs to MLflow, those of a sweep nested under it, and return whether it now holds everything."""
    from ndm_apps import terminal, tracking_state
    from ndm_apps.sweep import send

    sent = [held for path in paths for held in send(path, warn=terminal.warning)]
    store = tracking_state.public_uri(tracking_state.default_uri(RESULTS))
    typer.echo(f"MLflow at {store} holds {sum(sent)} of {len(sent)} runs")
    return all(sent)


def _new_folder(name: str) -> Path:
    return RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _options(name: str, values: Sequence[Any]) -> list[str]:
    return [word for value in values for word in (name, str(value))]
