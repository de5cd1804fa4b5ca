"""Baselines in the same loop: fine-tuning, experience replay, streaming linear discriminant analysis."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import itertools
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.supervised import Naive, StreamingLDA
from torch import Tensor, nn

from ndm_apps.plugins.continual.resident import ResidentBatches


def perceptron(features: int, hidden: tuple[int, ...], classes: int) -> nn.Sequential:
    """Return a multilayer perceptron with ReLU units on flattened inputs."""
    widths = (features, *hidden)
    layers = [m for pair in itertools.pairwise(widths) for m in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], classes))


class ReservoirReplay(SupervisedPlugin):
    """Join every mini-batch with exemplars from a reservoir: a uniform sample of all that was seen.

    Parameters
    ----------
    exemplars
        Size of the reservoir.
    replayed
        Exemplars drawn for each mini-batch.
    seed
        Seed of the reservoir and the draws.

    References
    ----------
    Vitter 1985 (reservoir sampling); Chaudhry et al. 2019, "On tiny episodic memories in continual learning".
    """

    def __init__(self, exemplars: int, replayed: int, *, seed: int) -> None:
        super().__init__()
        self.exemplars, self.replayed = exemplars, replayed
        self.generator = torch.Generator().manual_seed(seed)
        self.seen = 0
        self.x: Tensor | None = None
        self.y: Tensor | None = None
        self._fresh: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return 0 if self.x is None else len(self.x)

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Append replayed exemplars to the mini-batch."""
        self._fresh = (strategy.mb_x, strategy.mb_y)
        if len(self):
            drawn = torch.randint(len(self), (self.replayed,), generator=self.generator)
            strategy.mbatch[0] = torch.cat([strategy.mb_x, self.x[drawn]])
            strategy.mbatch[1] = torch.cat([strategy.mb_y, self.y[drawn]])

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Offer the new samples to the reservoir."""
        x, y = self._fresh
        if self.x is None:
            self.x, self.y = x[:0].clone(), y[:0].clone()
        room = self.exemplars - len(self)
        if room > 0:
            self.x, self.y = torch.cat([self.x, x[:room]]), torch.cat([self.y, y[:room]])
        # The n-th sample replaces a random one with probability exemplars / n.
        for number in range(max(room, 0), len(x)):
            place = int(torch.randint(self.seen + number + 1, (1,), generator=self.generator))
            if place < self.exemplars:
                self.x[place], self.y[place] = x[number], y[number]
        self.seen += len(x)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {"x": self.x, "y": self.y, "seen": self.seen, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.x, self.y, self.seen = state["x"], state["y"], state["seen"]
        self.generator.set_state(state["generator"])


class ResidentNaive(ResidentBatches, Naive):
    """Avalanche's ``Naive`` on tensors in memory, with a state that can be saved."""

    alarms: tuple[int, ...] = ()
    charts = 1
    last_loss = float("nan")

    def _train_cleanup(self) -> None:
        # Avalanche forgets the loss of the last mini-batch here.
        self.last_loss = float(self.loss.detach())
        super()._train_cleanup()

    @property
    def replay(self) -> ReservoirReplay | None:
        """The replay plugin, if it has one."""
        return next((plugin for plugin in self.plugins if isinstance(plugin, ReservoirReplay)), None)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "replay": None if self.replay is None else self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        # Avalanche resets an optimiser at its first experience; registering its parameters now keeps its state.
        self.make_optimizer(reset_optimizer_state=True)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.replay is not None:  # it is False in itself as long as it holds nothing
            self.replay.load_state_dict(state["replay"])


class ResidentLDA(ResidentBatches, StreamingLDA):
    """Avalanche's ``StreamingLDA`` on tensors in memory, with a state that can be saved."""

    alarms: tuple[int, ...] = ()
    charts = 1
    replay = None
    _STATE = ("muK", "cK", "Sigma", "num_updates")

    def __init__(self, *, dtype: torch.dtype = torch.float32, **settings: Any) -> None:
        super().__init__(**settings)
        for name in ("muK", "cK", "Sigma", "Lambda"):
            setattr(self, name, getattr(self, name).to(dtype))

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {name: getattr(self, name) for name in self._STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for name in self._STATE:
            setattr(self, name, state[name])
