"""Workers on a Ray cluster: every run a plain task, which Ray does over on another node when its own is lost."""

from __future__ import annotations

import os
import socket
from types import TracebackType
from typing import Any, Self, final

from ndm_apps.errors import InputError
from ndm_apps.sweep.pool import LEAVE_SECONDS, RETRIES
from ndm_apps.sweep.worker import Job, Outcome, perform
from ndm_apps.tracking import default_uri

LOCAL, LOOPBACK = "local", "127.0.0.1"
CONNECT_SECONDS = 10.0
# What a run takes from its environment; Ray's workers are started by other processes than this one.
PASSED_ON = ("MLFLOW_", "NDM_", "MPLBACKEND", "OPENBLAS_", "MKL_")


@final
class Cluster:
    """Runs as tasks of a Ray cluster.

    Not through joblib's Ray backend: that gives up when a node is lost, while a task that is retried resumes the run
    from its last checkpoint.

    Parameters
    ----------
    address
        Of the cluster, such as ``auto``, ``HOST:6379`` or ``ray://HOST:10001``; ``"local"`` starts one here.
    jobs
        Runs at a time; None for as many as the cluster has processors, also when nodes come or go.

    Raises
    ------
    InputError
        If Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str, jobs: int | None) -> None:
        self._jobs = jobs
        self._ray = _connect(address, jobs)
        self._task = self._ray.remote(max_retries=RETRIES)(perform)
        self._running: dict[Any, Job] = {}
        hosts = {node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]}
        self.is_one_machine = len(hosts) == 1

    @property
    def size(self) -> int:
        """Runs at a time."""
        return self._jobs or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, job: Job) -> None:
        """Give one run to the cluster."""
        run = job.member.config.run
        needs = {"num_cpus": run.threads, "num_gpus": int(run.device.startswith("cuda"))}
        self._running[self._task.options(name=job.member.label, **needs).remote(job)] = job

    def wait(self) -> Outcome:
        """Return the outcome of the run that ends next."""
        (ended,), _ = self._ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(ended)
        try:
            return self._ray.get(ended)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            told = str(error).strip().splitlines() or [type(error).__name__]
            return Outcome(job.member.label, None, f"lost {RETRIES + 1} times: {told[0]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None and self._running:
            for reference in self._running:
                self._ray.cancel(reference)  # as Ctrl-C: the runs end in order, and can be resumed
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=LEAVE_SECONDS)
        self._ray.shutdown()


def _connect(address: str, jobs: int | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Otherwise an address on the loopback is taken for another machine's.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--ray: Ray is not installed; pip install 'ndm-apps[ray]'") from None

    passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environment = {**passed, "MLFLOW_TRACKING_URI": default_uri(), "OMP_NUM_THREADS": "1"}
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": environment},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == LOCAL:
        os.environ.setdefault("RAY_worker_niceness", "0")  # as processes without Ray: not behind all others
        ray.init("local", num_cpus=jobs, include_dashboard=False, _node_ip_address=LOOPBACK, **options)
        return ray
    _require_listener(address)
    if address.startswith(LOOPBACK):  # else the driver looks for itself at the address of the network
        options["_node_ip_address"] = LOOPBACK
    try:
        ray.init(address, **options)
    except (Exception, SystemExit) as error:  # one or the other, by what was wrong with the address
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"--ray: no cluster at {address} ({told[0]})") from None
    return ray


def _require_listener(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"--ray: no cluster at {address} ({error})") from None
