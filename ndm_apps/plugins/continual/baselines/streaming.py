"""Learners that are no gradient descent on the stream: a model that takes in mini-batches by itself."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from abc import abstractmethod
from collections.abc import Sized
from typing import Any

from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from ndm_apps.plugins.continual.online import OnlineLearning


class StreamingModel(nn.Module):
    """A classifier that learns mini-batches by itself.

    Attributes
    ----------
    store
        Stored exemplars, if it keeps any.
    """

    store: Sized | None = None

    @abstractmethod
    def learn(self, x: Tensor, y: Tensor) -> None:
        """Take in a mini-batch ``(batch, ...)`` with integer labels ``(batch,)``."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of learnt weights that a prediction uses."""

    def frozen(self) -> nn.Module | None:
        """Return the classifier as plain layers, where it is no more than that."""
        return None


class StreamingStrategy(OnlineLearning, SupervisedTemplate):
    """Avalanche strategy around a :class:`StreamingModel`.

    Parameters
    ----------
    model
        The model; it has ``state_dict`` and ``load_state_dict`` as every module.
    **common
        Settings of Avalanche's strategies, such as ``train_mb_size``.
    """

    alarms: tuple[int, ...] = ()
    charts = 1

    def __init__(self, *, model: StreamingModel, **common: Any) -> None:
        super().__init__(model=model, optimizer=None, **common)

    @property
    def stored_exemplars(self) -> int:
        """Number of samples stored."""
        return 0 if self.model.store is None else len(self.model.store)

    @property
    def parameters(self) -> int:
        """Number of learnt weights that a prediction uses."""
        return self.model.size

    def frozen(self) -> nn.Module | None:
        """Return the classifier as plain layers, where it is no more than that."""
        return self.model.frozen()

    def learn(self) -> None:
        """Let the model take in the mini-batch."""
        self.model.learn(self.mb_x, self.mb_y)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state)
        self.model.to(self.device)
