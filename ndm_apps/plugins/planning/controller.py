"""What acts: from the state to the control, one step after the other."""

from __future__ import annotations

from typing import Protocol

from ndm_apps.plugins.planning.dynamics import Array


class Controller(Protocol):
    """A way to act, ours or another's: all are evaluated by the same loop on the same seeds."""

    def start(self, x: Array) -> None:
        """Begin an episode at the state x, (n,): plan, and forget the episode before."""
        ...

    def control(self, x: Array) -> Array:
        """Return the control (m,) to apply at the state x, (n,), one step after the last call."""
        ...
