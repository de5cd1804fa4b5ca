"""The files of a run while it goes on: its claim on a folder, its log of metrics, its checkpoint."""

from __future__ import annotations

import fcntl
import hashlib
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
from ndm_apps.errors import BusyError, InputError
from ndm_apps.files import is_temporary, remove_temporaries, write_text
from ndm_apps.interruption import Interruption
from ndm_apps.yaml_source import read_yaml

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
    return is_temporary(path, CONFIG) or (path.name == METRICS and path.stat().st_size == 0)


def _unusable(out: Path, error: OSError) -> InputError:
    return InputError(f"--out: {out} cannot be written ({(error.strerror or str(error)).lower()})")


def read_result(out: Path) -> dict[str, Any]:
    """Return ``result.json`` of a complete run.

    Raises
    ------
    InputError
        If the file is damaged, or is that of another run than ``config.yaml`` beside it.
    """
    file = out / RESULT
    advice = "delete it to have it written again (--resume)"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged (not JSON); {advice}") from error
    config = load_config(out / CONFIG)
    expected = {"task": config.task_name, "method": config.run.method, "seed": config.run.seed}
    if not isinstance(values, dict) or {key: values.get(key) for key in expected} != expected:
        raise InputError(f"{file}: not the result of {CONFIG} beside it; {advice}")
    return values


def read_state(out: Path) -> dict[str, Any]:
    """Return what :class:`RunCheckpoint` saved in the folder of a run.

    Raises
    ------
    InputError
        If there is none, or it is damaged, something else's, or of another run than ``config.yaml`` beside it.
    """
    state = load_state(out / STATE)
    if not isinstance(state, dict) or state.get("config") != config_digest(out):
        raise InputError(f"{out / STATE}: not a checkpoint of the run that {CONFIG} beside it describes")
    return state


def config_digest(out: Path) -> str:
    """Return a digest of what ``config.yaml`` says, whatever later versions of the program make of it."""
    return hashlib.sha256(dump_yaml(read_yaml(out / CONFIG).data).encode()).hexdigest()


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
        If the folder cannot be written.
    BusyError
        If another process runs in it.
    """

    def __init__(self, config: Config, out: Path) -> None:
        self._out = out
        self._made: list[Path] = []
        try:
            self._made = [folder for folder in (out, *out.parents) if not folder.exists()]
            out.mkdir(parents=True, exist_ok=True)
            self.metrics = MetricsLog(out / METRICS)
            for folder in (out, (out / STATE).parent, out / "figures"):
                remove_temporaries(folder)
            self.is_new = not (out / CONFIG).exists()
            if self.is_new:
                write_text(out / CONFIG, dump_yaml(config.resolved()))
        except OSError as error:
            # An empty log may stay behind on a full disk; it does not keep a later run out.
            self._remove(self._made)
            raise _unusable(out, error) from error

    def withdraw(self) -> None:
        """Remove what the claim wrote, if it made the run and nothing has come of it: wrong input leaves nothing."""
        if self.is_new and not self.metrics.used and not (self._out / STATE).exists():
            with suppress(OSError):  # a disk that has become read-only
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
        self._is_cut, self.used = False, False
        self.on_first: Callable[[], None] = lambda: None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_taken = not path.exists() or not os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        except BlockingIOError:
            is_taken = True
        except OSError:
            is_taken = False  # a file system without locks
        if is_taken:  # by a process that runs, or by one that has removed its file since it was opened here
            self._file.close()
            raise BusyError(f"--out: another process runs in {path.parent} right now; choose another folder")

    def log(self, name: str, value: float, step: int) -> None:
        """Append one value of a metric; what an earlier sitting logged is dropped unless :meth:`cut` kept it."""
        if not self.used:
            if not self._is_cut:
                self.cut(0)
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
        self._is_cut = True

    def close(self) -> None:
        """Close the file and let other processes have it."""
        with suppress(OSError):  # a full disk; what matters was secured, and failed there
            self._file.close()


class RunCheckpoint:
    """The checkpoint of a run: the plugin's state, all random-number states, and how much had been logged.

    Parameters
    ----------
    out
        Folder of the run.
    every
        Steps between checkpoints; 0 for none but the last.
    metrics
        The log that is cut back when the run resumes.
    interruption
        A signal that asks for a checkpoint, and ends the run when it is saved.
    """

    def __init__(self, out: Path, every: int, metrics: MetricsLog, interruption: Interruption) -> None:
        self._out, self._every, self._metrics, self._interruption = out, every, metrics, interruption
        self._digest = config_digest(out)
        self._began, self._before = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Return the time spent on the run, earlier sittings included."""
        return self._before + time.monotonic() - self._began

    def due(self, step: int) -> bool:
        """Whether the state should be saved after ``step`` steps."""
        self._interruption.hold()  # a plugin that asks can save its state whenever it is asked to
        return self._interruption.pending or (self._every > 0 and step % self._every == 0)

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Save the state atomically."""
        whole = {
            "plugin": dict(state),
            "random": random_states(),
            "metrics": self._metrics.secure(),
            "seconds": self.seconds(),
            "step": step,
            "config": self._digest,
        }
        save_state(self._out / STATE, whole)
        self._interruption.release()

    def load(self) -> dict[str, Any] | None:
        """Return the plugin's last saved state, with random-number states restored; None if there is none."""
        if not (self._out / STATE).exists():
            return None
        whole = read_state(self._out)
        self._metrics.cut(whole["metrics"])
        restore_random_states(whole["random"])
        self._before = whole["seconds"]
        return whole["plugin"]
