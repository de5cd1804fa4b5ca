"""Delivery in the background while a run goes on."""

from __future__ import annotations

import threading
from pathlib import Path

from ndm_apps.tracking.delivery import sync
from ndm_apps.tracking.machine import SystemMonitor, are_system_metrics_requested
from ndm_apps.tracking.telling import Warn, explain, tell


class Tracker:
    """Background delivery of one run to MLflow while the run goes on.

    A daemon thread imports MLflow and calls `sync` every ``interval`` seconds. Whatever goes wrong is told once.
    System metrics are sampled if MLflow's switch ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is on.

    Parameters
    ----------
    run_dir, parent, uri
        As in `sync`.
    on_warning
        Called with one sentence, at most once, from the thread or from `finish`; by default `warnings.warn`.
    interval
        Seconds between deliveries; after a failure the pause doubles, up to a minute.
    """

    def __init__(
        self,
        run_dir: Path | str,
        *,
        parent: str | None = None,
        uri: str | None = None,
        on_warning: Warn | None = None,
        interval: float = 2.0,
    ) -> None:
        self._run_dir, self._parent, self._uri, self._interval = Path(run_dir), parent, uri, interval
        self._on_warning, self._warned, self._delivered = on_warning, threading.Lock(), False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ndm-tracker", daemon=True)
        self._monitor = SystemMonitor(self._run_dir, self._warn_once) if are_system_metrics_requested() else None

    def start(self) -> Tracker:
        """Start the thread and return this object."""
        self._thread.start()
        if self._monitor is not None:
            self._monitor.start()
        return self

    def finish(self, timeout: float = 60.0) -> bool:
        """Deliver the rest and stop.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Returns
        -------
        bool
            Whether MLflow holds everything. If not, a warning has been given.
        """
        if self._monitor is not None:
            self._monitor.finish()
        self._stop.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._warn_once(explain(self._run_dir, TimeoutError(f"no answer within {timeout:g} s")))
            return False
        return self._delivered

    def _work(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._interval if self._sync(final=False) else min(max(2 * pause, self._interval), 60.0)
        self._delivered = self._sync(final=True)

    def _sync(self, *, final: bool) -> bool:
        return sync(self._run_dir, uri=self._uri, parent=self._parent, final=final, on_warning=self._warn_once)

    def _warn_once(self, message: str) -> None:
        if self._warned.acquire(blocking=False):  # never released: the first warning is the only one
            tell(self._on_warning, message)
