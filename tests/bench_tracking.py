"""What tracking costs and whether it loses anything: 10,000 points, two sweeps at once, a server killed half-way.

Run by ``python -m tests.bench_tracking [--write]``, one thread, about two minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ndm_apps import tracking
from ndm_apps.config import load_config
from ndm_apps.run_files import MetricsLog
from tests import benchmark
from tests.mlflow_server import Server

OUTPUT = Path("results/reliability/tracking.md")
POINTS = 10_000
NAMES = 5  # metrics among which the points are shared


def fabricate(folder, points, config="continual/digits", complete=True):
    """Write a run folder with so many points, as a run does."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(load_config(config).resolved()))
    log = MetricsLog(folder / "metrics.jsonl")
    log_points(log, 0, points)
    log.close()
    if complete:
        (folder / "result.json").write_text(json.dumps({"task": config, "method": "ndm", "accuracy": 0.5}))
    return folder


def log_points(log, start, stop):
    for step in range(start, stop):
        log.log(f"metric/{step % NAMES}", step / 7, step // NAMES)


def held(uri, folder):
    """Number of different points that MLflow holds of a run folder."""
    from mlflow import MlflowClient

    client, run = MlflowClient(uri), json.loads((folder / "tracking.json").read_text())["run_id"]
    return sum(len({p.step for p in client.get_metric_history(run, f"metric/{n}")}) for n in range(NAMES))


def seconds_of_points(uri, scratch, label):
    """Seconds of the delivery of a run with the points, beside one with a few: each the best of three turns."""
    tracking.sync(fabricate(scratch / f"warm-{label}", 1), uri=uri)
    took = {}
    for points in (NAMES, POINTS):
        for turn in range(3):
            folder = fabricate(scratch / f"{label}-{points}-{turn}", points)
            began, worked = time.perf_counter(), time.process_time()
            assert tracking.sync(folder, uri=uri)
            spent = time.perf_counter() - began, time.process_time() - worked
            took[points] = min(took.get(points, spent), spent)
    return {
        "store": label, "points": POINTS, "held": held(uri, folder), "seconds": took[POINTS][0],
        "of the processor, this process": took[POINTS][1], f"seconds with {NAMES} points": took[NAMES][0],
    }  # fmt: skip


NDM = [sys.executable, "-c", "from ndm_apps.cli import main; main()"]
SWEEP = [*NDM, "sweep", "continual/digits", "--set", "method=slda,naive"]


def two_sweeps(scratch, seeds=3):
    """Run two sweeps at once on one fresh SQLite store and count what arrived."""
    uri = f"sqlite:///{scratch}/both/mlflow.db"
    began = time.perf_counter()
    folders = [scratch / name for name in ("one", "two")]
    started = [
        subprocess.Popen(
            [*SWEEP, "--seeds", f"{100 * n}:{100 * n + seeds}", "--jobs", "1", "--out", str(folder)],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri}, stdout=subprocess.DEVNULL,
        )
        for n, folder in enumerate(folders, start=10)
    ]  # fmt: skip
    assert [process.wait() for process in started] == [0, 0]
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = [log.parent for folder in folders for log in sorted(folder.glob("*/metrics.jsonl"))]
    written, found, nested = 0, 0, 0
    for folder in runs:
        points = {(p["name"], p["step"]) for p in map(json.loads, (folder / "metrics.jsonl").open())}
        run = client.get_run(json.loads((folder / "tracking.json").read_text())["run_id"])
        names = {name for name, _ in points}
        stored = {(name, p.step) for name in names for p in client.get_metric_history(run.info.run_id, name)}
        parent = json.loads((folder.parent / "tracking.json").read_text())["run_id"]
        nested += run.info.status == "FINISHED" and run.data.tags["mlflow.parentRunId"] == parent
        written, found = written + len(points), found + len(points & stored)
    return {
        "sweeps": 2, "runs": len(runs), "finished and nested": nested, "points written": written,
        "points held": found, "seconds": time.perf_counter() - began,
    }  # fmt: skip


def outage(server, scratch, third=8.0):
    """Kill the server for the middle third of a run, and count what it holds before and after ``ndm report --log``."""
    folder = fabricate(scratch / "cut", 0, complete=False)
    told, log = [], MetricsLog(folder / "metrics.jsonl")
    tracker = tracking.Tracker(folder, uri=server.uri, on_warning=told.append).start()

    def write(part):
        began = time.monotonic()
        for n in range(10):
            step = (10 * part + n) * POINTS // 30
            log_points(log, step, (10 * part + n + 1) * POINTS // 30)
            log.secure()
            time.sleep(max(0.0, began + (n + 1) * third / 10 - time.monotonic()))

    write(0)
    server.kill()
    write(1)
    server.start()
    write(2)
    log.close()
    (folder / "result.json").write_text(json.dumps({"task": "continual/digits", "method": "ndm", "accuracy": 0.5}))
    delivered = tracker.finish(timeout=0.0)  # as if the run had no time to wait
    before = held(server.uri, folder)
    command = [*NDM, "report", str(folder), "--log"]
    sent = subprocess.run(command, env={**os.environ, "MLFLOW_TRACKING_URI": server.uri}, stdout=subprocess.DEVNULL)
    return {
        "points written": POINTS, "warnings": len(told), "delivered when the run ended": delivered,
        "held when the run ended": before, "exit status of ndm report --log": sent.returncode,
        "held after it": held(server.uri, folder),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {OUTPUT}")
    write = parser.parse_args().write
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        local = f"sqlite:///{scratch}/local/mlflow.db"
        tracking.prepare(local)
        tracking.prepare(f"sqlite:///{scratch}/server/mlflow.db")
        server = Server(scratch, scratch / "server" / "mlflow.db")
        server.start()
        try:
            sections = {
                f"{POINTS:,} metric points": [
                    seconds_of_points(local, scratch, "SQLite file"),
                    seconds_of_points(server.uri, scratch, "server"),
                ],
                "Two sweeps at once on one fresh SQLite store": [two_sweeps(scratch)],
                "The server is killed for the middle third of a run": [outage(server, scratch)],
            }
        finally:
            server.kill()
    text = "\n".join(f"## {title}\n\n{benchmark.table(rows)}" for title, rows in sections.items())
    print(text)
    if write:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[1]
        text = f"Load average of the last five minutes: {load:.1f} on {os.cpu_count()} cores.\n\n{text}"
        OUTPUT.write_text(f"# Tracking\n\n`python -m tests.bench_tracking --write`, one thread. {text}")


if __name__ == "__main__":
    main()
