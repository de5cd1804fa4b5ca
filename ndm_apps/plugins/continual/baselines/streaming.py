"""Learners that are no gradient descent on the stream: a model that takes in mini-batches by itself."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from abc import abstractmethod
from collections.abc import Sized
from typing import Any

import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from ndm_apps.plugins.continual.resident import ResidentBatches, idles_in_training


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


class StreamingStrategy(ResidentBatches, SupervisedTemplate):
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
        self._predicts = not idles_in_training(self.evaluator)

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

    def make_optimizer(self, **kwargs: Any) -> None:
        """Do nothing: the model learns by itself."""

    def training_epoch(self, **kwargs: Any) -> None:
        """Pass over the mini-batches once, with all of Avalanche's hooks but those of the backward pass."""
        for mbatch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = mbatch
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            if self._predicts:  # nobody else looks at predictions in training
                self._before_forward(**kwargs)
                with torch.no_grad():
                    self.mb_output = self.forward()
                self._after_forward(**kwargs)
                self.loss = self.criterion()
            self._before_update(**kwargs)
            self.model.learn(self.mb_x, self.mb_y)
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state)
        self.model.to(self.device)
