"""Faults of the fourth kind: sweeps whose workers, driver or nodes die, and two sweeps in one folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.chaos.killed import Fault
from tests.chaos.runs import RUNS, found, half_written, left_over
from tests.chaos.sittings import LONGEST
from tests.chaos.verdict import Verdict

SEEDS = 3


def arguments(*more: str) -> list[str]:
    """Return the arguments of ``ndm sweep`` with some options."""
    config, *overrides = RUNS["continual"]
    named = [word for one in (*overrides, "task.stream.passes=2") for word in ("--set", one)]
    return ["sweep", config, "--set", "method=ndm", *named, "--seeds", f"0:{SEEDS}", "--no-track", *more]


def start(here: Path, *more: str) -> subprocess.Popen[str]:
    """Start a sweep in the folder ``sweep`` of ``here``."""
    code = "from ndm_apps.cli import main; main()"
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", code, *arguments(*more, "--out", "sweep")]
    return subprocess.Popen(
        command, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def sweeps(here: Path) -> Iterator[Fault]:
    """Yield the faults of sweeps."""
    begun, first_done = _seen("*/checkpoint/state.safetensors"), _seen("*/result.json")
    for when, wait in (("when it has begun", begun), ("when a run is done", first_done)):
        yield f"kill -9 of a worker of a sweep {when}", "sweep", partial(struck, here, wait, kill_a_worker, (0,))
        yield f"kill -9 of the driver of a sweep {when}", "sweep", partial(struck, here, wait, kill_the_driver, (-9,))
    for name, number in (("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):
        send = partial(subprocess.Popen.send_signal, sig=number)
        yield f"{name} to a sweep", "sweep", partial(
            struck, here, first_done, lambda driver, send=send: send(driver), (130,), "go on with\n  ndm sweep"
        )  # fmt: skip
    if find_spec("ray"):
        yield "kill -9 of a Ray node", "sweep", partial(lose_a_node, here)
    yield "two sweeps into one folder at once", "sweep", partial(twice, here, "2")
    yield "two sweeps into one folder at once", "sweep", partial(twice, here, "1")


def struck(
    here: Path,
    wait: Callable[[Path], bool],
    deed: Callable[[subprocess.Popen[str]], None],
    statuses: tuple[int, ...],
    says: str = "",
    jobs: tuple[str, ...] = ("--jobs", "2"),
) -> Verdict:
    """Start a sweep, wait, let the fault strike, and start the sweep again when all its processes are gone."""
    driver = start(here, *jobs)
    deadline = time.monotonic() + LONGEST
    while not wait(here / "sweep"):
        assert driver.poll() is None and time.monotonic() < deadline, f"ended too early: {driver.communicate()[0]}"
        time.sleep(0.01)
    workers = _workers(driver.pid)
    deed(driver)
    printed, _ = driver.communicate(timeout=LONGEST)
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    hit = driver.returncode in statuses and says in printed and "Traceback" not in printed
    return _judged(here, hit, printed, jobs)


def twice(here: Path, jobs: str) -> Verdict:
    """Start the same sweep twice at once."""
    drivers = [start(here, "--jobs", jobs) for _ in range(2)]
    printed = [driver.communicate(timeout=LONGEST)[0] for driver in drivers]
    hit = [driver.returncode for driver in drivers] == [0, 0] and "Traceback" not in "".join(printed)
    return _judged(here, hit, "\n".join(printed), ("--jobs", jobs))


def lose_a_node(here: Path) -> Verdict:
    """Run a sweep on a Ray cluster of two nodes, and kill all processes of one when both are at work."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # the two nodes are this machine, which has nothing else to do
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        both = lambda folder: len(list(folder.glob("*/checkpoint/state.safetensors"))) > 1  # noqa: E731
        kill = lambda driver: cluster.remove_node(node, allow_graceful=False)  # noqa: E731
        return struck(here, both, kill, (0,), jobs=("--ray", cluster.address))
    finally:
        cluster.shutdown()


def kill_the_driver(driver: subprocess.Popen[str]) -> None:
    """Kill the driver at once."""
    driver.kill()


def kill_a_worker(driver: subprocess.Popen[str]) -> None:
    """Kill one of the processes that do the runs."""
    os.kill(_workers(driver.pid)[0], signal.SIGKILL)


def _judged(here: Path, hit: bool, printed: str, jobs: tuple[str, ...]) -> Verdict:
    folder = here / "sweep"
    half = tuple(half_written(folder))
    before = {path: path.read_bytes() for path in folder.glob("*/result.json")}
    again = start(here, *jobs)
    told, _ = again.communicate(timeout=LONGEST)
    lost = any(not path.exists() or path.read_bytes() != content for path, content in before.items())
    whole = again.returncode == 0 and not half_written(folder) and not left_over(folder)
    same = whole and _found(folder) == _reference(here.parent / "reference")
    fine = hit and not half and not lost and same
    return Verdict(hit, lost, half, same, "" if fine else f"{printed} / {again.returncode} {told} {left_over(folder)}")


def _seen(pattern: str) -> Callable[[Path], bool]:
    return lambda folder: next(folder.glob(pattern), None) is not None


def _workers(driver: int) -> list[int]:
    """Return the processes of a driver on this machine that do runs: children of the one that they are forked from."""
    servers = [pid for pid in _children(driver) if b"multiprocessing.forkserver" in _read(pid, "cmdline")]
    return [pid for server in servers for pid in _children(server)]


def _children(parent: int) -> list[int]:
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return sorted(pid for pid in pids if b"\nPPid:\t%d\n" % parent in _read(pid, "status"))


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # gone meanwhile
        return b""


def _found(folder: Path) -> dict[str, Any]:
    return {path.parent.name: found(path.parent) for path in sorted(folder.glob("*/result.json"))}


@cache
def _reference(folder: Path) -> dict[str, Any]:
    """Return what the runs of an undisturbed sweep find, done one after another."""
    here = folder / "one-by-one"
    here.mkdir(parents=True)
    driver = start(here, "--jobs", "1")
    printed, _ = driver.communicate(timeout=LONGEST)
    assert driver.returncode == 0, printed
    return _found(here / "sweep")
