"""One delivery: what a run folder holds and MLflow lacks."""

from __future__ import annotations

import getpass
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ndm_apps.records import domain_of
from ndm_apps.tracking import content, model
from ndm_apps.tracking.lock import folder_lock
from ndm_apps.tracking.state import LOGS, State, known_uri
from ndm_apps.tracking.store import connect, ensure_experiment
from ndm_apps.tracking.telling import Warn, explain, tell
from ndm_apps.tracking.uri import public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


def sync(
    run_dir: Path | str,
    *,
    uri: str | None = None,
    parent: str | None = None,
    final: bool = True,
    on_warning: Warn | None = None,
) -> bool:
    """Send to MLflow whatever a run folder holds and MLflow lacks.

    Parameters
    ----------
    run_dir
        Folder of a run, complete or not.
    uri
        Tracking URI; by default ``MLFLOW_TRACKING_URI``, else the local store used before, else `default_uri`.
    parent
        Identifier of the MLflow run of the sweep that this run belongs to.
    final
        Whether the run has ended. With ``result.json`` it is then FINISHED, without it KILLED; a run that has not
        ended is RUNNING.
    on_warning
        Called with one sentence if the delivery fails; by default `warnings.warn`.

    Returns
    -------
    bool
        Whether MLflow now holds everything. After False, a later call sends the rest.
    """
    folder = Path(run_dir)
    try:
        with folder_lock(folder):
            config = _read_config(folder)
            state = State(folder)
            target = uri or known_uri(state)
            if not final and state.is_current(target):
                return True
            client = connect(target)
            run = ensure_run(client, state, target, f"ndm/{domain_of(config) or 'unknown'}", parent)
            content.send_settings(client, run, state, config)
            content.send_points(client, run, state)
            content.send_dataset(client, run, state)
            complete = (folder / "result.json").exists()
            if final and complete:
                model.send_model(client, run, state, config)
                content.send_result(client, run, state)
                content.send_artifacts(client, run, state)
            set_status(client, run, state, "RUNNING" if not final else "FINISHED" if complete else "KILLED")
    except Exception as error:
        tell(on_warning, explain(folder, error))
        return False
    return True


def ensure_run(client: MlflowClient, state: State, uri: str, experiment: str, parent: str | None) -> str:
    """Return the identifier of the folder's MLflow run, creating experiment and run when the store lacks them."""
    here, known = state.data.get("uri") == public_uri(uri), state.data.get("run_id")
    if known is None or not _has_run(client, known):
        # The key is on disk before the run exists: a process killed in between finds its run again.
        key = state.data["key"] if here and known is None else uuid.uuid4().hex
        state.data = {}
        state.save(key=key, uri=public_uri(uri))
        place = ensure_experiment(client, uri, experiment)
        runs = list(client.search_runs([place], f"tags.`ndm.key` = '{key}'", max_results=1))
        if not runs:
            tags = source_tags() | {"ndm.key": key}
            runs = [client.create_run(place, _start_time(state.folder), tags, run_name=state.folder.name)]
        state.save(run_id=runs[0].info.run_id, experiment=experiment, experiment_id=place, status="RUNNING")
    elif not here:  # the same store under another address
        state.save(uri=public_uri(uri))
    if parent and state.data.get("parent") != parent:
        client.set_tag(state.data["run_id"], "mlflow.parentRunId", parent)
        state.save(parent=parent)
    return str(state.data["run_id"])


def source_tags() -> dict[str, str]:
    """Return the tags by which MLflow's pages tell what made a run, and who."""
    tags = {"mlflow.source.name": "ndm", "mlflow.source.type": "LOCAL"}
    try:
        return tags | {"mlflow.user": getpass.getuser()}
    except (OSError, KeyError):  # a container's user need not have a name
        return tags


def set_status(client: MlflowClient, run: str, state: State, status: str) -> None:
    """Tell MLflow what has become of a run; one that is sent later ended when its files did."""
    if state.data.get("status") == status:
        return
    if status == "RUNNING":
        client.update_run(run, status="RUNNING")
    else:
        client.set_terminated(run, status, _end_time(state.folder))
    state.save(status=status)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    read = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return read if isinstance(read, dict) else {}


def _has_run(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _start_time(folder: Path) -> int:
    return _modified(folder, ("config.yaml", "sweep.json"))


def _end_time(folder: Path) -> int:
    return _modified(folder, ("result.json", "summary.csv", *LOGS.values()))


def _modified(folder: Path, names: tuple[str, ...]) -> int:
    """Return when the first of the files that is there was last written, else now, in milliseconds since 1970."""
    found = next((folder / name for name in names if (folder / name).exists()), None)
    return int(1000 * (time.time() if found is None else found.stat().st_mtime))
