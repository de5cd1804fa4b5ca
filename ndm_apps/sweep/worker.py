"""What a worker does: one run in its own folder, whose end, good or bad, is an outcome and never an exception."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndm_apps.errors import BusyError, InputError
from ndm_apps.sweep.members import Member


@dataclass(frozen=True)
class Job:
    """One run to be done: the member, the folder of its sweep, the sweep's MLflow run, and whether to send it there."""

    member: Member
    out: Path
    parent: str | None = None
    track: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    label
        Its folder name.
    result
        Its ``result.json``, or None.
    reason
        Why there is no result; beside a result, warnings.
    refused
        Whether the reason is wrong input, and nothing was written.
    busy
        Whether another process has the run in hand.
    found
        Whether the result was there before.
    """

    label: str
    result: dict[str, Any] | None
    reason: str = ""
    refused: bool = False
    busy: bool = False
    found: bool = False


def perform(job: Job) -> Outcome:
    """Do one run, or find it done.

    Raises
    ------
    InputError
        If this machine does not see the folder of the sweep: no run could be done here.
    """
    from ndm_apps.run import RESULT, execute

    label, folder = job.member.label, job.out / job.member.label
    _require_shared(job)
    existed, found = folder.exists(), (folder / RESULT).exists()
    warnings: list[str] = []
    try:
        result = execute(
            job.member.config, folder, resume=True, track=job.track, parent=job.parent, warn=warnings.append
        )
    except BusyError as error:
        return Outcome(label, None, str(error), busy=True)
    except InputError as error:
        return Outcome(label, None, str(error), refused=existed or not folder.exists())
    except (Exception, SystemExit) as error:  # told in the list of outcomes; the other runs go on
        return Outcome(label, None, _reason(error))
    return Outcome(label, result, "; ".join(warnings), found=found)


def _require_shared(job: Job) -> None:
    try:
        planned = json.loads((job.out / "sweep.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        planned = ()
    if job.member.label not in planned:
        raise InputError(
            f"--out: {socket.gethostname()} does not see the sweep in {job.out}: "
            "its folder must lie on a file system that all workers share"
        )


def _reason(error: BaseException) -> str:
    """Return an error in one line, with the place in the program where it came up."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at is not None else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
