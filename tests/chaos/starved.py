"""Faults of the second kind: a disk that is full or read-only, a clock that jumps."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.chaos.killed import LOG, MIDDLE, PLUGINS, SAVE, Fault
from tests.chaos.moments import Fill, Jump, Moment, ReadOnly
from tests.chaos.verdict import Verdict, strike

SIZE = "24m"
DAY, YEAR = 86_400.0, 31_557_600.0


def can_mount() -> bool:
    """Whether this process may mount disks of its own."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/proc/mounts").exists()


@contextmanager
def small_disk(here: Path) -> Iterator[Path]:
    """Mount a disk of 24 MB, with the folder ``run`` of ``here`` on it."""
    disk = here / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], check=True)
    try:
        (disk / "run").mkdir()
        (here / "run").symlink_to(disk / "run")
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def full_moments(plugin: str, disk: Path) -> dict[str, Moment]:
    """Return when the disk of a run of a plugin is full, in words."""
    return {
        "before it begins": Moment("ndm_apps.run:Claim", Fill(disk)),
        "at a checkpoint": Moment(SAVE, Fill(disk, spare=4096), MIDDLE[plugin]),
        "at its result": Moment("ndm_apps.run:write_result", Fill(disk)),
        "at its page": Moment("ndm_apps.report:write_run_page", Fill(disk)),
    }


def full(here: Path, plugin: str, name: str) -> Verdict:
    """Let a run find its disk full, make room, and let it go on."""
    with small_disk(here) as disk:
        moment = full_moments(plugin, disk)[name]
        free = partial((disk / "filler").unlink, missing_ok=True)
        says = ("error: --out: run cannot be written", "no space left on device")
        return strike(here, plugin, moment, status=2, says=says, repair=free)


def read_only(here: Path, plugin: str, moment: Moment | None) -> Verdict:
    """Let the disk be read-only at a moment of a run, or before it; then not any more, and let the run go on."""
    with small_disk(here) as disk:
        if moment is None:
            ReadOnly(disk)()
        again = partial(subprocess.run, ["umount", str(disk)], check=True)
        says = ("error: --out: run cannot be written", "read-only file system")
        moments = () if moment is None else (moment,)
        return strike(here, plugin, *moments, status=2, says=says, repair=again)


def starvation(here: Path) -> Iterator[Fault]:
    """Yield the faults of disks, where they can be mounted."""
    if not can_mount():
        return
    disk = here / "disk"
    for plugin in PLUGINS:
        for name in full_moments(plugin, disk):
            if plugin in ("continual", "supervised") or name == "at its result":
                yield f"a run finds its disk full {name}", plugin, partial(full, here, plugin, name)
    yield "a read-only folder before a run begins", "continual", partial(read_only, here, "continual", None)
    for plugin in PLUGINS:
        moment = Moment("ndm_apps.run:write_result", ReadOnly(disk))
        yield "a folder that becomes read-only before the result", plugin, partial(read_only, here, plugin, moment)


def clocks(here: Path) -> Iterator[Fault]:
    """Yield jumps of the clock in the middle of a run: it ends as if nothing had been."""
    for plugin in ("continual", "supervised"):
        for name, seconds in (("ten years forward", 10 * YEAR), ("a day back", -DAY)):
            moment = Moment(LOG, Jump(seconds), 3, after=True)
            yield f"the clock jumps {name}", plugin, partial(strike, here, plugin, moment, status=0)
