"""Faults of the third kind: a run that is killed while MLflow is told of it, and a store that another process locks."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from ndm_apps import tracking
from tests.chaos.killed import Fault
from tests.chaos.moments import Moment, Send
from tests.chaos.sittings import sit
from tests.chaos.verdict import Verdict, strike

CLIENT = "mlflow:MlflowClient"


def deliveries(here: Path) -> Iterator[Fault]:
    """Yield the faults of deliveries to an SQLite store."""
    for name, moment in {
        "before it has sent anything": Moment(f"{CLIENT}.create_run", Send()),
        "before its points are sent": Moment(f"{CLIENT}.log_batch", Send()),
        "when points are sent and not noted": Moment(f"{CLIENT}.log_batch", Send(), 2, after=True),
        "when its files are sent": Moment(f"{CLIENT}.log_artifact", Send(), 2),
        "before MLflow is told that it ended": Moment(f"{CLIENT}.set_terminated", Send()),
    }.items():
        yield f"kill -9 of a run {name}", "MLflow", partial(killed, here, moment)
    for plugin in ("continual", "supervised"):
        yield "the store locked by another process", "MLflow", partial(locked, here, plugin)


def killed(here: Path, moment: Moment) -> Verdict:
    """Kill a run while it is sent, and let it go on: MLflow then holds one run with every point once."""
    verdict = strike(here, "continual", moment, track=(), environment=_environment(here))
    return replace(verdict, same=verdict.same and _holds_all(here), told=verdict.told or _told(here))


def locked(here: Path, plugin: str) -> Verdict:
    """Lock the store during a whole run: it warns and ends well, and what MLflow lacks is sent later."""
    environment = _environment(here)
    other = sqlite3.connect(here / "mlflow.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    verdict = strike(here, plugin, status=0, says=("warning", "locked"), track=(), environment=environment,
                     repair=other.close)  # fmt: skip
    sent = sit(["report", "run", "--log"], here=here, environment=environment)
    return replace(verdict, same=verdict.same and sent.status == 0 and _holds_all(here), told=verdict.told + str(sent))


@cache
def _empty_store(folder: Path) -> Path:
    path = folder / "reference" / "empty.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    tracking.prepare(f"sqlite:///{path}")
    return path


def _environment(here: Path) -> dict[str, str]:
    shutil.copy(_empty_store(here.parent), here / "mlflow.db")
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{here / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _holds_all(here: Path) -> bool:
    return not _told(here)


def _told(here: Path) -> str:
    """Return what MLflow's store lacks of the run in ``here``, or has twice; nothing if all is well."""
    store = sqlite3.connect(here / "mlflow.db")
    runs = store.execute("SELECT status FROM runs").fetchall()
    sent = store.execute("SELECT key, step, value FROM metrics").fetchall()
    store.close()
    logged = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_bytes().splitlines()]
    expected = {(point["name"], point["step"], point["value"]) for point in logged}
    missing = expected - set(sent)
    doubled = [point for point in expected if sent.count(point) > 1 + (point[0] == "final_accuracy")]
    if runs == [("FINISHED",)] and not missing and not doubled:
        return ""
    return f"runs {runs}, missing {len(missing)}, twice {doubled[:3]}"
