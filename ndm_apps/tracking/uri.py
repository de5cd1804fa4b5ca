"""Where MLflow's store is: tracking URIs, without MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

SQLITE = "sqlite:///"


def default_uri(results_dir: Path | str = "results") -> str:
    """Return ``MLFLOW_TRACKING_URI`` if it is set, else the SQLite store of a results folder.

    Parameters
    ----------
    results_dir
        Folder that holds, or will hold, ``mlflow.db`` and ``mlflow-artifacts/``.

    Returns
    -------
    str
        A tracking URI. Nothing is created.

    Examples
    --------
    >>> default_uri("/data/results") if "MLFLOW_TRACKING_URI" not in os.environ else "sqlite:////data/results/mlflow.db"
    'sqlite:////data/results/mlflow.db'
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{Path(results_dir).absolute() / 'mlflow.db'}"


def public_uri(uri: str) -> str:
    """Return the URI without user name and password: it is written to disk and shown.

    Examples
    --------
    >>> public_uri("https://me:secret@host:5000/mlflow")
    'https://host:5000/mlflow'
    """
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def sqlite_path(uri: str) -> Path | None:
    """Return the file that an SQLite URI names, or None.

    Examples
    --------
    >>> sqlite_path("sqlite:///results/mlflow.db"), sqlite_path("http://localhost:5000")
    (PosixPath('results/mlflow.db'), None)
    """
    name = uri.removeprefix(SQLITE).partition("?")[0]
    return Path(name) if uri.startswith(SQLITE) and name not in ("", ":memory:") else None


def is_server(uri: str) -> bool:
    """Whether the URI names a server rather than a database."""
    return uri.startswith(("http://", "https://"))
