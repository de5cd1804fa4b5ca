"""Files that are either what they were before or complete, never half written, whatever dies meanwhile."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = ".tmp"


def write_text(path: Path, content: str) -> Path:
    """Write a text file atomically, in UTF-8, making its folder if need be; return its path."""
    return write_bytes(path, content.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file atomically, making its folder if need be; return its path."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write; without an error it takes the place of ``path``, and is then on the disk.

    The order is: content to the disk, new name, name to the disk. A crash of the machine at any moment leaves the old
    file or the new one, and what was written before another file is there if that one is.

    Examples
    --------
    >>> file = Path(tempfile.mkdtemp()) / "a" / "numbers.txt"
    >>> with replacing(file) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> file.read_text(), [other.name for other in file.parent.iterdir()]
    ('1 2 3', ['numbers.txt'])
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=_TEMPORARY)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp keeps others from reading; results are meant to be read
        _secure(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _secure(path.parent)


def is_temporary(path: Path, target: str = "") -> bool:
    """Whether a file is what a process that died left of writing ``target``, or any file.

    >>> is_temporary(Path("run/.result.json-k2x_9qab.tmp"), "result.json"), is_temporary(Path("run/result.json"))
    (True, False)
    """
    return path.name.startswith(f".{target}-" if target else ".") and path.name.endswith(_TEMPORARY)


def remove_temporaries(folder: Path) -> None:
    """Remove from a folder what processes that died left of files they wrote; nobody may be writing there."""
    if folder.is_dir():
        for path in folder.iterdir():
            if is_temporary(path):
                with suppress(OSError):  # it is in nobody's way
                    path.unlink()


def _secure(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
