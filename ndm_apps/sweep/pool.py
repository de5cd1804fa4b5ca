"""Workers on this machine: the process itself for one run at a time, else one process for each run at a time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import Pipe, forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Protocol, Self, final

from ndm_apps.sweep.worker import Job, Outcome, perform

RETRIES = 3  # of a run whose worker was killed
LEAVE_SECONDS = 10.0  # for runs that are interrupted to end in order
IDLE_SECONDS = 60  # after which a worker without work ends; one whose driver is gone must not stay


class Pool(Protocol):
    """Workers that do runs; left by an exception, it interrupts them.

    Attributes
    ----------
    is_one_machine
        Whether all workers share this machine's files and stores.
    """

    is_one_machine: bool

    @property
    def size(self) -> int:
        """Runs at a time."""
        ...

    def start(self, job: Job) -> None:
        """Give one run to a worker that is free."""
        ...

    def wait(self) -> Outcome:
        """Return the outcome of the run that ends next."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the workers."""
        ...


@final
class OwnProcess:
    """One run at a time, in this process."""

    size = 1
    is_one_machine = True

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def start(self, job: Job) -> None:
        """Do the run."""
        self._outcomes.append(perform(job))

    def wait(self) -> Outcome:
        """Return the outcome of the run that was started."""
        return self._outcomes.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@final
class Processes:
    """Runs in processes that loky's executors hold, one each.

    An executor is broken as a whole when one of its processes is killed. With one process each it is known whose run
    has died: that run is tried again, :data:`RETRIES` times, and the others are not touched.

    Parameters
    ----------
    size
        Runs at a time.
    entry
        That of the plugin, imported while the driver is still busy with other things.
    track
        Whether runs will want MLflow.
    """

    is_one_machine = True

    def __init__(self, size: int, entry: str, track: bool) -> None:
        self.size = size
        context = _context(entry, track)
        self._idle = [_Worker(entry, context) for _ in range(size)]
        self._running: dict[Future[Outcome], tuple[_Worker, Job, int]] = {}

    def start(self, job: Job) -> None:
        """Give one run to a worker that is free."""
        self._start(self._idle.pop(), job, 1)

    def _start(self, worker: _Worker, job: Job, attempt: int) -> None:
        self._running[worker.submit(perform, job)] = worker, job, attempt

    def wait(self) -> Outcome:
        """Return the outcome of the run that ends next."""
        while True:
            future = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
            worker, job, attempt = self._running.pop(future)
            try:
                outcome = future.result()
            except BrokenProcessPool as error:
                worker.replace()
                if attempt <= RETRIES:
                    self._start(worker, job, attempt + 1)
                    continue
                outcome = Outcome(job.member.label, None, f"its worker died {attempt} times{_exit_codes(error)}")
            self._idle.append(worker)
            return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            for worker, *_ in self._running.values():
                worker.interrupt()
            wait(self._running, timeout=LEAVE_SECONDS)
        for worker in (*self._idle, *(worker for worker, *_ in self._running.values())):
            worker.end()


@final
class _Worker:
    """A process that does one thing after another; made anew after it has been killed."""

    def __init__(self, entry: str, context: BaseContext) -> None:
        self._entry, self._context = entry, context
        self.replace()

    def replace(self) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        # The process stops what it does when the other end is closed: by the driver, or by the driver's death.
        listening, self._line = Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            1,
            timeout=IDLE_SECONDS,
            context=self._context,
            initializer=_prepare,
            initargs=(listening, self._entry, dict(os.environ)),
        )

    def submit(self, function: Callable[[Job], Outcome], job: Job) -> Future[Outcome]:
        return self._executor.submit(function, job)

    def interrupt(self) -> None:
        self._line.close()

    def end(self) -> None:
        self._executor.shutdown(wait=False, kill_workers=True)
        self._line.close()


def _context(entry: str, track: bool) -> BaseContext:
    """Return how processes are made: on Linux by forks of one process that has imported what runs need, once for all.

    Elsewhere a fork of a process with PyTorch in it is not safe, and each process imports for itself.
    """
    if sys.platform != "linux":
        from joblib.externals.loky.backend import get_context as get_loky_context

        return get_loky_context("loky")
    context = get_context("forkserver")
    later = ["ndm_apps.tracking.ahead"] if track else []
    context.set_forkserver_preload(["ndm_apps.run", entry.partition(":")[0], *later])
    forkserver.ensure_running()
    return context


def _prepare(line: Connection, entry: str, environment: dict[str, str]) -> None:
    """Prepare a worker process: Ctrl-C is the driver's to pass on, and what runs need is imported once."""
    os.setsid()  # out of the terminal's group of processes
    os.environ.clear()  # that of the process forked from, as old as the first sweep of the driver
    os.environ.update(environment)

    def watch() -> None:
        with suppress(EOFError, OSError):
            line.recv()
        os.kill(os.getpid(), signal.SIGINT)  # the run ends in order, and can be resumed
        time.sleep(LEAVE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="ndm-driver-watch", daemon=True).start()
    import ndm_apps.run  # noqa: F401
    from ndm_apps.plugins.base import resolve

    with suppress(Exception):  # the first run tells it better
        resolve(entry)


def _exit_codes(error: Exception) -> str:
    """Return what loky tells of how the process ended, such as ``: SIGKILL(-9)``."""
    _, _, told = str(error).partition("exit codes of the workers are {")
    return f": {told.partition('}')[0]}" if told else ""
