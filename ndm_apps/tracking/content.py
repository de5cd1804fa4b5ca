"""What MLflow is sent of a run folder: settings, points, data set, results, files. Each part is sent once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndm_apps.records import domain_of, flatten
from ndm_apps.tracking.state import LOGS, State, tail_digest
from ndm_apps.tracking.text import (
    BATCH,
    DIGEST_LENGTH,
    PARAM_LENGTH,
    PARAMS,
    TAG_LENGTH,
    as_text,
    metric_name,
    read_point,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
    "figures/*.gif",
    "figures/captions.json",
)
SAVE_SECONDS = 1.0  # between notes of how far a long log has been sent
NOT_METRICS = frozenset({"config", "versions", "git", "seed"})  # parts of result.json that are not measurements


def send_params(client: MlflowClient, run: str, params: Mapping[str, Any]) -> None:
    """Send parameters, nested mappings under dotted names."""
    from mlflow.entities import Param

    flat = [Param(metric_name(name), as_text(value)[:PARAM_LENGTH]) for name, value in flatten(params)]
    for start in range(0, len(flat), PARAMS):
        client.log_batch(run, params=flat[start : start + PARAMS])


def send_tags(client: MlflowClient, run: str, tags: Mapping[str, Any]) -> None:
    """Send tags."""
    from mlflow.entities import RunTag

    labels = [RunTag(metric_name(name), as_text(value)[:TAG_LENGTH]) for name, value in tags.items()]
    for start in range(0, len(labels), PARAMS):
        client.log_batch(run, tags=labels[start : start + PARAMS])


def labels_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what runs are told apart by in MLflow's tables: domain, task, method, seed."""
    return {
        "domain": domain_of(config),
        "task": config.get("task_name") or config.get("task", ""),
        "method": config.get("method", ""),
        "seed": config.get("seed", ""),
    }


def send_settings(client: MlflowClient, run: str, state: State, config: Mapping[str, Any]) -> None:
    """Send the resolved config as parameters, and the labels of the run as tags."""
    if state.data.get("params") or not config:
        return
    send_params(client, run, config)
    send_tags(client, run, labels_of(config))
    state.save(params=True)


def send_points(client: MlflowClient, run: str, state: State) -> None:
    """Send the whole lines of each log after the last one sent; a log that has been rewritten is sent from its start.

    MLflow keeps equal points (name, value, time, step) once, so sending a line again after a crash adds nothing.
    """
    for log in LOGS:
        _send_log(client, run, state, log)


def _send_log(client: MlflowClient, run: str, state: State, log: str) -> None:
    from mlflow.entities import Metric

    path = state.folder / LOGS[log]
    if not path.exists():
        return
    content = path.read_bytes()
    content = content[: content.rfind(b"\n") + 1]
    sent = state.data.get(log, {"bytes": 0, "tail": tail_digest(b"", 0)})
    position = (
        sent["bytes"] if sent["bytes"] <= len(content) and sent["tail"] == tail_digest(content, sent["bytes"]) else 0
    )
    saved, batch = time.monotonic(), []
    lines = content[position:].splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        position += len(line)
        point = read_point(line)
        if point is not None:
            batch.append(Metric(*point))
        if batch and (len(batch) == BATCH or number == len(lines)):
            client.log_batch(run, metrics=batch)
            batch = []
            if time.monotonic() - saved > SAVE_SECONDS:
                state.save(**{log: {"bytes": position, "tail": tail_digest(content, position)}})
                saved = time.monotonic()
    if position != sent["bytes"] or lines:
        state.save(**{log: {"bytes": position, "tail": tail_digest(content, position)}})


def send_dataset(client: MlflowClient, run: str, state: State) -> None:
    """Send name, source, digest and size of the data as the run's input."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    path = state.folder / "dataset.json"
    if state.data.get("dataset") or not path.exists():
        return
    read = json.loads(path.read_text(encoding="utf-8"))
    source = str(read["source"])
    web = source.startswith(("http://", "https://"))
    name, digest = str(read["name"]), str(read["digest"])[:DIGEST_LENGTH]
    entity = Dataset(
        name=name,
        digest=digest,
        source_type="http" if web else "code",
        source=json.dumps({"url": source} if web else {"tags": {"source": source}}),
        profile=json.dumps({"num_rows": read["samples"]}),
    )
    client.log_inputs(run, [DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])])
    client.set_tag(run, "dataset.digest", as_text(read["digest"]))
    state.save(dataset={"name": name, "digest": digest})


def send_result(client: MlflowClient, run: str, state: State) -> None:
    """Send the numbers of result.json as metrics ``result/<key>``, the versions as tags, the verdict as description.

    The metrics name the data set and the model that they are of, so that MLflow's list of models shows them, too.
    """
    from mlflow.entities import Metric

    path = state.folder / "result.json"
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if state.data.get("result") == digest:
        return
    result, when = json.loads(content), int(1000 * path.stat().st_mtime)
    of: dict[str, Any] = {"model_id": state.data.get("model_id"), "run_id": run}
    if isinstance(dataset := state.data.get("dataset"), dict):
        of |= {"dataset_name": dataset["name"], "dataset_digest": dataset["digest"]}
    numbers = [
        Metric(metric_name(f"result/{name}"), float(value), when, 0, **of)
        for name, value in flatten({key: value for key, value in result.items() if key not in NOT_METRICS})
        if isinstance(value, (bool, int, float))
    ]
    for start in range(0, len(numbers), BATCH):
        client.log_batch(run, metrics=numbers[start : start + BATCH])
    tags = {f"versions.{name}": value for name, value in flatten(result.get("versions") or {})}
    tags |= {name: value for name, value in flatten({"git": result.get("git")}) if value is not None}
    commit = tags.get("git.commit") or tags.get("git")
    if commit:
        tags["mlflow.source.git.commit"] = str(commit).removesuffix("+changes")
    if result.get("verdict"):
        tags["mlflow.note.content"] = result["verdict"]
    send_tags(client, run, tags)
    state.save(result=digest)


def send_artifacts(client: MlflowClient, run: str, state: State) -> None:
    """Send the files that a run or a sweep is read by, each again when its content has changed."""
    sent = dict(state.data.get("artifacts", {}))
    for path in sorted({path for pattern in ARTIFACTS for path in state.folder.glob(pattern) if path.is_file()}):
        name = path.relative_to(state.folder)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if sent.get(name.as_posix()) != digest:
            client.log_artifact(run, str(path), name.parent.as_posix() if name.parent.parts else None)
            sent[name.as_posix()] = digest
            state.save(artifacts=sent)
