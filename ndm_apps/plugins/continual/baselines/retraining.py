"""Baselines that store samples and train a fresh network whenever they are asked to predict: GDumb, and joint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ndm_apps.plugins.continual.baselines.stores import Store
from ndm_apps.plugins.continual.baselines.streaming import StreamingModel


class Retrained(StreamingModel):
    """Store what the stream brings; train a new network on the store before predicting.

    With a balanced store this is GDumb; with a store of everything it is the joint, not continual, reference. Training
    is seeded: the same store gives the same network. Avalanche's GDumb trains at every experience, which without
    boundaries is every mini-batch.

    Parameters
    ----------
    store
        What keeps samples.
    make
        Makes a network with random weights from a generator.
    learning_rate, momentum
        Of stochastic gradient descent; the learning rate falls to zero along a half cosine.
    epochs, batch_size
        Passes over the store, each in a new random order, and samples per step.
    seed
        Seed of the weights and the orders.

    References
    ----------
    Prabhu, Torr and Dokania 2020, "GDumb: a simple approach that questions our progress in continual learning".
    """

    def __init__(
        self,
        store: Store,
        make: Callable[[torch.Generator], nn.Module],
        *,
        learning_rate: float,
        momentum: float,
        epochs: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.store, self.make = store, make
        self.learning_rate, self.momentum = learning_rate, momentum
        self.epochs, self.batch_size, self.seed = epochs, batch_size, seed
        self._network: nn.Module | None = None

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Offer a mini-batch to the store."""
        self.store.add(x, y)
        self._network = None

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        return self.network(x)

    @property
    def network(self) -> nn.Module:
        """The network trained on what the store holds."""
        if self._network is None:
            with torch.enable_grad():
                self._network = self._train()
        return self._network

    @property
    def size(self) -> int:
        """Number of weights of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def frozen(self) -> nn.Module:
        """Return the network."""
        return self.network

    def _train(self) -> nn.Module:
        generator = torch.Generator().manual_seed(self.seed)
        if not len(self.store):
            return self.make(generator)
        x, y = self.store.columns
        network = self.make(generator).to(x.device)
        steps = self.epochs * -(-len(x) // self.batch_size)
        optimizer = torch.optim.SGD(network.parameters(), lr=self.learning_rate, momentum=self.momentum)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(self.epochs):
            for batch in torch.randperm(len(x), generator=generator).split(self.batch_size):
                optimizer.zero_grad()
                cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
                schedule.step()
        return network.eval()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the store: the network follows from it."""
        return self.store.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the store."""
        self.store.load_state_dict(state)
        self._network = None
