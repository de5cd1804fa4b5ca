"""Networks trained by gradient on the stream, with plugins that say how."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from typing import Any, Protocol, runtime_checkable

from avalanche.training.supervised import Naive
from torch import nn

from ndm_apps.plugins.continual.resident import ResidentBatches


@runtime_checkable
class Stateful(Protocol):
    """A plugin with a state of its own."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""


class ResidentNaive(ResidentBatches, Naive):
    """Avalanche's ``Naive`` on tensors in memory, with a state that can be saved.

    By itself it is fine-tuning; plugins make it replay or regularise.
    """

    alarms: tuple[int, ...] = ()
    charts = 1

    @property
    def stored_exemplars(self) -> int:
        """Number of samples stored."""
        return sum(len(plugin.store) for plugin in self.plugins if hasattr(plugin, "store"))

    @property
    def parameters(self) -> int:
        """Number of learnt weights that a prediction uses."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def frozen(self) -> nn.Module:
        """Return the classifier as plain layers."""
        return self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "experiences": self.clock.train_exp_counter,
            "plugins": [plugin.state_dict() for plugin in self._stateful()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        # Avalanche resets an optimiser at its first experience; registering its parameters now keeps its state.
        self.make_optimizer(reset_optimizer_state=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.clock.train_exp_counter = state["experiences"]
        for plugin, saved in zip(self._stateful(), state["plugins"], strict=True):
            plugin.load_state_dict(saved)

    def _stateful(self) -> list[Stateful]:
        return [plugin for plugin in self.plugins if isinstance(plugin, Stateful)]
