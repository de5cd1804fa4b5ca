"""The trained NDM as an Avalanche strategy."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from collections.abc import Sequence
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins.evaluation import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from ndm_apps.engine import NDM
from ndm_apps.plugins.continual.charts.pending import Pending
from ndm_apps.plugins.continual.front import Front
from ndm_apps.plugins.continual.online import OnlineLearning
from ndm_apps.plugins.continual.shift.detector import ShiftDetector
from ndm_apps.plugins.continual.trained.coordinates import Coordinates
from ndm_apps.plugins.continual.trained.networks import ChartNetworks
from ndm_apps.plugins.continual.trained.training import Training


class TrainedClassifier(nn.Module):
    """Fixed coordinates, then the networks of all charts.

    Parameters
    ----------
    front
        The coordinates, and the samples that wait for them.
    charts
        The networks.
    """

    def __init__(self, front: Front, charts: ChartNetworks) -> None:
        super().__init__()
        self.front, self.charts = front, charts

    @property
    def networks(self) -> list[NDM]:
        """The networks in the order of the detector's charts."""
        return list(self.charts.networks.values())

    def coordinates(self, x: Tensor) -> Tensor:
        """Return what the networks see of features ``(batch, D)``, ``(batch, n)``."""
        return self.front(x).to(self.networks[0].head.weight)

    def route(self, x: Tensor) -> Tensor:
        """Return the number of the chart in which features ``(batch, D)`` are the likeliest, ``(batch,)``."""
        detector = self.charts.detector
        if detector is None or len(self.networks) == 1:
            return torch.zeros(len(x), dtype=torch.long, device=x.device)
        return detector.atlas.route(detector.embed(x)[0]).to(x.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities ``(batch, classes)``: equal ones before the coordinates are fixed."""
        head = self.charts.newest[1].head
        if not self.front.fitted:
            return x.new_zeros(len(x), head.out_features).to(head.weight)
        return self.charts(x, self.coordinates(x))


class TrainedNDMStrategy(OnlineLearning, SupervisedTemplate):
    r"""The Neural Differential Manifold of the paper on a stream: trained by gradient, kept by growing charts.

    The network (invertible coordinate maps, a Metric Net at each layer) minimises :math:`L_\text{task} + \lambda
    L_\text{geo}`. When the shift detector raises an alarm, the network is frozen and a copy of it goes on in the new
    chart. A sample is learnt when the detector has settled which chart it belongs to: by the network of the newest
    chart if that is the one; samples that are recognised as an old chart's change no network. Experience boundaries and
    task labels are never looked at, no sample is kept for replay; those whose chart is not settled yet wait.

    Parameters
    ----------
    features, classes
        Width of a sample, and number of classes.
    detector
        A :class:`~ndm_apps.plugins.continual.ShiftDetector`; None for one network that goes on learning.
    coordinates
        Most coordinates of a network; see :class:`~ndm_apps.plugins.continual.trained.coordinates.Coordinates`.
    depth, structure
        As of :class:`~ndm_apps.engine.NDM`.
    optimizer, learning_rate, steps, damping, geometric, bounded, compatibility, points
        As of :class:`~ndm_apps.plugins.continual.trained.training.Training`.
    dtype, seed
        Of the networks' parameters, and of their first values and everything drawn in training.
    train_mb_size, eval_mb_size, device, plugins, evaluator
        As of Avalanche's strategies.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> from ndm_apps.plugins.continual.resident import experiences
    >>> x, y = torch.randn(640, 4), torch.arange(640) % 2
    >>> x[y == 1] += 3.0
    >>> quiet, natural = EvaluationPlugin(loggers=[]), {"optimizer": "natural", "learning_rate": 0.1}
    >>> learner = TrainedNDMStrategy(features=4, classes=2, detector=None, evaluator=quiet, **natural)
    >>> _ = learner.train(experiences("train", [(x, y)]), eval_streams=[])
    >>> bool((learner.model(x).argmax(1) == y).float().mean() > 0.95)
    True
    """

    def __init__(
        self,
        *,
        features: int,
        classes: int,
        detector: ShiftDetector | None,
        coordinates: int = 128,
        depth: int = 2,
        structure: Literal["conformal", "diagonal", "cholesky"] = "conformal",
        optimizer: Literal["adam", "natural"] = "adam",
        learning_rate: float = 3e-3,
        steps: int = 5,
        damping: float = 1.0,
        geometric: float = 0.1,
        bounded: bool = False,
        compatibility: float = 0.0,
        points: int | None = 8,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
        train_mb_size: int = 32,
        eval_mb_size: int | None = 512,
        device: str | torch.device = "cpu",
        plugins: Sequence[SupervisedPlugin] | None = None,
        evaluator: EvaluationPlugin | None = None,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = NDM(min(features, coordinates), classes, depth=depth, structure=structure).to(dtype)
        samples = _SAMPLES if detector is None else detector.warmup
        super().__init__(
            model=TrainedClassifier(
                Front(Coordinates(coordinates, samples=samples), classes=classes),
                ChartNetworks(network, detector),
            ),
            optimizer=None,
            train_mb_size=train_mb_size,
            eval_mb_size=eval_mb_size,
            device=device,
            plugins=plugins,
            evaluator=evaluator,
        )
        self.detector = detector
        self._pending = Pending()
        self._training = Training(
            optimizer=optimizer,
            learning_rate=learning_rate,
            steps=steps,
            damping=damping,
            geometric=geometric,
            bounded=bounded,
            compatibility=compatibility,
            points=points,
            seed=seed,
        )
        self.model.to(self.device)
        self._training.begin(network)

    @property
    def alarms(self) -> list[int]:
        """Sample indices of the detected shifts."""
        return [] if self.detector is None else list(self.detector.alarms)

    @property
    def charts(self) -> int:
        """Number of charts grown so far."""
        return len(self.model.charts)

    stored_exemplars = 0

    @property
    def parameters(self) -> int:
        """Number of learnt weights that a prediction uses, or a later one may."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def frozen(self) -> None:
        """Return no plain layers: routing to charts is none."""
        return None

    def forward(self) -> Tensor:
        """Return log-probabilities of the mini-batch."""
        self.model.front.check(self.mb_x, self.mb_y)
        return super().forward()

    def eval(self, exp_list: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate as Avalanche does, with the coordinates fixed by what there is, and return the last metrics."""
        released = self.model.front.settle()
        if released is not None and self.detector is None:
            self._train(*released)
        elif released is not None:
            self._pending.add(*released)
        return super().eval(exp_list, **kwargs)

    def learn(self) -> None:
        """Watch the mini-batch, and learn the samples that are settled by it."""
        x, y, front = self.mb_x, self.mb_y, self.model.front
        if self.detector is None:
            released = front.admit(x, y)
            if released is not None:
                self._train(*released)
            return
        # The detector goes before anything is kept: what it refuses does not wait for it.
        front.check(x, y)
        self.detector.update(x, y)
        released = front.admit(x, y)
        if released is not None:
            self._pending.add(*released)
        self._follow_charts()
        if len(self._pending):
            z, labels, home = self._pending.take(self.detector.settled)
            here = (home == self.model.charts.newest[0]).to(z.device)
            self._train(z[here], labels[here])

    def _train(self, z: Tensor, y: Tensor) -> None:
        weight = self.model.charts.newest[1].head.weight
        for part, labels in zip(z.split(self.train_mb_size), y.split(self.train_mb_size), strict=True):
            if len(labels):
                self._training.learn(part.to(weight), labels)

    def _follow_charts(self) -> None:
        self.model.charts.follow(self.detector.ids, self.detector.merged)
        network = self.model.charts.newest[1]
        if network is not self._training.network:
            self._training.begin(network)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "detector": None if self.detector is None else self.detector.state_dict(),
            "training": self._training.state_dict(),
            "pending": self._pending.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        if self.detector is not None:
            self.detector.load_state_dict(state["detector"])
        self.model.to(self.device)
        self._training.begin(self.model.charts.newest[1])
        self._training.load_state_dict(state["training"])
        self._pending.load_state_dict(state["pending"])


_SAMPLES = 320  # first samples that fix the coordinates where no detector says how many fix its own
