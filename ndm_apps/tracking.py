"""Delivery of run folders to MLflow. The disk is the truth: what MLflow missed is sent later, nothing is sent twice.

One idempotent function does the work: `sync` reads a run folder, compares it with the folder's ``tracking.json`` and
sends what is missing. `Tracker` calls it from a background thread while a run goes on. No function here raises or
waits without end when the store is locked, gone, read-only or damaged: it returns False (or None) and tells why, once.

This is the only module that imports MLflow, and only inside functions (the import takes one to three seconds).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ndm_apps.errors import InputError
from ndm_apps.records import domain_of, flatten
from ndm_apps.tracking_state import (
    SQLITE,
    State,
    as_text,
    check_writable,
    default_uri,
    folder_lock,
    is_store,
    known_uri,
    metric_name,
    public_uri,
    read_point,
    sqlite_path,
    tail_digest,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "LiveRun",
    "Tracker",
    "default_uri",
    "finish_parent",
    "prepare",
    "reason",
    "start_parent",
    "sync",
    "ui_command",
    "ui_environment",
]

PREPARE_SECONDS = 120.0  # how long another process may take to create the store
BATCH = 1000  # MLflow's limit of metrics a call
PARAMS = 100  # MLflow's limit of parameters a call
PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH = 6000, 8000, 36  # MLflow's limits of text
ARTIFACTS = (
    "config.yaml",
    "result.json",
    "sweep.json",
    "dataset.json",
    "report.html",
    "*.csv",
    "*.md",
    "*.tex",
    "figures/*.svg",
    "figures/captions.json",
)
NOT_METRICS = frozenset({"config", "versions", "git", "seed"})  # parts of result.json that are not measurements
ENVIRONMENT = {  # defaults that keep MLflow quiet and quick to give up; the user's own settings win
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
}

Warn = Callable[[str], None]


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
    if database is None or is_store(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(database.parent, timeout):
        if is_store(database):
            return
        fresh = database.with_name(f".{database.name}.{os.getpid()}.tmp")
        fresh.unlink(missing_ok=True)
        try:
            _client(f"{SQLITE}{fresh}").search_experiments(max_results=1)
            os.replace(fresh, database)
        finally:
            fresh.unlink(missing_ok=True)


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
            client = _connect(target)
            run = _ensure_run(client, state, target, f"ndm/{domain_of(config) or 'unknown'}", parent)
            _send_settings(client, run, state, config)
            _send_metrics(client, run, state)
            _send_dataset(client, run, state)
            complete = (folder / "result.json").exists()
            if final and complete:
                _send_result(client, run, state)
                _send_artifacts(client, run, state)
                _send_model(client, run, state)
            _set_status(client, run, state, "RUNNING" if not final else "FINISHED" if complete else "KILLED")
    except Exception as error:
        _tell(on_warning, _explain(folder, error))
        return False
    return True


class Tracker:
    """Background delivery of one run to MLflow while the run goes on.

    A daemon thread imports MLflow and calls `sync` every ``interval`` seconds. Whatever goes wrong is told once.

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

    def start(self) -> Tracker:
        """Start the thread and return this object."""
        self._thread.start()
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
        self._stop.set()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._warn_once(_explain(self._run_dir, TimeoutError(f"no answer within {timeout:g} s")))
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
            _tell(self._on_warning, message)


def start_parent(
    sweep_dir: Path | str, domain: str, *, uri: str | None = None, on_warning: Warn | None = None
) -> str | None:
    """Create, or find again, the MLflow run under which the runs of a sweep are nested.

    Parameters
    ----------
    sweep_dir
        Folder of the sweep; its name becomes the name of the run, its ``tracking.json`` remembers it.
    domain
        Domain of the plugin: the runs go to the experiment ``ndm/<domain>``.
    uri, on_warning
        As in `sync`.

    Returns
    -------
    str or None
        Identifier to hand to `sync` and `Tracker` as ``parent``; None if MLflow cannot be reached.
    """
    folder = Path(sweep_dir)
    try:
        with folder_lock(folder):
            state = State(folder)
            target = uri or known_uri(state)
            client = _connect(target)
            run = _ensure_run(client, state, target, f"ndm/{domain}", None)
            _set_status(client, run, state, "RUNNING")
    except Exception as error:
        _tell(on_warning, _explain(folder, error))
        return None
    return run


def finish_parent(
    sweep_dir: Path | str, *, uri: str | None = None, status: str = "FINISHED", on_warning: Warn | None = None
) -> bool:
    """Send the tables and the page of a sweep and end its MLflow run.

    Parameters
    ----------
    sweep_dir
        Folder given to `start_parent`.
    uri, on_warning
        As in `sync`.
    status
        ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``.

    Returns
    -------
    bool
        Whether MLflow now holds everything.
    """
    folder = Path(sweep_dir)
    try:
        with folder_lock(folder):
            state = State(folder)
            if "run_id" not in state.data:
                raise InputError(f"sweep folder {folder.name!r} has no MLflow run yet: call start_parent first")
            target = uri or known_uri(state)
            client = _connect(target)
            run = _ensure_run(client, state, target, state.data["experiment"], None)
            _send_artifacts(client, run, state)
            _set_status(client, run, state, status)
    except Exception as error:
        _tell(on_warning, _explain(folder, error))
        return False
    return True


class LiveRun:
    """One MLflow run that is written to directly, for what has no run folder.

    Unlike the rest of this module its methods raise what MLflow raises, within seconds if the store is a locked file:
    the caller holds the only copy of what could not be sent.

    Parameters
    ----------
    experiment, name
        Of the run; the experiment is made if the store lacks it.
    uri
        Tracking URI; by default `default_uri`.
    """

    def __init__(self, experiment: str, name: str, *, uri: str | None = None) -> None:
        self._uri = uri or default_uri()
        self._client = _connect(self._uri)
        place = _ensure_experiment(self._client, self._uri, experiment)
        tags = {"mlflow.source.name": "ndm", "mlflow.source.type": "LOCAL"}
        self.run_id: str = self._client.create_run(place, tags=tags, run_name=name).info.run_id

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Send parameters, nested mappings under dotted names."""
        _send_params(self._writable(), self.run_id, params)

    def log(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Send points ``(name, value, milliseconds since 1970, step)``, a thousand a call."""
        from mlflow.entities import Metric

        client = self._writable()
        for start in range(0, len(points), BATCH):
            batch = points[start : start + BATCH]
            metrics = [Metric(metric_name(name), value, when, step) for name, value, when, step in batch]
            client.log_batch(self.run_id, metrics=metrics)

    def attach(self, path: Path | str, folder: str) -> None:
        """Send a file to a folder of the run's artifacts."""
        self._writable().log_artifact(self.run_id, str(path), folder)

    def finish(self, status: str) -> None:
        """End the run: ``"FINISHED"``, ``"FAILED"`` or ``"KILLED"``."""
        self._writable().set_terminated(self.run_id, status)

    def _writable(self) -> MlflowClient:
        database = sqlite_path(self._uri)
        if database is not None:
            check_writable(database)
        return self._client


def ui_command(uri: str, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """Return the command line that serves MLflow's own pages on a local store.

    Run it with `ui_environment`: both together need two processes and eight seconds, half of MLflow's default.

    Raises
    ------
    InputError
        If ``uri`` names a server: its pages are open already.

    Examples
    --------
    >>> ui_command("sqlite:///mlflow.db")[1:]
    ['-m', 'mlflow', 'server', '--backend-store-uri', 'sqlite:///mlflow.db', '--host', '127.0.0.1', '--port', '5000',
     '--workers', '1']
    """
    if uri.startswith(("http://", "https://")):
        raise InputError(
            f"MLFLOW_TRACKING_URI is a server: open {public_uri(uri)} in a browser; expected a database URI"
        )
    where = ["--backend-store-uri", uri, "--host", host, "--port", str(port)]
    return [sys.executable, "-m", "mlflow", "server", *where, "--workers", "1"]


def ui_environment() -> dict[str, str]:
    """Return the environment in which `ui_command` starts quickly and sends nothing home."""
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def _client(uri: str) -> MlflowClient:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:  # failures are told in one line of our own
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(uri)


def _connect(uri: str) -> MlflowClient:
    prepare(uri)
    database = sqlite_path(uri)
    if database is not None:
        check_writable(database)
    return _client(uri)


def reason(error: Exception) -> str:
    """Return what went wrong in one line, without the user name and password of a server."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: " + re.sub(r"//[^/@\s]*@", "//", line)[:200]


def _explain(folder: Path, error: Exception) -> str:
    return (
        f"MLflow has not got everything of {folder.name!r} ({reason(error)}); "
        "nothing is lost: the files are there and can be sent later"
    )


def _tell(on_warning: Warn | None, message: str) -> None:
    try:
        if on_warning is None:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        else:
            on_warning(message)
    except Exception:
        # A warning turned into an error (python -W error) must not end the run that it warns about.
        sys.stderr.write(f"warning: {message}\n")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    read = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return read if isinstance(read, dict) else {}


def _ensure_run(client: MlflowClient, state: State, uri: str, experiment: str, parent: str | None) -> str:
    """Return the identifier of the folder's MLflow run, creating experiment and run when the store lacks them."""
    here, known = state.data.get("uri") == public_uri(uri), state.data.get("run_id")
    if known is None or not _has_run(client, known):
        # The key is on disk before the run exists: a process killed in between finds its run again.
        key = state.data["key"] if here and known is None else uuid.uuid4().hex
        state.data = {}
        state.save(key=key, uri=public_uri(uri))
        place = _ensure_experiment(client, uri, experiment)
        runs = list(client.search_runs([place], f"tags.`ndm.key` = '{key}'", max_results=1))
        if not runs:
            tags = {"ndm.key": key, "mlflow.source.name": "ndm", "mlflow.source.type": "LOCAL"}
            runs = [client.create_run(place, _start_time(state.folder), tags, run_name=state.folder.name)]
        state.save(run_id=runs[0].info.run_id, experiment=experiment, experiment_id=place, status="RUNNING")
    elif not here:  # the same store under another address
        state.save(uri=public_uri(uri))
    if parent and state.data.get("parent") != parent:
        client.set_tag(state.data["run_id"], "mlflow.parentRunId", parent)
        state.save(parent=parent)
    return str(state.data["run_id"])


def _ensure_experiment(client: MlflowClient, uri: str, name: str) -> str:
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


def _has_run(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _start_time(folder: Path) -> int:
    path = folder / "config.yaml"
    return int(1000 * (path.stat().st_mtime if path.exists() else time.time()))


def _send_params(client: MlflowClient, run: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(metric_name(name), as_text(value)[:PARAM_LENGTH]) for name, value in flatten(params)]
    for start in range(0, len(flat), PARAMS):
        client.log_batch(run, params=flat[start : start + PARAMS])


def _send_settings(client: MlflowClient, run: str, state: State, config: dict[str, Any]) -> None:
    from mlflow.entities import RunTag

    if state.data.get("params") or not config:
        return
    _send_params(client, run, config)
    tags = {name: config.get(name, "") for name in ("method", "seed")}
    tags |= {"task": config.get("task_name") or config.get("task", ""), "domain": domain_of(config)}
    client.log_batch(run, tags=[RunTag(name, as_text(value)[:TAG_LENGTH]) for name, value in tags.items()])
    state.save(params=True)


def _send_metrics(client: MlflowClient, run: str, state: State) -> None:
    """Send the whole lines after the last one sent; a file that is not the one sent before is sent from its start.

    MLflow keeps equal points (name, value, time, step) once, so sending a line again after a crash adds nothing.
    """
    from mlflow.entities import Metric

    path = state.folder / "metrics.jsonl"
    if not path.exists():
        return
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    sent = state.data.get("metrics", {"bytes": 0, "tail": tail_digest(b"", 0)})
    position = (
        sent["bytes"] if sent["bytes"] <= len(content) and sent["tail"] == tail_digest(content, sent["bytes"]) else 0
    )
    batch: list[Metric] = []
    lines = content[position:].splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        position += len(line)
        point = read_point(line)
        if point is not None:
            batch.append(Metric(*point))
        if batch and (len(batch) == BATCH or number == len(lines)):
            client.log_batch(run, metrics=batch)
            batch = []
            state.save(metrics={"bytes": position, "tail": tail_digest(content, position)})
    if position != sent["bytes"]:
        state.save(metrics={"bytes": position, "tail": tail_digest(content, position)})


def _send_dataset(client: MlflowClient, run: str, state: State) -> None:
    from mlflow.entities import Dataset, DatasetInput

    path = state.folder / "dataset.json"
    if state.data.get("dataset") or not path.exists():
        return
    read = json.loads(path.read_text(encoding="utf-8"))
    source = str(read["source"])
    web = source.startswith(("http://", "https://"))
    entity = Dataset(
        name=str(read["name"]),
        digest=str(read["digest"])[:DIGEST_LENGTH],
        source_type="http" if web else "code",
        source=json.dumps({"url": source} if web else {"tags": {"source": source}}),
        profile=json.dumps({"num_rows": read["samples"]}),
    )
    client.log_inputs(run, [DatasetInput(entity, tags=[])])
    client.set_tag(run, "dataset.digest", as_text(read["digest"]))
    state.save(dataset=True)


def _send_result(client: MlflowClient, run: str, state: State) -> None:
    """Send the numbers of result.json as metrics ``result/<key>``, the versions as tags, the verdict as description."""
    from mlflow.entities import Metric, RunTag

    path = state.folder / "result.json"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if state.data.get("result") == digest:
        return
    result, when = json.loads(content), int(1000 * path.stat().st_mtime)
    numbers = [
        Metric(metric_name(f"result/{name}"), float(value), when, 0)
        for name, value in flatten({key: value for key, value in result.items() if key not in NOT_METRICS})
        if isinstance(value, (bool, int, float))
    ]
    tags = {f"versions.{name}": value for name, value in flatten(result.get("versions") or {})}
    tags |= {name: value for name, value in flatten({"git": result.get("git")}) if value is not None}
    if "git.commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git.commit"]
    if result.get("verdict"):
        tags["mlflow.note.content"] = result["verdict"]
    for start in range(0, len(numbers), BATCH):
        client.log_batch(run, metrics=numbers[start : start + BATCH])
    labels = [RunTag(metric_name(name), as_text(value)[:TAG_LENGTH]) for name, value in tags.items()]
    for start in range(0, len(labels), PARAMS):
        client.log_batch(run, tags=labels[start : start + PARAMS])
    state.save(result=digest)


def _send_artifacts(client: MlflowClient, run: str, state: State) -> None:
    sent = dict(state.data.get("artifacts", {}))
    for path in sorted({path for pattern in ARTIFACTS for path in state.folder.glob(pattern) if path.is_file()}):
        name = path.relative_to(state.folder)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if sent.get(name.as_posix()) != digest:
            client.log_artifact(run, str(path), name.parent.as_posix() if name.parent.parts else None)
            sent[name.as_posix()] = digest
            state.save(artifacts=sent)


def _send_model(client: MlflowClient, run: str, state: State) -> None:
    """Log checkpoint/model.pt2 as a model that `mlflow.pytorch.load_model` opens.

    The archive is copied as it is. ``mlflow.pytorch.log_model`` would have to load it, which unpickles, and to export
    it a second time.
    """
    from mlflow.entities import LoggedModelOutput

    archive = state.folder / "checkpoint" / "model.pt2"
    if state.data.get("model_id") or not archive.exists():
        return
    if "model_started" not in state.data:
        created = client.create_logged_model(state.data["experiment_id"], name="model", source_run_id=run)
        state.save(model_started=created.model_id)
    model_id = state.data["model_started"]
    with tempfile.TemporaryDirectory() as scratch:
        _write_model_folder(Path(scratch), archive, model_id, run)
        client.log_model_artifacts(model_id, scratch)
    client.finalize_logged_model(model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model_id, step=0)])
    state.save(model_id=model_id)


def _write_model_folder(target: Path, archive: Path, model_id: str, run: str) -> None:
    """Write MLflow's model format: MLmodel, the archive under data/, and what to install to load it."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    def schema(specs: list[dict[str, Any]]) -> Schema:
        return Schema([TensorSpec(np.dtype(s["dtype"]), tuple(s["shape"]), s.get("name")) for s in specs])

    (target / "data").mkdir()
    (target / "data" / "model.pt2").write_bytes(archive.read_bytes())
    torch_version = version("torch")
    (target / "requirements.txt").write_text(f"mlflow=={version('mlflow')}\ntorch=={torch_version}\n")
    python = ".".join(map(str, sys.version_info[:3]))
    (target / "python_env.yaml").write_text(yaml.safe_dump({"python": python, "dependencies": ["-r requirements.txt"]}))
    model = Model(model_id=model_id, model_uuid=model_id, run_id=run)
    model.add_flavor("pytorch", model_data="data", pytorch_version=torch_version, code=None)
    described = archive.with_name("model_signature.json")
    if described.exists():
        read = json.loads(described.read_text(encoding="utf-8"))
        model.signature = ModelSignature(schema(read["inputs"]), schema(read["outputs"]))
        if len(read["inputs"]) == 1:  # MLflow's generic interface takes one array
            pyfunc.add_to_model(model, "mlflow.pytorch", data="data", python_env="python_env.yaml", code=None)
    model.save(str(target / "MLmodel"))


def _set_status(client: MlflowClient, run: str, state: State, status: str) -> None:
    if state.data.get("status") == status:
        return
    if status == "RUNNING":
        client.update_run(run, status="RUNNING")
    else:
        client.set_terminated(run, status)
    state.save(status=status)
