"""A run that is written to MLflow directly, for what has no run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndm_apps.tracking.content import send_params
from ndm_apps.tracking.delivery import source_tags
from ndm_apps.tracking.store import check_writable, connect, ensure_experiment
from ndm_apps.tracking.text import BATCH, metric_name
from ndm_apps.tracking.uri import default_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


class LiveRun:
    """One MLflow run that is written to directly, for what has no run folder.

    Unlike `sync` and `Tracker` its methods raise what MLflow raises, within seconds if the store is a locked file: the
    caller holds the only copy of what could not be sent.

    Parameters
    ----------
    experiment, name
        Of the run; the experiment is made if the store lacks it.
    uri
        Tracking URI; by default `default_uri`.
    """

    def __init__(self, experiment: str, name: str, *, uri: str | None = None) -> None:
        self._uri = uri or default_uri()
        self._client = connect(self._uri)
        place = ensure_experiment(self._client, self._uri, experiment)
        self.run_id: str = self._client.create_run(place, tags=source_tags(), run_name=name).info.run_id

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Send parameters, nested mappings under dotted names."""
        send_params(self._writable(), self.run_id, params)

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
        check_writable(self._uri)
        return self._client
