"""Sittings: the command line in a process of its own, forked from one that has imported everything already."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.chaos.moments import Moment

PRELOADED = [
    "ndm_apps.run",
    "ndm_apps.sweep",
    "ndm_apps.plugins.continual.run",
    "ndm_apps.plugins.physics.run",
    "ndm_apps.plugins.planning.run",
    "ndm_apps.plugins.supervised.run",
    "tests.chaos.moments",
]
LONGEST = 300.0  # seconds of a sitting

_context = multiprocessing.get_context("forkserver")


class Ended(NamedTuple):
    """How a sitting has ended: its exit status (negative: the signal that ended it) and what it printed."""

    status: int
    printed: str


def sit(arguments: Sequence[str], *moments: Moment, here: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run ``ndm`` with some arguments in the folder ``here``, its moments armed; a sitting without end is an error."""
    _context.set_forkserver_preload(PRELOADED)
    printed = here / "printed.txt"
    process = _context.Process(target=_sitting, args=(list(arguments), moments, here, dict(environment or {})))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError(f"ndm {' '.join(arguments)} did not end within {LONGEST:g} s")
    return Ended(process.exitcode, printed.read_text())


def _sitting(arguments: list[str], moments: Sequence[Moment], here: Path, environment: dict[str, str]) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", **environment}
    os.chdir(here)
    with (here / "printed.txt").open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    from ndm_apps.cli import main

    for moment in moments:
        moment.arm()
    try:
        main(arguments)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
