"""Delivery of run folders to MLflow. The disk is the truth: what MLflow missed is sent later, nothing is sent twice.

One idempotent function does the work: `sync` reads a run folder, compares it with the folder's ``tracking.json`` and
sends what is missing. `Tracker` calls it from a background thread while a run goes on. No function of the two raises or
waits without end when the store is locked, gone, read-only or damaged: it returns False (or None) and tells why, once.

This is the only package that imports MLflow, and only inside functions (the import takes one to three seconds); its
module ``ahead`` is for processes that others are forked from.
"""

from ndm_apps.tracking.delivery import sync
from ndm_apps.tracking.live import LiveRun
from ndm_apps.tracking.machine import request_system_metrics
from ndm_apps.tracking.parent import finish_parent, start_parent
from ndm_apps.tracking.state import is_behind
from ndm_apps.tracking.store import prepare
from ndm_apps.tracking.telling import reason
from ndm_apps.tracking.tracker import Tracker
from ndm_apps.tracking.ui import ui_command, ui_environment
from ndm_apps.tracking.uri import default_uri, public_uri, sqlite_path

__all__ = [
    "LiveRun",
    "Tracker",
    "default_uri",
    "finish_parent",
    "is_behind",
    "prepare",
    "public_uri",
    "reason",
    "request_system_metrics",
    "sqlite_path",
    "start_parent",
    "sync",
    "ui_command",
    "ui_environment",
]
