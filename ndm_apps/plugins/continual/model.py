"""The streaming NDM classifier: frozen immersion, accumulated metric, natural-gradient read-out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndm_apps.plugins.continual.charts.prediction import Rule
from ndm_apps.plugins.continual.charts.readouts import ChartReadouts
from ndm_apps.plugins.continual.front import Front
from ndm_apps.plugins.continual.immersion.base import Immersion
from ndm_apps.plugins.continual.immersion.lift import RandomLift


class NDMClassifier(nn.Module):
    """Classify with a closed-form natural-gradient read-out in a metric accumulated over the stream.

    Given the immersion, nothing depends on the order of the samples: nothing is forgotten, and no boundary needs to be
    known.

    Parameters
    ----------
    immersion
        Map of samples to features, fitted to the first ones; a :class:`RandomLift` of 1000 units if not given.
    solver, shrinkage
        As of :class:`~ndm_apps.engine.NaturalGradientReadout`.
    domains
        Most read-outs kept apart, where charts show known labels with new inputs; see
        :class:`~ndm_apps.plugins.continual.charts.readouts.ChartReadouts`.
    half_life
        Samples after which one counts half, for streams whose labels change their meaning; None: nothing fades. Only
        where there is one domain.
    classes
        Labels from here on are refused; any label of at least 0 is welcome if not given.

    Attributes
    ----------
    rule
        How read-outs are combined: ``"combined"``, or to compare with, ``"hard"`` or ``"shared"``.

    Examples
    --------
    >>> classifier = NDMClassifier(RandomLift(10))
    >>> x = torch.tensor([[0.0, 1.0], [0.2, 0.8], [1.0, 0.0], [0.9, 0.2]])
    >>> classifier.learn(x, torch.tensor([0, 0, 1, 1]))
    >>> classifier(x).argmax(1).tolist()
    [0, 0, 1, 1]
    """

    def __init__(
        self,
        immersion: Immersion | None = None,
        *,
        solver: Literal["lda", "ridge"] = "lda",
        shrinkage: float = 1e-2,
        domains: int = 1,
        half_life: float | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if half_life is not None and domains > 1:
            raise ValueError(f"half_life must be None with {domains} domains, got {half_life}")
        self.front = Front(RandomLift(1000) if immersion is None else immersion, classes=classes)
        self.readouts: ChartReadouts | None = None
        self._settings = {"solver": solver, "shrinkage": shrinkage, "limit": domains}
        self._half_life = half_life
        self.rule: Rule = "combined"

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Learn a mini-batch ``(batch, ...)`` with integer labels ``(batch,)``, as samples of one chart.

        Raises
        ------
        ValueError
            If a sample is not finite, samples change their shape, or a label is out of range; nothing has been learnt
            then.
        """
        samples = self.front.let_in(x, y)
        if samples is not None:
            inputs, labels = samples
            self.teach(self.front(inputs), labels, inputs)

    def teach(self, features: Tensor, labels: Tensor, x: Tensor, charts: Tensor | None = None) -> None:
        """Learn what the front has let in: features ``(batch, D)`` of inputs, of charts ``(batch,)`` or of one."""
        if self.readouts is None:
            self._make_readouts(features)
        if self._half_life is not None:
            self.readouts.home.check(features, labels)  # nothing fades for samples that are refused
            self.readouts.home.fade(0.5 ** (len(labels) / self._half_life))
        self.readouts.update(features, labels, torch.zeros_like(labels) if charts is None else charts, x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes seen)``; a class below the largest label that was never seen gets -inf."""
        if self.readouts is None:
            raise ValueError("forward: the model has not learnt any mini-batch yet")
        return self.readouts(self.front(x), x, self.rule)

    def frozen(self) -> nn.Module | None:
        """Return the present classifier as plain layers that ``torch.export`` understands; None if it is no linear one.

        Linear it is as long as there is one read-out.
        """
        if self.readouts is None or not self.readouts.single:
            return None
        # The solution comes in the metric's precision, features in the samples'.
        reference = next((part for part in self.front.buffers() if part.is_floating_point()), None)
        weight, bias = self.readouts.shared.solution()
        if reference is not None:
            weight, bias = weight.to(reference), bias.to(reference)
        head = nn.Linear(weight.shape[1], len(weight), device=weight.device, dtype=weight.dtype)
        head.weight.data, head.bias.data = weight, bias
        return nn.Sequential(self.front.immersion, head).requires_grad_(False).eval()

    def _make_readouts(self, features: Tensor) -> None:
        """Make read-outs for features ``(..., D)`` of their precision, where they are."""
        immerse = self.front if self._settings["limit"] > 1 else None
        made = ChartReadouts(features.shape[-1], immerse=immerse, **self._settings, dtype=features.dtype)
        self.readouts = made.to(features.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The read-outs take their size from the first features: make room before the copy.
        saved = state_dict.get(prefix + "readouts.own.0.means")
        self.readouts = None
        if saved is not None:
            self._make_readouts(saved)
        super()._load_from_state_dict(state_dict, prefix, *args)
