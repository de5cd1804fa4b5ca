"""Keeping other processes out of a folder, and how long to wait for those that are in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_SECONDS = 5.0  # how long another process may hold the store or the run folder before a delivery is put off


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
