"""The MLflow run of a sweep, under which its runs are nested."""

from __future__ import annotations

from pathlib import Path

from ndm_apps.errors import InputError
from ndm_apps.tracking.content import send_artifacts, send_tags
from ndm_apps.tracking.delivery import ensure_run, set_status
from ndm_apps.tracking.lock import folder_lock
from ndm_apps.tracking.state import State, known_uri
from ndm_apps.tracking.store import connect
from ndm_apps.tracking.telling import Warn, explain, tell
from ndm_apps.tracking.text import TAG_LENGTH


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
            client = connect(target)
            run = ensure_run(client, state, target, f"ndm/{domain}", None)
            if not state.data.get("params"):
                send_tags(client, run, {"domain": domain, "kind": "sweep"})
                state.save(params=True)
            set_status(client, run, state, "RUNNING")
    except Exception as error:
        tell(on_warning, explain(folder, error))
        return None
    return run


def finish_parent(
    sweep_dir: Path | str, *, uri: str | None = None, status: str = "FINISHED", on_warning: Warn | None = None
) -> bool:
    """Send the tables and the page of a sweep, its table as description, and end its MLflow run.

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
            client = connect(target)
            run = ensure_run(client, state, target, state.data["experiment"], None)
            table = folder / "summary.md"
            text = table.read_text(encoding="utf-8") if table.exists() else ""
            if text and len(text) <= TAG_LENGTH:  # half a table would not be one
                send_tags(client, run, {"mlflow.note.content": text})
            send_artifacts(client, run, state)
            set_status(client, run, state, status)
    except Exception as error:
        tell(on_warning, explain(folder, error))
        return False
    return True
