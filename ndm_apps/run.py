"""One run: a folder that is written as the run goes on, each file complete or absent, and that can be resumed."""

from __future__ import annotations

import dis
import errno
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ndm_apps import provenance, report, run_together, tracking
from ndm_apps.config import Config, load_config
from ndm_apps.errors import BusyError, InputError
from ndm_apps.files import write_text
from ndm_apps.interruption import Interruption
from ndm_apps.plugins.base import Result, RunContext, resolve
from ndm_apps.run_files import (
    CONFIG,
    PAGE,
    RESULT,
    STATE,
    Claim,
    RunCheckpoint,
    is_complete,
    read_result,
    read_state,
)
from ndm_apps.run_results import as_json, export_model, write_figures, write_result

__all__ = ["RESULT", "default_folder", "execute", "inspect_run", "seed_everything"]

Progress = Callable[[int, int, str], None]

INTERRUPTED = "interrupted; the run stops as soon as it has saved (interrupt it once more to stop it now)"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def default_folder(config: Config, results: Path) -> Path:
    """Return the folder of a new run, one that does not exist: ``<results>/runs/<domain>-<name>-<time>-<seed>``."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{config.name}-{stamp}-{config.run.seed}"
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(folder for folder in (results / "runs" / name for name in names) if not folder.exists())


def execute(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    track: bool = True,
    parent: str | None = None,
    progress: Progress = lambda done, total, text: None,
    warn: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
) -> dict[str, Any]:
    """Run a config in a folder and return its ``result.json``.

    Parameters
    ----------
    config
        What to run.
    out
        Folder of the run. It must be new or empty, unless ``resume`` is set.
    resume
        Go on from the last checkpoint in ``out``; a run that was complete is left as it is.
    track
        Send the run to MLflow in the background. A failure to do so is one warning, never an error.
    parent
        MLflow run of the sweep that this run belongs to.
    progress
        Called with samples done, samples in all, and a text.
    warn
        Called with a warning.

    Raises
    ------
    InputError
        If the folder holds another run or cannot be written, the device is not there, or the plugin refuses its data.
        A run that had not begun to log by then leaves nothing on disk and nothing in MLflow.
    KeyboardInterrupt
        At Ctrl-C or SIGTERM, once the state is saved if the plugin can save it at any time; see
        :class:`~ndm_apps.interruption.Interruption`.
    """
    workers = run_together.join(config)  # this process alone, unless torchrun started several
    if workers.rank == 0 and is_complete(config, out, resume=resume):
        values = _finished(config, out)
        if track and tracking.is_behind(out):  # cut off while it was sent
            tracking.sync(out, parent=parent, on_warning=warn)
        return values
    plugin_run = resolve(config.plugin.entry)  # before the clock starts: importing is not running
    device = _device(run_together.device_of(config, workers))
    provenance.reset_peak_memory()
    torch.set_num_threads(config.run.threads)
    seed_everything(config.run.seed)
    if workers.rank:  # the first process writes
        return run_together.follow(config, out, plugin_run, device, resume=resume)
    claim = Claim(config, out)
    delivery = _Delivery(tracking.Tracker(out, parent=parent, on_warning=warn) if track else None)
    claim.metrics.on_first = delivery.start
    try:
        if not claim.is_new and is_complete(config, out, resume=True):  # another process was faster
            return read_result(out)
        with _full_disk_as_input_error(out), Interruption(lambda: warn(INTERRUPTED)) as interruption:
            checkpoint = RunCheckpoint(out, config.run.checkpoint_every, claim.metrics, interruption)
            context = RunContext(
                seed=config.run.seed,
                device=device,
                dtype=config.run.dtype,
                evaluate=config.run.evaluate,
                log=claim.metrics.log,
                progress=progress,
                checkpoint=checkpoint,
            )
            with report.style(), _refusals_as_input_errors(config, plugin_run):
                outcome: Result = plugin_run(config.task, config.run.method, config.settings, context)
            interruption.hold()  # what is left takes a moment
            if track:
                export_model(outcome, out / "checkpoint")
            claim.metrics.secure()
            values = write_result(config, out, outcome, checkpoint.seconds())
            report.write_run_page(out)
            delivery.start()
    except InputError:
        claim.withdraw()
        raise
    finally:
        claim.metrics.close()
        delivery.finish()
    return values


def _finished(config: Config, out: Path) -> dict[str, Any]:
    """Return the result of a complete run; write the page that it was cut off from."""
    values = read_result(out)
    if not (out / PAGE).exists():
        with suppress(BusyError):  # the process that is about to write it
            claim = Claim(config, out)
            try:
                report.write_run_page(out)
            finally:
                claim.metrics.close()
    return values


def seed_everything(seed: int) -> None:
    """Seed all global random-number generators, and ask torch for algorithms that repeat to the bit."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def inspect_run(folder: Path) -> dict[str, Any]:
    """Look at the geometry that a run has learnt; add figures to its page and write ``inspect.json``.

    Raises
    ------
    InputError
        If the folder holds no run with a checkpoint, or its plugin has nothing to show for its method.
    """
    config = load_config(_run_file(folder, CONFIG))
    if not config.plugin.inspect:
        raise InputError(f"{folder}: the plugin {config.plugin.domain!r} has nothing to inspect")
    _run_file(folder, STATE)
    state = read_state(folder)["plugin"]
    inspect = resolve(config.plugin.inspect)
    # A run may be looked at on a machine that lacks the device it was made on.
    run = config.run if _is_available(config.run.device) else config.run.model_copy(update={"device": "cpu"})
    torch.set_num_threads(run.threads)
    seed_everything(run.seed)
    with report.style(), _refusals_as_input_errors(config, inspect):
        outcome: Result = inspect(config.task, run.method, config.settings, state, run)
    write_figures(folder, outcome, beside=True)
    write_text(folder / "inspect.json", as_json(outcome.values))
    report.write_run_page(folder)
    return outcome.values


class _Delivery:
    """A tracker that starts with the first metric, so that wrong input leaves no run in MLflow."""

    def __init__(self, tracker: tracking.Tracker | None) -> None:
        self._waiting, self._started = tracker, None

    def start(self) -> None:
        """Start, if that has not been done."""
        if self._waiting is not None:
            self._started, self._waiting = self._waiting.start(), None

    def finish(self) -> None:
        """Deliver the rest, if anything was ever to be delivered."""
        if self._started is not None:
            self._started.finish()


@contextmanager
def _full_disk_as_input_error(out: Path) -> Iterator[None]:
    """Tell in one line that a folder cannot be written any more; what has been saved in it stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--out: {out} cannot be written any more ({reason}); later, go on with --resume") from error


@contextmanager
def _refusals_as_input_errors(config: Config, entry: Callable[..., Any]) -> Iterator[None]:
    """Turn a ``ValueError`` with which our own code or the plugin's refuses a value into an ``InputError``.

    Every schema has been checked by then: what is refused comes from the user's data. A ``ValueError`` that a library
    raises, or that Python itself raises inside our code, is a fault of the program and keeps its traceback.
    """
    try:
        yield
    except ValueError as error:
        *_, last = _tracebacks(error)
        package = last.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        is_ours = package in ("ndm_apps", entry.__module__.partition(".")[0])
        if is_ours and dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS":
            raise InputError(f"{config.task_name}: {' '.join(str(error).split())}") from error
        raise


def _tracebacks(error: BaseException) -> Iterator[Any]:
    at = error.__traceback__
    while at is not None:
        yield at
        at = at.tb_next


def _run_file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise InputError(f"{folder}: no {name} there; a run folder is needed (results/runs/...)")
    return folder / name


def _is_available(device: str) -> bool:
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or torch.backends.mps.is_available()


def _device(name: str) -> str:
    if not _is_available(name):
        raise InputError(f"device: got {name!r}, but torch sees no such device here; cpu is always there")
    return name
