"""river's trees for streams: the baselines of streams that are tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ndm_apps.errors import InputError
from ndm_apps.plugins.continual.baselines.stores import Everything
from ndm_apps.plugins.continual.baselines.streaming import StreamingModel


class RiverModel(StreamingModel):
    """One of river's classifiers, fed sample by sample.

    A classifier of river has no portable state but a pickle. It follows from what it has seen, so that is what is
    saved; loading learns it again.

    Parameters
    ----------
    classes
        Number of classes.
    model
        river's classifier.
    """

    def __init__(self, classes: int, model: Any) -> None:
        super().__init__()
        self.classes, self.model = classes, model
        self._history = Everything(seed=0)

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Learn one sample after the other."""
        self._history.add(x, y)
        for row, label in zip(_rows(x), y.tolist(), strict=True):
            self.model.learn_one(row, label)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithms of the estimated probabilities, ``(batch, classes)``."""
        estimated = x.new_zeros(len(x), self.classes)
        for number, row in enumerate(_rows(x)):
            for label, probability in self.model.predict_proba_one(row).items():
                estimated[number, label] = probability
        return estimated.log()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the samples seen."""
        return self._history.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Learn the samples of a saved state, in an instance that has learnt nothing yet."""
        if state["columns"]:
            self.learn(*state["columns"])


class RiverTree(RiverModel):
    """river's ``HoeffdingTreeClassifier``.

    Parameters
    ----------
    classes
        Number of classes.
    grace_period, delta
        Samples of a leaf between two attempts to split it; probability that a split is not the best one.

    Raises
    ------
    InputError
        If river is not installed.

    References
    ----------
    Domingos and Hulten 2000, "Mining high-speed data streams".
    """

    def __init__(self, classes: int, *, grace_period: int, delta: float) -> None:
        tree = _river("tree")
        super().__init__(classes, tree.HoeffdingTreeClassifier(grace_period=grace_period, delta=delta))

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self.model.n_nodes


class RiverForest(RiverModel):
    """river's ``ARFClassifier``: online bagging of Hoeffding trees, each replaced when ADWIN finds that it got worse.

    Parameters
    ----------
    classes
        Number of classes.
    trees
        Number of trees.
    grace_period, delta
        As of :class:`RiverTree`.
    seed
        Seed of the bagging and the choice of features.

    Raises
    ------
    InputError
        If river is not installed.

    References
    ----------
    Gomes et al. 2017, "Adaptive random forests for evolving data stream classification".
    """

    def __init__(self, classes: int, *, trees: int, grace_period: int, delta: float, seed: int) -> None:
        forest = _river("forest")
        super().__init__(
            classes, forest.ARFClassifier(n_models=trees, grace_period=grace_period, delta=delta, seed=seed)
        )

    @property
    def size(self) -> int:
        """Number of nodes of all trees."""
        return sum(tree.n_nodes for tree in self.model)


def _river(part: str) -> Any:
    try:
        return __import__(f"river.{part}", fromlist=[part])
    except ImportError as error:
        raise InputError("method: this one needs river, which is not installed: pip install river") from error


def _rows(x: Tensor) -> list[dict[int, float]]:
    return [dict(enumerate(row)) for row in torch.flatten(x, 1).tolist()]
