"""Ctrl-C and SIGTERM while a run goes on: the first lets it save, the second does not wait."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Turns a signal into ``KeyboardInterrupt`` at a moment when nothing is lost by it.

    Within ``with`` the first signal is held back if :meth:`hold` has been called, until :meth:`release` or the end of
    the block; without :meth:`hold`, and at the second signal, it is raised at once. Outside the main thread, where
    Python delivers no signals, nothing is done.

    Parameters
    ----------
    told
        Called when a signal is held back.

    Examples
    --------
    >>> try:
    ...     with Interruption() as interruption:
    ...         interruption.hold()
    ...         signal.raise_signal(signal.SIGTERM)
    ...         print("saves its state, as", interruption.pending)
    ...         interruption.release()
    ... except KeyboardInterrupt:
    ...     print("ends")
    saves its state, as True
    ends
    """

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self._told, self._held = told, False
        self._before: dict[signal.Signals, Any] = {}
        self._process = os.getpid()
        self.pending = False

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is None:
            self.release()

    def hold(self) -> None:
        """From now on, wait for :meth:`release`."""
        self._held = True

    def release(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal has been held back."""
        if self.pending:
            raise KeyboardInterrupt

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process forked by a library: it dies as ever
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self.pending or not self._held:
            raise KeyboardInterrupt
        self.pending = True
        self._told()
