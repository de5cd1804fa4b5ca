"""Folders in which data sets are looked for."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder for downloads: ``$XDG_CACHE_HOME/ndm_apps``, by default ``~/.cache/ndm_apps``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ndm_apps"


def search_path() -> list[Path]:
    """Folders in which data sets are looked for, first hit wins."""
    chosen = os.environ.get("NDM_DATA")
    return ([Path(chosen)] if chosen else []) + [cache_dir()]
