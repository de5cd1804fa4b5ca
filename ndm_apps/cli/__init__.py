"""The command ``ndm``.

Heavy packages are imported inside the commands that need them: ``ndm --help``, ``list`` and ``check`` import neither
torch nor MLflow. Results go to standard output; progress, warnings and errors to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ndm_apps import __version__
from ndm_apps.cli import discover, look, new, pages, runs
from ndm_apps.cli.options import fail
from ndm_apps.errors import InputError

INTERRUPTED = 130

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: one line for one error, and nothing is taken for markup
    help="Networks that learn their own Riemannian geometry, and applications of that geometry.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: wrong input is one line and exit status 2, Ctrl-C is status 130."""
    try:
        status = app(args=None if arguments is None else list(arguments), prog_name="ndm", standalone_mode=False)
    except InputError as error:
        status = fail(str(error))
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
        status = fail(
            f"{error.format_message().rstrip('.')} (see: {context.command_path if context else 'ndm'} --help)"
        )
    sys.exit(status or 0)


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


# In the order of the help.
app.command("list")(look.list_)
app.command()(look.check)
app.command()(runs.run)
app.command()(discover.discover)
app.command()(runs.sweep)
app.command()(pages.inspect)
app.command("report")(pages.report_)
app.command()(pages.ui)
app.command()(look.data)
app.command()(runs.demo)
app.add_typer(new.app, name="new")
