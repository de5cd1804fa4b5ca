"""Later delivery of runs and sweeps to MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ndm_apps import tracking
from ndm_apps.config import load_config
from ndm_apps.sweep.folder import RECORD


def send(path: Path, *, warn: Callable[[str], None] = print) -> list[bool]:
    """Send to MLflow what it lacks of the runs at or below a folder, those of a sweep nested under it.

    Returns
    -------
    list of bool
        For each run, whether MLflow holds all of it. Every run is tried, also after one has failed.
    """
    held = []
    sweeps = {file.parent for file in path.rglob(RECORD)}
    # MLflow's own copies of runs, which may lie below the same folder, have no log.
    for folder in sorted(file.parent for file in path.rglob("metrics.jsonl")):
        config = load_config(folder / "config.yaml")
        parent = None
        if folder.parent in sweeps:
            parent = tracking.start_parent(folder.parent, config.plugin.domain, on_warning=warn)
        held.append(tracking.sync(folder, parent=parent, on_warning=warn))
    for folder in sorted(sweeps):
        if (folder / "tracking.json").exists():
            tracking.finish_parent(folder, on_warning=warn)
    return held
