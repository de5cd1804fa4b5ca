"""The sweep's promises: speed with two workers, cost of a run beside its computing, the same results everywhere.

``python -m tests.bench_sweep [--write] [--runs N] [--without-ray]`` runs one sweep of 40 short runs by one worker and
by two, and on a Ray cluster of two nodes on the loopback address, whole and with a node lost on the way;
``results/reliability/sweep.md`` is its table. Times are of whole commands, imports and MLflow included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest

from ndm_apps import provenance, run, run_results, tracking
from ndm_apps.report import load_results
from ndm_apps.sweep import members, sweep

CONFIG, SETTINGS, FIRST_SEED = "continual/digits", ("method=ndm", "task.stream.passes=3"), 1000
TABLE = Path(__file__).parent.parent / "results" / "reliability" / "sweep.md"
NOT_COMPARED = {"seconds", "peak_memory_mb", "git", "folder"}  # of result.json: they differ between any two runs


def planned(count):
    return members(CONFIG, SETTINGS, seeds=range(FIRST_SEED, FIRST_SEED + count))


def settled(folder):
    """Return the results of a sweep by run, less what the clock and the memory say."""
    return {
        Path(found["folder"]).name: {
            key: value for key, value in found.items() if key not in NOT_COMPARED and not key.endswith("seconds")
        }
        for found in load_results([folder])
    }


def command(folder, count, jobs):
    """Return wall-clock seconds of a whole ``ndm sweep``."""
    words = ["sweep", CONFIG, *(f"--set={setting}" for setting in SETTINGS),
             "--seeds", f"{FIRST_SEED}:{FIRST_SEED + count}", "--jobs", str(jobs), "--out", str(folder)]  # fmt: skip
    began = time.perf_counter()
    code = f"from ndm_apps.cli import main; main({words!r})"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def costs(folder, count):
    """Return medians over the runs after the first, in seconds: what a run takes beside the plugin's own function.

    Wall clock and processor, then the same without the drawing of the plugin's pictures.
    """
    spent = {}

    def timed(name, function):
        def call(*arguments):
            began = time.perf_counter(), time.process_time()
            try:
                return function(*arguments)
            finally:
                spent[name] = np.array([time.perf_counter() - began[0], time.process_time() - began[1]])

        return call

    found = []
    with pytest.MonkeyPatch.context() as patch:
        resolve = run.resolve
        patch.setattr(run, "resolve", lambda entry: timed("plugin", resolve(entry)))
        patch.setattr(run_results, "write_figures", timed("pictures", run_results.write_figures))
        execute = timed("whole", run.execute)
        for member in planned(count):
            execute(member.config, folder / member.label)
            beside = spent["whole"] - spent["plugin"]
            found.append([*beside, *(beside - spent["pictures"])])
    return np.median(found[1:], axis=0)


def steady(folder):
    """Return the seconds from the end of the first run to the end of the last, for each run between."""
    ends = sorted(file.stat().st_mtime for file in folder.glob("*/result.json"))
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def on_ray(folder, count, lose=False):
    """Run the sweep on two nodes, perhaps lose one in the middle; return seconds and the number of runs done."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", include_dashboard=False)
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    nodes = [second]

    def watch(now):
        if lose and nodes and now.done >= count // 3:
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    began = time.perf_counter()
    try:
        outcomes = sweep(planned(count), folder, ray=cluster.address, jobs=None, track=False, progress=watch)
    finally:
        cluster.shutdown()
    return time.perf_counter() - began, sum(outcome.result is not None for outcome in outcomes)


def measured(scratch, count, with_ray):
    """Yield a line of the table for each promise: what, wanted, measured."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch / 'mlflow.db'}"
    tracking.prepare(os.environ["MLFLOW_TRACKING_URI"])
    one, two = command(scratch / "one", count, 1), command(scratch / "two", count, 2)
    own = statistics.median(found["seconds"] for found in load_results([scratch / "one"]))
    yield f"{count} runs of {own:.2f} s, one worker", "", f"{one:.1f} s"
    yield f"{count} runs, two workers", "", f"{two:.1f} s"
    yield "one worker / two workers", ">= 1.8", f"{one / two:.2f}"
    yield "the same, once the workers are up", "", f"{steady(scratch / 'one') / steady(scratch / 'two'):.2f}"
    wall, processor, bare_wall, bare = costs(scratch / "costs", min(count, 10))
    yield "a run beside the plugin's function, median", "", f"{wall:.2f} s, {processor:.2f} s of processor"
    yield "the same without drawing its pictures", "<= 0.3 s", f"{bare_wall:.2f} s, {bare:.2f} s of processor"
    serial = settled(scratch / "one")
    yield "results of two workers equal to serial", f"{count}", str(_same(serial, settled(scratch / "two")))
    if with_ray:
        for name, lose in (("two Ray nodes", False), ("two Ray nodes, one killed after a third", True)):
            seconds, done = on_ray(scratch / f"ray-{lose}", count, lose)
            yield f"{name}: runs complete", f"{count}", f"{done} in {seconds:.1f} s"
            yield f"{name}: equal to serial", f"{count}", str(_same(serial, settled(scratch / f"ray-{lose}")))


def _same(first, second):
    return sum(json.dumps(first[name]) == json.dumps(second.get(name)) for name in first)


def main():
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--without-ray", action="store_true")
    chosen = parser.parse_args()
    sweeping = f"ndm sweep {CONFIG} --set {' --set '.join(SETTINGS)}"
    lines = [
        f"`python -m tests.bench_sweep --write`: `{sweeping}`, with MLflow on SQLite (on Ray: without), on "
        f"{os.cpu_count()} cores; torch {provenance.versions()['torch']}. Times are of whole commands.",
        "",
        "| | wanted | measured |",
        "| --- | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for line in measured(Path(scratch), chosen.runs, not chosen.without_ray):
            lines.append(f"| {' | '.join(line)} |")
            print(lines[-1], flush=True)
    if chosen.write:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
