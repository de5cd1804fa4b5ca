"""What MLflow has been told of a run folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.tracking.uri import SQLITE, default_uri, public_uri, sqlite_path

STATE_FILE = "tracking.json"
LOGS = {"metrics": "metrics.jsonl", "system": "system.jsonl"}  # logs of points, by the name of what was sent of them
TAIL = 4096  # bytes before the sent position that tell whether a log is still the file that was sent


class State:
    """What has been sent already, in the run folder; replaced atomically after every step that MLflow confirmed.

    Parameters
    ----------
    folder
        Folder of a run or a sweep.

    Raises
    ------
    InputError
        If its ``tracking.json`` is damaged.
    """

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
        write_text(self.path, json.dumps(self.data, indent=1))

    def is_current(self, uri: str) -> bool:
        """Whether a running run has nothing new: asked every few seconds, so it must cost nothing."""
        known = self.data.get("uri") == public_uri(uri) and self.data.get("status") == "RUNNING"
        return known and self.data.get("params", False) and all(self._is_sent(log) for log in LOGS)

    def _is_sent(self, log: str) -> bool:
        path = self.folder / LOGS[log]
        return (path.stat().st_size if path.exists() else 0) == self.data.get(log, {}).get("bytes", 0)


def is_behind(folder: Path | str) -> bool:
    """Whether a folder was sent to MLflow, but not to its end: its process died in the delivery."""
    try:
        state = State(Path(folder))
    except (InputError, OSError):
        return False
    return "run_id" in state.data and state.data.get("status") != "FINISHED"


def known_uri(state: State) -> str:
    """Return the user's tracking URI, else the local store that a folder was sent to before, else `default_uri`."""
    known = sqlite_path(state.data.get("uri", ""))
    if "MLFLOW_TRACKING_URI" not in os.environ and known is not None and known.exists():
        return f"{SQLITE}{known}"
    return default_uri()


def tail_digest(content: bytes, position: int) -> str:
    """Return a digest of the last bytes before a position."""
    return hashlib.sha256(content[max(0, position - TAIL) : position]).hexdigest()
