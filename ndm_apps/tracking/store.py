"""MLflow's store: made once, reached through a client that gives up quickly, never waited for without end."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from ndm_apps.tracking import lock
from ndm_apps.tracking.uri import SQLITE, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREPARE_SECONDS = 120.0  # how long another process may take to create the store
ENVIRONMENT = {  # defaults that keep MLflow quiet and quick to give up; the user's own settings win
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
}


def prepare(uri: str, *, timeout: float = PREPARE_SECONDS) -> None:
    """Create an SQLite store that does not exist yet; several processes may ask at once. Other stores are left alone.

    The store is made under another name and renamed when complete, so that no process ever sees half of it.

    Parameters
    ----------
    uri
        Tracking URI. For anything but ``sqlite:///PATH`` nothing is done.
    timeout
        Seconds to wait for another process that is creating the same store.

    Raises
    ------
    OSError, TimeoutError, sqlite3.Error
        If the folder cannot be written, stays locked, or the file is no database.
    """
    database = sqlite_path(uri)
    if database is None or _is_store(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with lock.folder_lock(database.parent, timeout):
        if _is_store(database):
            return
        fresh = database.with_name(f".{database.name}.{os.getpid()}.tmp")
        fresh.unlink(missing_ok=True)
        try:
            _client(f"{SQLITE}{fresh}").search_experiments(max_results=1)
            os.replace(fresh, database)
        finally:
            fresh.unlink(missing_ok=True)


def connect(uri: str) -> MlflowClient:
    """Return a client of a store that is there and can be written, or fail within seconds."""
    prepare(uri)
    check_writable(uri)
    return _client(uri)


def check_writable(uri: str) -> None:
    """Fail within `lock.BUSY_SECONDS` if an SQLite store is locked or read-only: MLflow itself would try for minutes.

    Raises
    ------
    sqlite3.Error
        If the store cannot be written. Other stores are not asked.
    """
    database = sqlite_path(uri)
    if database is None:
        return
    connection = sqlite3.connect(database, timeout=lock.BUSY_SECONDS)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


def ensure_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Return the identifier of an experiment, which is made if the store lacks it."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        database = sqlite_path(uri)
        artifacts = (database.absolute().parent / "mlflow-artifacts").as_uri() if database else None
        try:
            return client.create_experiment(name, artifact_location=artifacts)
        except MlflowException:  # another process created it in between, or the store refuses: tell them apart
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return found.experiment_id


def quiet() -> None:
    """Put :data:`ENVIRONMENT` into effect, which MLflow reads when it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _client(uri: str) -> MlflowClient:
    quiet()
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:  # failures are told in one line of our own
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


def _is_store(database: Path) -> bool:
    """Whether the file is a migrated store; raises sqlite3.DatabaseError if it is no database."""
    if not database.exists() or database.stat().st_size == 0:
        return False
    connection = sqlite3.connect(database, timeout=lock.BUSY_SECONDS)
    try:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    finally:
        connection.close()
    return found is not None
