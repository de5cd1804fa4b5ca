"""What MLflow has been told of a run folder, and where MLflow's store is: the part of `tracking` without MLflow."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ndm_apps.errors import InputError

STATE_FILE = "tracking.json"
SQLITE = "sqlite:///"
BUSY_SECONDS = 5.0  # how long another process may hold the store or the run folder before a delivery is put off
KEY_LENGTH = 250  # MLflow's limit of names
TAIL = 4096  # bytes before the sent position that tell whether metrics.jsonl is still the file that was sent


def default_uri(results_dir: Path | str = "results") -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, else the SQLite store of a results folder.

    Parameters
    ----------
    results_dir
        Folder that holds, or will hold, ``mlflow.db`` and ``mlflow-artifacts/``.

    Returns
    -------
    str
        A tracking URI. Nothing is created.

    Examples
    --------
    >>> default_uri("/data/results") if "MLFLOW_TRACKING_URI" not in os.environ else "sqlite:////data/results/mlflow.db"
    'sqlite:////data/results/mlflow.db'
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(results_dir).absolute() / 'mlflow.db'}"


def public_uri(uri: str) -> str:
    """Return the URI without user name and password: it is written to disk and shown."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class State:
    """What has been sent already, in the run folder; replaced atomically after every step that MLflow confirmed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.data = folder, folder / STATE_FILE, {}
        if self.path.exists():
            try:
                self.data = dict(json.loads(self.path.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                raise InputError(f"{self.path} is damaged: delete it to send the run as a new one") from None

    def save(self, **changes: Any) -> None:
        """Note that ``changes`` have been sent."""
        self.data.update(changes)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".tracking-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(self.data, stream, indent=1)
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def is_current(self, uri: str) -> bool:
        """Whether a running run has nothing new: asked every few seconds, so it must cost nothing."""
        metrics = self.folder / "metrics.jsonl"
        size = metrics.stat().st_size if metrics.exists() else 0
        sent = self.data.get("metrics", {}).get("bytes", 0)
        known = self.data.get("uri") == public_uri(uri) and self.data.get("status") == "RUNNING"
        return known and size == sent and self.data.get("params", False)


def known_uri(state: State) -> str:
    """Return the user's tracking URI, else the local store that a folder was sent to before, else `default_uri`."""
    known = sqlite_path(state.data.get("uri", ""))
    if "MLFLOW_TRACKING_URI" not in os.environ and known is not None and known.exists():
        return f"{SQLITE}{known}"
    return default_uri()


def sqlite_path(uri: str) -> Path | None:
    """Return the file that an SQLite URI names, or None."""
    name = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(name) if uri.startswith(SQLITE) and name not in ("", ":memory:") else None


def is_store(database: Path) -> bool:
    """Whether the file is a migrated store; raises sqlite3.DatabaseError if it is no database."""
    if not database.exists() or database.stat().st_size == 0:
        return False
    connection = sqlite3.connect(database, timeout=BUSY_SECONDS)
    try:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    finally:
        connection.close()
    return found is not None


def check_writable(database: Path) -> None:
    """Fail within `BUSY_SECONDS` if the store is locked or read-only: MLflow itself would try for minutes."""
    connection = sqlite3.connect(database, timeout=BUSY_SECONDS)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


@contextmanager
def folder_lock(folder: Path, timeout: float | None = None) -> Iterator[None]:
    """Keep other processes and threads out of a folder. The lock is on the folder itself and leaves no file behind."""
    handle = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + (BUSY_SECONDS if timeout is None else timeout)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process works on folder {folder.name!r}") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def tail_digest(content: bytes, position: int) -> str:
    """Return a digest of the last bytes before a position."""
    return hashlib.sha256(content[max(0, position - TAIL) : position]).hexdigest()


def read_point(line: bytes) -> tuple[str, float, int, int] | None:
    """Read one line of metrics.jsonl; None if a crash left it damaged."""
    try:
        read = json.loads(line)
        value = float("nan") if read["value"] is None else float(read["value"])
        return metric_name(read["name"]), value, int(1000 * read["time"]), int(read["step"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def as_text(value: Any) -> str:
    """Return a string as it is and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def metric_name(name: str) -> str:
    """Return a name MLflow accepts: letters, digits and ``_-. :/``; no empty, ``.`` or ``..`` part of a path."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_-. :/") else "_" for c in str(name))[:KEY_LENGTH]
    return "/".join(part if part.strip(".") else f"_{part}" for part in clean.split("/") if part) or "_"
