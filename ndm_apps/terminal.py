"""What the command line shows: tables on standard output; progress, warnings and failures on standard error.

No text of the user's is taken for markup, and no line is broken that somebody might copy.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from ndm_apps.report import Table

_DIGITS = 4


def table(shown: Table) -> None:
    """Print a summary table."""
    Console().print(shown.to_rich())


def differences(baseline: str, results: Sequence[dict[str, Any]]) -> None:
    """Print the paired differences of runs to those of a method, task by task."""
    from ndm_apps.report import differences_to

    for task, shown in differences_to(baseline, results).items():
        if shown.rows:
            print(f"{task}, less {baseline}: mean [95 % interval], p (paired t, Holm)")
            table(shown)


def values(found: Mapping[str, Any]) -> None:
    """Print results: a list of records as one line a record, numbers with four digits."""
    for name, value in found.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            print(f"{name}:")
            for number, item in enumerate(value, start=1):
                print(f"  {number}. " + ", ".join(f"{key.replace('_', ' ')} {_short(v)}" for key, v in item.items()))
        else:
            print(f"{name}: {_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]"
    return "–" if value is None else str(value)


def warning(text: str) -> None:
    """Print a warning."""
    _tell("warning", "yellow", text)


def failure(label: str, reason: str) -> None:
    """Print why a run has no result."""
    _tell(f"failed: {label}", "red", reason)


def interrupted(command: Sequence[str]) -> None:
    """Print the command that goes on with what Ctrl-C has stopped."""
    _tell("interrupted", "yellow", f"go on with\n  {shlex.join(command)}")


def _tell(heading: str, style: str, text: str) -> None:
    line = Text.assemble((f"{heading}: ", style), text)
    Console(stderr=True, highlight=False, emoji=False).print(line, soft_wrap=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar, where somebody looks, and yield the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task(title, total=None, text="")
        yield lambda done, total, text: bar.update(line, completed=done, total=total, text=text)
