"""System metrics on request: what the machine and this process do while a run goes on, on disk first."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ndm_apps.tracking.state import LOGS
from ndm_apps.tracking.telling import Warn, reason, tell

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"  # MLflow's own
INTERVAL = "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"
SECONDS = 10.0  # between samples, MLflow's default


def request_system_metrics() -> None:
    """Ask every tracker of this process, and of processes that it starts from now on, for system metrics."""
    os.environ[SWITCH] = "true"


def are_system_metrics_requested() -> bool:
    """Whether MLflow's switch ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` is on."""
    return os.environ.get(SWITCH, "").lower() in ("true", "1")


class SystemMonitor:
    """Samples of processor, memory, disk, network and GPU, appended to ``system.jsonl`` of a run folder.

    The names are those of MLflow, ``system/cpu_utilization_percentage`` and so on, and two of this process alone:
    where several runs share a machine, only they tell what one of them takes.

    Parameters
    ----------
    run_dir
        Folder of a run.
    on_warning
        Called with one sentence if the machine cannot be sampled.
    """

    def __init__(self, run_dir: Path, on_warning: Warn | None = None) -> None:
        self._path, self._on_warning, self._stop = run_dir / LOGS["system"], on_warning, threading.Event()
        self._thread = threading.Thread(target=self._work, name="ndm-system", daemon=True)

    def start(self) -> None:
        """Start sampling in a background thread."""
        self._thread.start()

    def finish(self) -> None:
        """Take a last sample and stop."""
        self._stop.set()
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        try:
            interval = float(os.environ.get(INTERVAL) or SECONDS)
            is_last = False
            for step, values in enumerate(_samples(), start=_next_step(self._path)):
                now = round(time.time(), 3)
                lines = [{"name": f"system/{n}", "value": v, "step": step, "time": now} for n, v in values.items()]
                with self._path.open("a", encoding="utf-8") as stream:
                    stream.write("".join(json.dumps(line) + "\n" for line in lines))
                if is_last:
                    return
                is_last = self._stop.wait(interval)
        except Exception as error:  # a machine that cannot be watched can still compute
            tell(self._on_warning, f"no system metrics ({reason(error)})")


def _samples() -> Iterator[dict[str, float]]:
    import psutil

    process = psutil.Process()
    process.cpu_percent(), psutil.cpu_percent()  # each answer counts from the call before
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpus()]
    while True:
        values: dict[str, float] = {}
        for monitor in monitors:
            monitor.collect_metrics()
            values |= {name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        values["process_cpu_utilization_percentage"] = process.cpu_percent()
        values["process_memory_megabytes"] = process.memory_info().rss / 1e6
        yield values


def _gpus() -> Iterator[Any]:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        yield GPUMonitor()
    except Exception:  # no NVIDIA library or driver here
        return


def _next_step(path: Path) -> int:
    """Return the step after the last one sampled: a resumed run goes on with its log."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"]) + 1
        except (ValueError, KeyError, TypeError):
            continue
    return 0
