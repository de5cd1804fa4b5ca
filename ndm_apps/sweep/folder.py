"""What the folder of a sweep records of itself: ``sweep.json``, which several drivers may write."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from ndm_apps.errors import InputError
from ndm_apps.files import is_temporary, write_text

RECORD = "sweep.json"


def unwritable(out: Path, error: OSError) -> InputError:
    """Return the error that tells that a folder cannot be written."""
    return InputError(f"--out: {out} cannot be written ({(error.strerror or str(error)).lower()})")


@final
class SweepFolder:
    """A folder of runs, with the list of them in ``sweep.json``: what is planned, what failed, what repeats it.

    Drivers that work in one folder at a time add their runs to the same list.

    Parameters
    ----------
    out
        The folder, made if need be.
    facts
        Further entries of ``sweep.json``, such as ``command``.

    Raises
    ------
    InputError
        If the folder cannot be written, or holds something else.
    """

    def __init__(self, out: Path, facts: Mapping[str, Any]) -> None:
        self.path = out
        self._file = out / RECORD
        if (out / "config.yaml").exists():
            raise InputError(f"--out: {out} is a run, not a sweep; choose another folder")
        self._made = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._is_new = not self._file.exists()
                if self._is_new and any(not is_temporary(path, RECORD) for path in out.iterdir()):
                    raise InputError(f"--out: {out} is not empty and holds no sweep; choose another folder")
                self._write({**self._read(), **facts})
        except OSError as error:
            raise unwritable(out, error) from error

    def plan(self, labels: Sequence[str]) -> None:
        """Add runs that this driver will do now to the list; what is known of their failure no longer counts.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        try:
            with self._locked():
                known = self._read()
                failed = {label: why for label, why in known.get("failed", {}).items() if label not in labels}
                runs = list(dict.fromkeys((*known.get("runs", ()), *labels)))
                self._write({**known, "runs": runs, "failed": failed})
        except OSError as error:
            raise unwritable(self.path, error) from error

    def note_failure(self, label: str, reason: str) -> None:
        """Record why a run has no result; on a disk that is full the record stays as it was."""
        with suppress(OSError), self._locked():
            known = self._read()
            self._write({**known, "failed": {**known.get("failed", {}), label: reason}})

    def withdraw(self) -> None:
        """Remove what a sweep of wrong input wrote, if it made the folder and no run has left anything in it."""
        if not self._is_new or any(path.is_dir() for path in self.path.iterdir()):
            return
        for name in (RECORD, "tracking.json"):
            (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            with suppress(OSError):  # somebody else's file is in there
                folder.rmdir()

    def _read(self) -> dict[str, Any]:
        if not self._file.exists():
            return {}
        try:
            read = json.loads(self._file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{self._file} is damaged ({error}): delete it to sweep into this folder again") from None
        return read if isinstance(read, dict) else {}

    def _write(self, content: Mapping[str, Any]) -> None:
        write_text(self._file, json.dumps({key: value for key, value in content.items() if value}, indent=1))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other drivers from ``sweep.json``, by a lock on the folder, for the moment it takes to replace it."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
