"""The training loop of Avalanche strategies whose learner takes in mini-batches by itself."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from abc import abstractmethod
from typing import Any

import torch
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval

from ndm_apps.plugins.continual.resident import ResidentBatches


class OnlineLearning(ResidentBatches):
    """Mixin for Avalanche strategies without an optimiser of theirs and a backward pass: mini-batches are learnt once.

    Put it before the strategy in the list of bases.
    """

    @abstractmethod
    def learn(self) -> None:
        """Learn the mini-batch ``self.mb_x`` with labels ``self.mb_y``."""

    def make_optimizer(self, **kwargs: Any) -> None:
        """Do nothing: there is none, or it does not come and go with experiences."""

    def training_epoch(self, **kwargs: Any) -> None:
        """Pass over the mini-batches once, with all of Avalanche's hooks but those of the backward pass."""
        # A prediction costs time, more where it solves for a read-out: none is made for nobody.
        predicts = any(not isinstance(plugin, Clock | PeriodicEval) for plugin in self.plugins)
        for mbatch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = mbatch
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            if predicts:
                self._before_forward(**kwargs)
                with torch.no_grad():
                    self.mb_output = self.forward()
                self._after_forward(**kwargs)
                self.loss = self.criterion()
            self._before_update(**kwargs)
            self.learn()
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)
