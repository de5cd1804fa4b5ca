"""The paper's network, trained on a stream: one NDM per chart, grown at curvature alarms, old ones frozen."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
import copy
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins.evaluation import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from ndm_apps.engine import NDM, GeometricLoss
from ndm_apps.plugins.continual.immersion.lift import RandomLift
from ndm_apps.plugins.continual.resident import ResidentBatches
from ndm_apps.plugins.continual.shift.detector import ShiftDetector


class NDMCharts(nn.Module):
    """One network for each chart of an atlas; a sample is classified by the network of the chart it lies in.

    Parameters
    ----------
    features, classes
        Width of a sample, and number of classes.
    detector
        Whose atlas routes the samples.
    depth, structure
        As of :class:`~ndm_apps.engine.NDM`.
    """

    def __init__(
        self, features: int, classes: int, detector: ShiftDetector, *, depth: int = 2, structure: str = "conformal"
    ) -> None:
        super().__init__()
        self.classes = classes
        # No submodule: the detector stays on the CPU, in its own precision, wherever the networks are moved.
        object.__setattr__(self, "detector", detector)
        self.scaling = RandomLift(0)
        self.networks = nn.ModuleList([NDM(features, classes, depth=depth, structure=structure)])

    def grow(self) -> None:
        """Freeze the present network and go on with a copy of it."""
        grown = copy.deepcopy(self.networks[-1])
        self.networks[-1].requires_grad_(False)
        self.networks.append(grown)

    def shrink(self) -> None:
        """Drop the present network, whose chart was given up, and go on with the one before."""
        del self.networks[-1]
        self.networks[-1].requires_grad_(True)

    def route(self, x: Tensor) -> Tensor:
        """Return the number of the network of each sample, ``(batch, ...) -> (batch,)``."""
        if len(self.detector.atlas.charts) < 2:
            return torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.detector.atlas.route(self.detector.embed(x.cpu())[0]).to(x.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes)``."""
        home, z = self.route(x), self.scaling(x)
        logits = z.new_empty(len(z), self.classes)
        for number in home.unique().tolist():
            logits[home == number] = self.networks[number](z[home == number])[0]
        return logits

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Networks and scaling appear as the stream goes on: make room for them before their tensors are copied.
        for name in ("mean", "scale", "weight", "bias"):
            if prefix + "scaling." + name in state_dict:
                setattr(self.scaling, name, torch.empty_like(state_dict[prefix + "scaling." + name]))
        del self.networks[1:]
        self.networks.requires_grad_(True)
        while f"{prefix}networks.{len(self.networks)}.head.weight" in state_dict:
            self.grow()
        super()._load_from_state_dict(state_dict, prefix, *args)


class TrainedNDMStrategy(ResidentBatches, SupervisedTemplate):
    r"""The Neural Differential Manifold of the paper on a stream: trained by gradient, kept by growing charts.

    The network (invertible coordinate maps, a Metric Net at each layer) minimises :math:`L_\text{task} + \lambda
    L_\text{geo}` on each mini-batch. When the shift detector raises an alarm, the network is frozen and a copy of it
    goes on in the new chart; samples that are recognised as an old chart's change nothing. Experience boundaries and
    task labels are never looked at, no sample is kept for replay.

    Parameters
    ----------
    features, classes
        Width of a sample, and number of classes.
    detector
        A :class:`~ndm_apps.plugins.continual.ShiftDetector`.
    depth, structure
        As of :class:`~ndm_apps.engine.NDM`.
    geometric
        :math:`\lambda`, the weight of ``L_curv + L_vol``; 0 leaves the metric untrained.
    learning_rate, steps
        Step size of Adam, and its steps on each mini-batch.
    train_mb_size, eval_mb_size, device, plugins, evaluator
        As of Avalanche's strategies.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        detector: ShiftDetector,
        depth: int = 2,
        structure: str = "conformal",
        geometric: float = 0.1,
        learning_rate: float = 3e-3,
        steps: int = 5,
        dtype: torch.dtype = torch.float32,
        train_mb_size: int = 32,
        eval_mb_size: int | None = 512,
        device: str | torch.device = "cpu",
        plugins: Sequence[SupervisedPlugin] | None = None,
        evaluator: EvaluationPlugin | None = None,
    ) -> None:
        charts = NDMCharts(features, classes, detector, depth=depth, structure=structure)
        charts.networks.to(dtype)
        super().__init__(
            model=charts,
            optimizer=None,
            train_mb_size=train_mb_size,
            eval_mb_size=eval_mb_size,
            device=device,
            plugins=plugins,
            evaluator=evaluator,
        )
        self.detector = detector
        self.geometric, self.weight = GeometricLoss(), geometric
        self.learning_rate, self.steps = learning_rate, steps
        self.optimizer = self._fresh_optimizer()

    @property
    def alarms(self) -> list[int]:
        """Sample indices of the detected shifts."""
        return list(self.detector.alarms)

    @property
    def charts(self) -> int:
        """Number of charts grown so far."""
        return len(self.model.networks)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Do nothing: optimisers come and go with charts, not with experiences."""

    def training_epoch(self, **kwargs: Any) -> None:
        """Pass over the mini-batches once, several gradient steps each, without hooks of the backward pass."""
        for mbatch in self.dataloader:
            if self._stop_training:
                break
            self.mbatch = mbatch
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            if not self.model.scaling.fitted:
                self.model.scaling.fit(self.mb_x)
            self.detector.update(self.mb_x.cpu(), self.mb_y.cpu())
            self._follow_charts()
            self._before_forward(**kwargs)
            with torch.no_grad():
                self.mb_output = self.model(self.mb_x)
            self._after_forward(**kwargs)
            here = self.model.route(self.mb_x) == len(self.model.networks) - 1
            x, y = self.model.scaling(self.mb_x[here]), self.mb_y[here]
            self._before_update(**kwargs)
            for _ in range(self.steps if len(y) else 0):
                self.optimizer.zero_grad()
                logits, geometries = self.model.networks[-1](x)
                self.loss = self._criterion(logits, y)
                if self.weight:
                    self.loss = self.loss + self.weight * self.geometric(geometries).total
                self.loss.backward()
                self.optimizer.step()
            self._after_update(**kwargs)
            self._after_training_iteration(**kwargs)

    def _follow_charts(self) -> None:
        """Have as many networks as the detector has charts."""
        charts = max(1, len(self.detector.atlas.charts))
        while len(self.model.networks) != charts:
            if len(self.model.networks) < charts:
                self.model.grow()
            else:
                self.model.shrink()
            self.optimizer = self._fresh_optimizer()

    def _fresh_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.networks[-1].parameters(), self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "detector": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.detector.load_state_dict(state["detector"])
        self.model.to(self.device)
        self.optimizer = self._fresh_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
