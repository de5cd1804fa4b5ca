"""Physics: conserved quantities found in trajectories, as formulas, with the evidence for their number.

``discover`` finds them in a data frame. It is imported on first use, so that reading a config imports neither sympy
nor torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {"Discovery": "api", "discover": "api"}
__all__ = ["Discovery", "discover"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
