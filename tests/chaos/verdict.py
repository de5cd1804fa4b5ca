"""What is asked after a fault: is a finished run lost, is anything half written, are the numbers the same."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.chaos.moments import Moment
from tests.chaos.runs import command, found, half_written, left_over
from tests.chaos.sittings import Ended, sit


@dataclass(frozen=True)
class Verdict:
    """What a fault has left.

    Attributes
    ----------
    hit
        Whether it struck as meant: the process died of it, or told of it in one line.
    lost
        Whether a run that was finished by then has not the same result afterwards.
    half
        Files under their final names that were not whole.
    same
        Whether the run went on to the numbers of an undisturbed one.
    told
        What was printed, if something is not as it should be.
    """

    hit: bool
    lost: bool
    half: tuple[str, ...]
    same: bool
    told: str = ""

    @property
    def survived(self) -> bool:
        """Whether all is as it should be."""
        return self.hit and not self.lost and not self.half and self.same


def strike(
    here: Path,
    plugin: str,
    *moments: Moment,
    status: int = -9,
    says: Sequence[str] = (),
    track: Sequence[str] = ("--no-track",),
    environment: dict[str, str] | None = None,
    repair: Callable[[], None] = lambda: None,
) -> Verdict:
    """Start a plugin's run in ``here``, let a fault strike it, ``repair`` what has to be, and let the run go on.

    The fault has hit if the first sitting ends with ``status`` and prints all of ``says``, without a traceback.
    """
    run = here / "run"
    arguments = command(plugin, *track)
    struck = sit(arguments, *moments, here=here, environment=environment)
    hit = struck.status == status and all(one in struck.printed for one in says) and "Traceback" not in struck.printed
    half = tuple(half_written(run)) if run.exists() else ()
    before = (run / "result.json").read_bytes() if (run / "result.json").exists() else None
    repair()
    again = sit(arguments, here=here, environment=environment)
    return judged(here, plugin, hit, half, before, struck, again)


def judged(
    here: Path, plugin: str, hit: bool, half: tuple[str, ...], before: bytes | None, struck: Ended, again: Ended
) -> Verdict:
    """Return the verdict on the folder ``run`` in ``here`` after its last sitting."""
    run = here / "run"
    whole = again.status == 0 and (run / "report.html").exists() and not half_written(run) and not left_over(run)
    lost = before is not None and (not (run / "result.json").exists() or (run / "result.json").read_bytes() != before)
    same = whole and found(run) == reference(plugin, here.parent / "reference")
    fine = hit and not lost and not half and same
    return Verdict(hit, lost, half, same, "" if fine else f"{struck.status} {struck.printed} / {again}")


@cache
def reference(plugin: str, folder: Path) -> dict[str, Any]:
    """Return what an undisturbed run finds; it is run once, in a folder of its own."""
    here = folder / plugin
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    ended = sit(command(plugin, "--no-track"), here=here)
    assert ended.status == 0, ended.printed
    return found(here / "run")
