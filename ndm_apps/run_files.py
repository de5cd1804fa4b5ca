"""The files of a run while it goes on: its claim on a folder, its log of metrics, its checkpoint."""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ndm_apps.config import Config, dump_yaml, load_config
from ndm_apps.engine.checkpoint import load_state, random_states, restore_random_states, save_state
from ndm_apps.errors import InputError
from ndm_apps.files import write_text

CONFIG, METRICS, RESULT, PAGE = "config.yaml", "metrics.jsonl", "result.json", "report.html"
STATE = "checkpoint/state.safetensors"
_FLUSH_SECONDS = 1.0


def is_complete(config: Config, out: Path, *, resume: bool) -> bool:
    """Whether a folder holds this very run, complete; nothing is written.

    Raises
    ------
    InputError
        If it holds another run, this one without ``resume`` being set, or something else.
    """
    try:
        if (out / CONFIG).exists():
            if not resume:
                raise InputError(f"--out: {out} holds a run already; add --resume to go on with it, or choose another")
            if load_config(out / CONFIG) != config:
                raise InputError(
                    f"--resume: {out} holds a run of another config (compare {out / CONFIG}); choose another --out"
                )
        elif out.exists() and any(not _is_ours(path) for path in out.iterdir()):
            raise InputError(f"--out: {out} is not empty and holds no run; choose another folder")
        return (out / RESULT).exists()
    except OSError as error:
        raise _unusable(out, error) from error


def _is_ours(path: Path) -> bool:
    """Whether a folder was cut off before its config was there: an empty log, or the config's temporary file."""
    return path.name.startswith(f".{CONFIG}-") or (path.name == METRICS and path.stat().st_size == 0)


def _unusable(out: Path, error: OSError) -> InputError:
    return InputError(f"--out: {out} cannot be written ({(error.strerror or str(error)).lower()})")


class Claim:
    """A folder that belongs to one run of one process, until it is released.

    Parameters
    ----------
    config
        The run.
    out
        Its folder, made if need be.

    Raises
    ------
    InputError
        If the folder cannot be written, or another process runs in it.
    """

    def __init__(self, config: Config, out: Path) -> None:
        self._out = out
        self._made: list[Path] = []
        try:
            self._made = [folder for folder in (out, *out.parents) if not folder.exists()]
            out.mkdir(parents=True, exist_ok=True)
            self.metrics = MetricsLog(out / METRICS)
            self._fresh = not (out / CONFIG).exists()
            if self._fresh:
                write_text(out / CONFIG, dump_yaml(config.resolved()))
            if not (out / STATE).exists():
                self.metrics.cut(0)
        except OSError as error:
            # An empty log may stay behind on a full disk; it does not keep a later run out.
            self._remove(self._made)
            raise _unusable(out, error) from error

    def withdraw(self) -> None:
        """Remove what the claim wrote, if it made the run and nothing has come of it: wrong input leaves nothing."""
        if self._fresh and not self.metrics.used and not (self._out / STATE).exists():
            (self._out / CONFIG).unlink(missing_ok=True)
            (self._out / METRICS).unlink(missing_ok=True)
            self._remove(self._made)

    @staticmethod
    def _remove(folders: Iterable[Path]) -> None:
        for folder in folders:
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()


class MetricsLog:
    """Appends metrics to a file of one JSON object per line; null stands for a value that is not finite.

    Only one process at a time can have the file open for this.

    Parameters
    ----------
    path
        The file, made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("ab")
        self._flushed = time.monotonic()
        self.used = False
        self.on_first: Callable[[], None] = lambda: None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"--out: another process runs in {path.parent} right now; choose another folder") from None
        except OSError:
            pass  # a file system without locks

    def log(self, name: str, value: float, step: int) -> None:
        """Append one value of a metric."""
        if not self.used:
            self.used = True
            self.on_first()
        number = float(value)
        line = {
            "name": name,
            "value": number if math.isfinite(number) else None,
            "step": int(step),
            "time": round(time.time(), 3),
        }
        self._file.write(json.dumps(line).encode() + b"\n")
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def secure(self) -> int:
        """Bring everything to disk for good and return the length of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def cut(self, length: int) -> None:
        """Drop what was logged after a checkpoint that the run now goes back to.

        Raises
        ------
        InputError
            If the file is shorter than it was then.
        """
        self._file.flush()
        if self._path.stat().st_size < length:
            raise InputError(f"{self._path}: shorter than at its checkpoint, so the run cannot go on")
        self._file.truncate(length)
        self._file.seek(length)

    def close(self) -> None:
        """Close the file and let other processes have it."""
        self._file.close()


class RunCheckpoint:
    """The checkpoint of a run: the plugin's state, all random-number states, and how much had been logged.

    Parameters
    ----------
    path
        File of the state.
    every
        Steps between checkpoints; 0 for none but the last.
    metrics
        The log that is cut back when the run resumes.
    """

    def __init__(self, path: Path, every: int, metrics: MetricsLog) -> None:
        self._path, self._every, self._metrics = path, every, metrics
        self._began, self._before = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Return the time spent on the run, earlier sittings included."""
        return self._before + time.monotonic() - self._began

    def due(self, step: int) -> bool:
        """Whether the state should be saved after ``step`` steps."""
        return self._every > 0 and step % self._every == 0

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Save the state atomically."""
        whole = {
            "plugin": dict(state),
            "random": random_states(),
            "metrics": self._metrics.secure(),
            "seconds": self.seconds(),
            "step": step,
        }
        save_state(self._path, whole)

    def load(self) -> dict[str, Any] | None:
        """Return the plugin's last saved state, with random-number states restored; None if there is none."""
        if not self._path.exists():
            return None
        whole = load_state(self._path)
        self._metrics.cut(whole["metrics"])
        restore_random_states(whole["random"])
        self._before = whole["seconds"]
        return whole["plugin"]
