"""Continual learning: streams without boundaries, shift detection on curvature, charts that grow.

``NDMStrategy`` is an Avalanche strategy, ``ShiftDetector`` stands alone. Both are imported on first use, so that
reading a config does not import torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "NDMStrategy": "strategy",
    "NDMClassifier": "model",
    "ShiftDetector": "shift.detector",
}
__all__ = ["NDMClassifier", "NDMStrategy", "ShiftDetector"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
