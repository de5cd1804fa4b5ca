"""Regularisers that must be told where experiences end: elastic weight consolidation, learning without forgetting."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import copy
from typing import Any

from avalanche.training.plugins import EWCPlugin, LwFPlugin
from avalanche.training.utils import ParamData
from torch import Tensor, nn

State = list[dict[str, Tensor]]  # by experience and name of the parameter


class ElasticWeights(EWCPlugin):
    r"""Avalanche's elastic weight consolidation, with a state that can be saved.

    .. math:: L + \lambda \sum_{k < t} \sum_i F_{k,i} (\theta_i - \theta_{k,i})^2

    :math:`\theta_k` are the weights at the end of experience k and :math:`F_k` the mean square of the gradients of its
    mini-batches there.

    Parameters
    ----------
    strength
        The weight :math:`\lambda`.

    References
    ----------
    Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
    """

    def __init__(self, strength: float) -> None:
        super().__init__(ewc_lambda=strength)

    def state_dict(self) -> dict[str, State]:
        """Return everything a resumed run needs."""
        return {"weights": _tensors(self.saved_params), "importances": _tensors(self.importances)}

    def load_state_dict(self, state: dict[str, State]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for mine, saved in ((self.saved_params, state["weights"]), (self.importances, state["importances"])):
            mine.clear()
            for number, named in enumerate(saved):
                mine[number] = {k: ParamData(k, init_tensor=v, device=v.device) for k, v in named.items()}


def _tensors(named: dict[int, dict[str, ParamData]]) -> State:
    return [{name: data.data for name, data in named[number].items()} for number in sorted(named)]


class Distillation(LwFPlugin):
    r"""Avalanche's learning without forgetting, on streams without task labels, with a state that can be saved.

    .. math:: L + \alpha\, \mathrm{KL}(\operatorname{softmax}(f_{t-1}(x) / T) \,\|\, \operatorname{softmax}(f(x) / T))

    over the classes seen by the end of the last experience, at which the network was :math:`f_{t-1}`.

    Parameters
    ----------
    strength
        The weight :math:`\alpha`.
    temperature
        The temperature T.

    References
    ----------
    Li and Hoiem 2016, "Learning without forgetting".
    """

    def __init__(self, strength: float, temperature: float, model: nn.Module) -> None:
        super().__init__(strength, temperature)
        self._blank = model

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the network and the classes seen."""
        # Avalanche's own looks for task labels, which these experiences do not have.
        self.lwf.prev_model = copy.deepcopy(strategy.model)
        self.lwf.prev_classes_by_task[0] |= set(strategy.experience.dataset.targets.uniques)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        teacher = self.lwf.prev_model
        return {
            "teacher": None if teacher is None else teacher.state_dict(),
            "classes": sorted(self.lwf.prev_classes_by_task[0]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.lwf.prev_classes_by_task[0] = set(state["classes"])
        self.lwf.prev_model = None
        if state["teacher"] is not None:
            self.lwf.prev_model = copy.deepcopy(self._blank)
            self.lwf.prev_model.load_state_dict(state["teacher"])
