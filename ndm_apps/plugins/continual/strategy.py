"""The NDM as an Avalanche strategy, for any Avalanche stream."""

from __future__ import annotations

import ndm_apps.torchvision_shim  # noqa: F401  (before anything that imports torchvision)

# isort: split
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins.evaluation import EvaluationPlugin, default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from ndm_apps.plugins.continual.charts.pending import Pending
from ndm_apps.plugins.continual.immersion.base import Immersion
from ndm_apps.plugins.continual.model import NDMClassifier
from ndm_apps.plugins.continual.online import OnlineLearning
from ndm_apps.plugins.continual.shift.detector import ShiftDetector


class NDMStrategy(OnlineLearning, SupervisedTemplate):
    """Continual learning without boundaries, task labels, exemplars or pretraining.

    Each mini-batch adds to one metric, from which the read-out is solved in closed form (``solver="ridge"`` is the
    exact natural-gradient step, ``"lda"`` linear discriminant analysis), and is tested for a shift of the input
    distribution (charts grow at alarms). Given the immersion, which the first samples fix, what the learner knows does
    not depend on the order of the stream; the charts watch it and tell when it changes. Experience boundaries and task
    labels are never looked at. The samples that fix the immersion wait until there are enough of them, or an
    evaluation is asked for.

    Parameters
    ----------
    immersion, solver, shrinkage, domains, half_life, classes
        As of :class:`~ndm_apps.plugins.continual.NDMClassifier`. With more than one domain, samples wait until the
        detector has settled their chart.
    detector
        A :class:`~ndm_apps.plugins.continual.ShiftDetector`, or None to switch detection off.
    train_mb_size, eval_mb_size, device, plugins, evaluator, eval_every
        As of Avalanche's strategies. The stream is passed once: there is no ``train_epochs``.

    Attributes
    ----------
    model
        The classifier.
    alarms
        Indices of the samples at which a shift was detected.

    Examples
    --------
    >>> from ndm_apps.plugins.continual.resident import experiences
    >>> x, y = torch.randn(256, 8), torch.arange(256) % 2
    >>> x[y == 1] += 2.0
    >>> strategy = NDMStrategy(train_mb_size=32, eval_mb_size=64, evaluator=None)
    >>> _ = strategy.train(experiences("train", [(x, y)]), eval_streams=[])
    >>> bool((strategy.model(x).argmax(1) == y).float().mean() > 0.95)
    True
    """

    def __init__(
        self,
        *,
        immersion: Immersion | None = None,
        solver: Literal["lda", "ridge"] = "lda",
        shrinkage: float = 1e-2,
        domains: int = 1,
        half_life: float | None = None,
        classes: int | None = None,
        detector: ShiftDetector | None = None,
        train_mb_size: int = 32,
        eval_mb_size: int | None = 512,
        device: str | torch.device = "cpu",
        plugins: Sequence[SupervisedPlugin] | None = None,
        evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin] | None = default_evaluator,
        eval_every: int = -1,
        **kwargs: Any,
    ) -> None:
        classifier = NDMClassifier(
            immersion, solver=solver, shrinkage=shrinkage, domains=domains, half_life=half_life, classes=classes
        )
        super().__init__(
            model=classifier,
            optimizer=None,
            train_mb_size=train_mb_size,
            eval_mb_size=eval_mb_size,
            device=device,
            plugins=plugins,
            evaluator=evaluator,
            eval_every=eval_every,
            **kwargs,
        )
        self.detector = detector
        self._pending = Pending() if detector is not None and domains > 1 else None

    @property
    def alarms(self) -> list[int]:
        """Sample indices of the detected shifts."""
        return [] if self.detector is None else list(self.detector.alarms)

    @property
    def charts(self) -> int:
        """Number of charts grown so far."""
        return 1 if self.detector is None else max(1, len(self.detector.atlas.charts))

    stored_exemplars = 0

    @property
    def parameters(self) -> int:
        """Number of learnt weights that a prediction uses."""
        return 0 if self.model.readouts is None else self.model.readouts.parameters

    def frozen(self) -> nn.Module | None:
        """Return the present classifier as plain layers, or None if it is no linear one."""
        return None if self.model.readouts is None else self.model.frozen()

    def forward(self) -> Tensor:
        """Return logits of the mini-batch; before anything has been learnt, one class for all."""
        self.model.front.check(self.mb_x, self.mb_y)
        if self.model.readouts is None:
            return torch.zeros(len(self.mb_x), 1, device=self.device)
        return super().forward()

    def criterion(self) -> Tensor:
        """Return the mean negative log-likelihood; infinite where the label has never been seen."""
        log_p = torch.log_softmax(self.mb_output, 1)
        unseen = log_p.new_full((len(log_p), 1), -torch.inf)
        column = self.mb_y.clamp(max=log_p.shape[1])
        return -torch.cat([log_p, unseen], 1).gather(1, column[:, None]).mean()

    def eval(self, exp_list: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate as Avalanche does, with all samples so far learnt, and return the last metrics."""
        self._learn(self.model.front.let_go())
        return super().eval(exp_list, **kwargs)

    def learn(self) -> None:
        """Learn the mini-batch with its labels, and watch its features; or let it wait for the immersion."""
        self._learn(self.model.front.let_in(self.mb_x, self.mb_y))

    @torch.no_grad()
    def _learn(self, samples: tuple[Tensor, Tensor] | None) -> None:
        if samples is None:
            return
        x, y = samples
        features = self.model.front(x)
        if self._pending is None:
            self.model.teach(features, y, x)
            if self.detector is not None:
                self.detector.update(features, y)
            return
        # The detector goes first: what it refuses does not wait for it.
        self.detector.update(features, y)
        self._pending.add(features, y, x)
        if self.detector.settled:
            features, y, x, charts = self._pending.take(self.detector.settled)
            self.model.teach(features, y, x, charts)
        for chart, into in self.detector.merged:
            self.model.readouts.merge(chart, into)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "detector": None if self.detector is None else self.detector.state_dict(),
            "pending": None if self._pending is None else self._pending.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.model.to(self.device)
        if self.detector is not None:
            self.detector.load_state_dict(state["detector"])
        if self._pending is not None:
            self._pending.load_state_dict(state["pending"])
