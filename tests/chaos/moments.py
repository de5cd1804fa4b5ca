"""Moments in the life of a process, and what is done to it there. All of it is picklable: it happens in another one."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moment:
    """The n-th call of a function, just before it or just after.

    Attributes
    ----------
    function
        ``"module:name"`` or ``"module:Class.name"``.
    deed
        Called with the arguments of that call.
    number
        Which call, from 1.
    after
        Whether the function does its work first.
    about
        Only calls that have an argument with this beginning of a file name count.
    """

    function: str
    deed: Callable[..., None]
    number: int = 1
    after: bool = False
    about: str = ""

    def arm(self) -> None:
        """Wrap the function in this process."""
        module, _, path = self.function.partition(":")
        owner: Any = import_module(module)
        *outer, name = path.split(".")
        for part in outer:
            owner = getattr(owner, part)
        original, calls = getattr(owner, name), 0

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            named = [Path(a).name for a in args if isinstance(a, str | Path)]
            if self.about and not any(one.startswith(self.about) for one in named):
                return original(*args, **kwargs)
            calls += 1
            if calls == self.number and not self.after:
                self.deed(*args)
            value = original(*args, **kwargs)
            if calls == self.number and self.after:
                self.deed(*args)
            return value

        setattr(owner, name, wrapper)


@dataclass(frozen=True)
class Send:
    """Send this process a signal; by default the one that nothing survives."""

    signal: int = signal.SIGKILL

    def __call__(self, *_: Any) -> None:
        os.kill(os.getpid(), self.signal)


@dataclass(frozen=True)
class HalfWritten:
    """Cut the file of the call in half, and die: what a process leaves that is killed in the middle of writing."""

    def __call__(self, path: str | Path, *_: Any) -> None:
        os.truncate(path, os.path.getsize(path) // 2)
        Send()()


@dataclass(frozen=True)
class Fill:
    """Fill the disk that holds a folder, but for some bytes."""

    folder: Path
    spare: int = 0

    def __call__(self, *_: Any) -> None:
        with (self.folder / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
        size = (self.folder / "filler").stat().st_size
        os.truncate(self.folder / "filler", max(0, size - self.spare))


@dataclass(frozen=True)
class ReadOnly:
    """Let a folder, where a disk is mounted, be read-only from now on; ``umount`` takes that back."""

    folder: Path

    def __call__(self, *_: Any) -> None:
        # A second mount over the first: the first cannot be made read-only while a file on it is open for writing.
        for options in (["--bind", str(self.folder)], ["-o", "remount,bind,ro"]):
            subprocess.run(["mount", *options, str(self.folder)], check=True)


@dataclass(frozen=True)
class Jump:
    """Set the clock forward or back, for all of this process."""

    seconds: float

    def __call__(self, *_: Any) -> None:
        true, seconds = time.time, self.seconds
        time.time = lambda: true() + seconds
