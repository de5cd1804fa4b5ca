"""The command ``ndm``.

Heavy packages are imported inside the commands that need them: ``ndm --help``, ``list`` and ``check`` import neither
torch nor MLflow.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndm_apps import __version__
from ndm_apps.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from ndm_apps.config import Config
    from ndm_apps.sweep import Member, Outcome

RESULTS = Path("results")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Networks that learn their own Riemannian geometry: continual learning, discovery, planning.",
)

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="Path of a config, or a shipped name.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=v", help="Override a key of the config; may be repeated.")
]
NoTrackOption = Annotated[bool, typer.Option("--no-track", help="Do not record the run in MLflow.")]


def main() -> None:
    """Run the command line: wrong input is one line and exit status 2, Ctrl-C is status 130."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ndm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None: ...


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="tasks, configs or plugins; all if left out.")] = "all",
) -> None:
    """List the shipped tasks and configs, and the installed plugins."""
    from ndm_apps import shipped
    from ndm_apps.plugins import base

    if kind not in ("all", "tasks", "configs", "plugins"):
        raise InputError(f"KIND: got {kind!r}, must be tasks, configs or plugins")
    if kind in ("all", "plugins"):
        for plugin in base.plugins().values():
            typer.echo(f"plugin  {plugin.domain}: {plugin.summary}; methods: {', '.join(plugin.methods)}")
    for name in shipped.names("tasks") if kind in ("all", "tasks") else ():
        typer.echo(f"task    {name}")
    for name in shipped.names("configs") if kind in ("all", "configs") else ():
        typer.echo(f"config  {name}")


@app.command()
def check(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG...", help="Configs or task files, by path or shipped name.")],
    set_: SetOption = None,
) -> None:
    """Validate configs and tasks without running anything."""
    wrong = 0
    for reference in configs:
        try:
            typer.echo(f"ok  {reference}  {_check(reference, set_ or [])}")
        except InputError as error:
            typer.echo(f"error: {error}", err=True)
            wrong += 1
    if wrong:
        raise typer.Exit(2)


def _check(reference: str, overrides: list[str]) -> str:
    from ndm_apps.config import load_config
    from ndm_apps.tasks import load_task
    from ndm_apps.yaml_source import read_yaml

    path = Path(reference)
    # A task file has a domain at its top; a config names its task.
    if reference.startswith("tasks/") or (path.is_file() and "domain" in read_yaml(path).data):
        if overrides:
            raise InputError(f"--set: {reference} is a task, only keys of a config can be overridden")
        name, task = load_task(reference)
        return f"(task {name}, domain {task.domain})"
    config = load_config(reference, overrides)
    return f"(config: task {config.task_name}, method {config.run.method}, seed {config.run.seed})"


@app.command()
def run(
    config: ConfigArgument,
    set_: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed; by default the config's.", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default a new one under results/runs.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out from its last checkpoint.")] = False,
    no_track: NoTrackOption = False,
) -> None:
    """Run a config once."""
    from ndm_apps.config import load_config

    overrides = [*(set_ or []), *([f"seed={seed}"] if seed is not None else [])]
    chosen = load_config(config, overrides)
    if resume and out is None:
        raise InputError("--resume: needs --out DIR, the folder of the run to go on with")
    console = _console()
    from ndm_apps import report
    from ndm_apps.run import default_folder, execute

    folder = out or default_folder(chosen, RESULTS)
    with _progress(console, f"{chosen.name} {chosen.run.method} seed {chosen.run.seed}") as progress:
        try:
            result = execute(
                chosen, folder, resume=resume, track=not no_track, progress=progress, warn=_warner(console)
            )
        except KeyboardInterrupt:
            console.print(f"[yellow]interrupted[/]; go on with: ndm run {config} {_again(overrides)}--resume --out {folder}")
            raise
    console.print(report.compare([result]).to_rich())
    console.print(f"{result.get('verdict', '')}\nreport: {folder / 'report.html'}", highlight=False)


@app.command()
def sweep(
    config: ConfigArgument,
    set_: SetOption = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, such as 0:5 or 0,3,7; by default the config's.")] = None,
    jobs: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; one that exists is completed.")] = None,
    table: Annotated[Path | None, typer.Option(help="Also write the table to this .csv file.")] = None,
    no_track: NoTrackOption = False,
) -> None:
    """Run methods x settings x seeds and compare them; `--set a.b=v1,v2` tries several values."""
    from ndm_apps.config import parse_seeds
    from ndm_apps.sweep import members

    runs = members(config, set_ or [], seeds=parse_seeds(seeds) if seeds else None)
    folder = out or RESULTS / "runs" / f"{runs[0].config.name}-sweep-{time.strftime('%Y%m%d-%H%M%S')}"
    if not _sweep(_console(), runs, folder, jobs=jobs, table=table, track=not no_track):
        raise typer.Exit(1)


@app.command()
def inspect(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Folder of a run.")],
) -> None:
    """Show the geometry that a run has learnt: its charts and their curvature."""
    from ndm_apps.run import inspect_run

    values = inspect_run(run_dir)
    for name, value in values.items():
        typer.echo(f"{name}: {value}")
    typer.echo(f"report: {run_dir / 'report.html'}")


@app.command("report")
def report_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Folders of runs or sweeps.")],
    table: Annotated[Path | None, typer.Option(help="Write the table of all runs found to this .csv file.")] = None,
    log: Annotated[bool, typer.Option("--log", help="Send to MLflow what it has not got yet.")] = False,
) -> None:
    """Write pages and tables again from what is on disk."""
    from ndm_apps import report

    console = _console()
    results = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"PATH: {path} is not a folder")
        if (path / "config.yaml").is_file():
            page = report.write_run_page(path)
        else:
            page = report.write_sweep_page(path)
        console.print(f"report: {page}", highlight=False)
        results += report.load_results([path])
    if not results:
        raise InputError(f"PATH: no finished run in {', '.join(map(str, paths))}")
    for domain in sorted({result["config"]["task"]["domain"] for result in results}):
        here = [result for result in results if result["config"]["task"]["domain"] == domain]
        shown = report.compare(here)
        console.print(shown.to_rich())
        if table is not None:
            shown.to_csv(table)
    if log and not _send(paths, console):
        raise typer.Exit(1)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on the loopback address.", min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow's own pages on the runs of this folder, on the loopback address."""
    import subprocess

    from ndm_apps import tracking

    command = tracking.ui_command(tracking.default_uri(RESULTS), port=port)
    typer.echo(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)")
    raise typer.Exit(subprocess.run(command, env=tracking.ui_environment(), check=False).returncode)


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="Data set to fetch; without it, list what is here.")] = None,
) -> None:
    """Tell which data sets are here, or fetch one into the user's cache."""
    from ndm_apps import datasets

    if name is None:
        for known, where in datasets.available().items():
            typer.echo(f"{known:15} {where}")
        typer.echo(f"looked in: {', '.join(map(str, datasets.search_path()))} (NDM_DATA sets the first)")
    elif name == "digits":
        typer.echo("digits ships with scikit-learn: nothing to fetch")
    else:
        typer.echo(f"{name} is in {datasets.fetch(name)}")


@app.command()
def demo(
    jobs: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; by default a new one under results/runs.")] = None,
) -> None:
    """Run each installed plugin's main job on small real data, next to its baselines."""
    from ndm_apps.plugins import base
    from ndm_apps.sweep import members

    console = _console()
    well = True
    folder = out or RESULTS / "runs" / f"demo-{time.strftime('%Y%m%d-%H%M%S')}"
    for plugin in base.plugins().values():
        for name in plugin.demo:
            console.rule(f"{name}: {plugin.summary}")
            well &= _sweep(console, members(name), folder / name.replace("/", "-"), jobs=jobs)
    console.print("All runs are in MLflow as well: `ndm ui` shows them.", highlight=False)
    if not well:
        raise typer.Exit(1)


def _sweep(
    console: Console,
    runs: Sequence[Member],
    folder: Path,
    *,
    jobs: int,
    table: Path | None = None,
    track: bool = True,
) -> bool:
    """Run a sweep with a progress bar, print its table, and return whether every run came through."""
    from ndm_apps import report
    from ndm_apps.sweep import sweep as run_all

    done: list[Outcome] = []  # as they come, for the progress bar
    with _progress(console, f"{runs[0].config.name}: {len(runs)} runs") as progress:
        progress(0, len(runs), "starting")

        def finished(outcome: Outcome) -> None:
            done.append(outcome)
            progress(len(done), len(runs), outcome.label)

        try:
            outcomes = run_all(runs, folder, jobs=jobs, track=track, warn=_warner(console), finished=finished)
        except KeyboardInterrupt:
            console.print(f"[yellow]interrupted[/]; give the same command with --out {folder} to go on")
            raise
    failed = [outcome for outcome in outcomes if outcome.result is None]
    for outcome in failed:
        console.print(f"[red]failed[/] {outcome.label}: {outcome.reason}", highlight=False)
    for reason in sorted({outcome.reason for outcome in outcomes if outcome.result is not None and outcome.reason}):
        console.print(f"[yellow]warning[/] {reason}", highlight=False)
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    if results:
        shown = report.compare(results)
        console.print(shown.to_rich())
        if table is not None:
            shown.to_csv(table)
    console.print(f"report: {folder / 'report.html'}", highlight=False)
    return not failed


def _send(paths: list[Path], console: Console) -> bool:
    from ndm_apps import tracking

    folders = [file.parent for path in paths for file in sorted(path.glob("**/metrics.jsonl"))]
    # Every folder is tried, also after one has failed.
    sent = [tracking.sync(folder, on_warning=_warner(console)) for folder in folders]
    console.print(f"MLflow holds {sum(sent)} of {len(folders)} runs")
    return all(sent)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _warner(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(f"[yellow]warning[/] {text}", highlight=False)


def _again(overrides: Sequence[str]) -> str:
    return "".join(f"--set {override} " for override in overrides)


@contextmanager
def _progress(console: Console, title: str) -> Iterator[Callable[[int, int, str], Any]]:
    """Show a progress bar and yield the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task(title, total=None, text="")
        yield lambda done, total, text: bar.update(line, completed=done, total=total, text=text)
