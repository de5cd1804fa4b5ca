"""The driver of many runs: hands them to workers, keeps account, and writes the table and page of the whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, final

from ndm_apps import report, tracking
from ndm_apps.errors import InputError
from ndm_apps.interruption import Interruption
from ndm_apps.plugins.base import Plugin
from ndm_apps.sweep.delivery import send
from ndm_apps.sweep.folder import SweepFolder, unwritable
from ndm_apps.sweep.members import Member
from ndm_apps.sweep.pool import OwnProcess, Pool, Processes
from ndm_apps.sweep.worker import Job, Outcome

POLL_SECONDS = 1.0  # between looks at runs that another process has in hand


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: runs in all, with a result, failed, running, in the hands of others; seconds left, if known.

    >>> print(Progress(total=40, done=10, failed=1, running=2, seconds_left=200.0))
    2 running, 1 failed, about 3 min left
    """

    total: int
    done: int = 0
    failed: int = 0
    running: int = 0
    elsewhere: int = 0
    seconds_left: float | None = None

    def __str__(self) -> str:
        counts = ((self.running, "running"), (self.failed, "failed"), (self.elsewhere, "run by another process"))
        parts = [f"{count} {word}" for count, word in counts if count]
        if self.seconds_left is not None and self.running:
            parts.append(f"about {_duration(self.seconds_left)} left")
        return ", ".join(parts)


def _duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> _duration(40.0), _duration(200.0), _duration(9000.0)
    ('40 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def sweep(
    runs: Sequence[Member],
    out: Path,
    *,
    jobs: int | None = 1,
    ray: str | None = None,
    track: bool = True,
    command: Sequence[str] = (),
    baseline: str | None = None,
    warn: Callable[[str], None] = print,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> list[Outcome]:
    """Run every member in ``out/<label>`` and write the table and page of the whole.

    A member that is complete on disk is not run again, one that was cut off resumes, and one that fails does not stop
    the others. One that another process has in hand is left to it, so several drivers share the work in one folder.
    One thread each, so results do not depend on ``jobs``, on the machine's cores, or on the order.

    Parameters
    ----------
    runs
        The members, see :func:`members`.
    out
        Folder of the sweep.
    jobs
        Runs at a time; None for as many as a Ray cluster has processors. With more than one, worker processes import
        the main module: a script keeps what it does under ``if __name__ == "__main__":``.
    ray
        Address of a Ray cluster that does the runs, or ``"local"`` to start one on this machine.
    track
        Send the runs to MLflow, nested under one parent.
    command
        The words that repeat the sweep, for its page.
    baseline
        The method with which the page compares the others.
    warn, progress
        Called with a warning, and after each change of what is done and running.

    Returns
    -------
    list of Outcome
        In the order of ``runs``.

    Raises
    ------
    InputError
        If the folder cannot be used, a worker does not see it, or every member was refused for the same reason.
    """
    first = runs[0].config.plugin
    with open_pool(ray, jobs, len(runs), first.entry, track) as pool:
        folder = SweepFolder(out, {"command": list(command), "baseline": baseline})
        with Interruption(), Sitting(folder, pool, first, len(runs), track, warn, progress) as sitting:
            return sitting.perform(runs)


def open_pool(ray: str | None, jobs: int | None, most: int, entry: str, track: bool) -> Pool:
    """Return the workers for at most ``most`` runs: a Ray cluster's, processes, or for one at a time this process."""
    if ray is not None:
        from ndm_apps.sweep.cluster import Cluster

        return Cluster(ray, jobs)
    size = min(jobs or 1, most)
    return Processes(size, entry, track) if size > 1 else OwnProcess()


@final
class Sitting:
    """A driver at work in the folder of a sweep: its workers, its MLflow run, its table and page.

    Parameters
    ----------
    folder
        The folder.
    pool
        The workers.
    plugin
        The plugin of the runs.
    total
        Number of runs that will be asked for.
    track, warn, progress
        As in :func:`sweep`.
    """

    def __init__(
        self,
        folder: SweepFolder,
        pool: Pool,
        plugin: Plugin,
        total: int,
        track: bool,
        warn: Callable[[str], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self._folder, self._pool, self._warn, self._tell = folder, pool, warn, progress
        self._parent = tracking.start_parent(folder.path, plugin.domain, on_warning=warn) if track else None
        # An SQLite store belongs to one machine: what others run is sent to it from here, when all is done.
        is_local = tracking.sqlite_path(tracking.default_uri()) is not None
        self._sends_later = self._parent is not None and is_local and not pool.is_one_machine
        self._now, self._worked, self._began = Progress(total), 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and self._now.done:
            try:
                report.write_sweep(self._folder.path)
            except OSError as problem:
                raise unwritable(self._folder.path, problem) from problem
            if self._sends_later:
                send(self._folder.path, warn=self._warn)
        if self._parent is not None:
            status = "FAILED" if self._now.failed else "FINISHED"
            tracking.finish_parent(self._folder.path, status="KILLED" if kind else status, on_warning=self._warn)
        if kind is not None and issubclass(kind, InputError):
            self._folder.withdraw()

    def perform(self, runs: Sequence[Member]) -> list[Outcome]:
        """Do some runs and return their outcomes in this order.

        Raises
        ------
        InputError
            If all were refused for the same reason, or a worker does not see the folder.
        """
        self._folder.plan([member.label for member in runs])
        outcomes = {outcome.label: outcome for outcome in self._ended(runs)}
        ordered = [outcomes[member.label] for member in runs]
        if all(outcome.refused for outcome in ordered) and len({outcome.reason for outcome in ordered}) == 1:
            raise InputError(ordered[0].reason)
        return ordered

    def _ended(self, runs: Sequence[Member]) -> Iterator[Outcome]:
        """Yield the outcomes as they come. A run that another process has in hand is looked at again later."""
        members = {member.label: member for member in runs}
        pending, elsewhere, running = deque(runs), deque[Member](), 0
        while pending or elsewhere or running:
            while pending and running < self._pool.size:
                running += 1
                self._told(running=running, elsewhere=len(elsewhere))
                self._pool.start(self._job(pending.popleft()))
            if not running:
                time.sleep(POLL_SECONDS)
                pending, elsewhere = elsewhere, pending
                continue
            outcome = self._pool.wait()
            running -= 1
            if outcome.busy:
                elsewhere.append(members[outcome.label])
                continue
            if outcome.result is None:
                self._folder.note_failure(outcome.label, outcome.reason)
            self._worked += not outcome.found
            done = outcome.result is not None
            self._told(
                running=running,
                elsewhere=len(elsewhere),
                done=self._now.done + done,
                failed=self._now.failed + (not done),
            )
            yield outcome

    def _job(self, member: Member) -> Job:
        track = self._parent is not None and not self._sends_later
        return Job(member, self._folder.path.absolute(), self._parent, track)

    def _told(self, **changes: int) -> None:
        """Tell how far the sweep is; the time left is estimated from the runs that were not found done."""
        now = replace(self._now, **changes)
        rest = now.total - now.done - now.failed
        left = (time.monotonic() - self._began) / self._worked * rest if self._worked else None
        self._now = replace(now, seconds_left=left)
        self._tell(self._now)
