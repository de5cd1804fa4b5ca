"""Planning: a learned dynamics model as a field with a metric, and least-action paths on it.

References
----------
Di Zhang, The Neural Differential Manifold, arXiv:2510.25113 (2025).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndm_apps.plugins.planning.agent import GeodesicAgent as GeodesicAgent
    from ndm_apps.plugins.planning.metric_planner import MetricPlanner as MetricPlanner
    from ndm_apps.plugins.planning.planner import GeodesicPlanner as GeodesicPlanner

_DOORS = {"GeodesicAgent": "agent", "GeodesicPlanner": "planner", "MetricPlanner": "metric_planner"}
__all__ = ["GeodesicAgent", "GeodesicPlanner", "MetricPlanner"]


def __getattr__(name: str) -> object:
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DOORS[name]}"), name)
