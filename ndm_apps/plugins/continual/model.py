"""The streaming NDM classifier: frozen immersion, accumulated metric, natural-gradient read-out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.immersion.lift import RandomLift


class NDMClassifier(nn.Module):
    """Classify with a closed-form natural-gradient read-out in a metric accumulated over the stream.

    Given the immersion, nothing depends on the order of the samples: nothing is forgotten, and no boundary needs to be
    known.

    Parameters
    ----------
    lift
        Width of the random lift.
    solver, shrinkage
        As of :class:`~ndm_apps.engine.NaturalGradientReadout`.
    seed
        Seed of the random lift.
    """

    def __init__(
        self, *, lift: int = 1000, solver: Literal["lda", "ridge"] = "lda", shrinkage: float = 1e-2, seed: int = 0
    ) -> None:
        super().__init__()
        self.immersion = RandomLift(lift, seed=seed)
        self.readout: NaturalGradientReadout | None = None
        self._solver, self._shrinkage = solver, shrinkage

    @torch.no_grad()
    def learn(self, x: Tensor, y: Tensor) -> None:
        """Learn a mini-batch ``(batch, ...)`` with integer labels ``(batch,)``.

        Raises
        ------
        ValueError
            If a sample is not finite or a label negative; nothing has been learnt then.
        """
        finite = x.flatten(1).isfinite().all(1)
        if not finite.all():
            raise ValueError(f"x: sample {int((~finite).nonzero()[0])} of the mini-batch is not finite")
        if not self.immersion.fitted:
            self.immersion.fit(x)
        features = self.immersion(x)
        if self.readout is None:
            self._make_readout(features)
        self.readout.update(features, y)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(batch, classes seen)``; a class below the largest label that was never seen gets -inf."""
        if self.readout is None:
            raise ValueError("forward: the model has not learnt any mini-batch yet")
        return self.readout(self.immersion(x))

    def frozen(self) -> nn.Module:
        """Return the present classifier as plain layers that ``torch.export`` understands."""
        weight, bias = (part.to(self.immersion.weight) for part in self.readout.solution())
        head = nn.Linear(weight.shape[1], len(weight), device=weight.device, dtype=weight.dtype)
        head.weight.data, head.bias.data = weight, bias
        return nn.Sequential(self.immersion, head).requires_grad_(False).eval()

    def _make_readout(self, features: Tensor) -> None:
        self.readout = NaturalGradientReadout(features.shape[1], solver=self._solver, shrinkage=self._shrinkage).to(
            features.device
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The immersion and the read-out take their size from the first mini-batch: make room before the copy.
        self.readout = None
        for name in ("mean", "scale", "weight", "bias"):
            saved = state_dict.get(prefix + "immersion." + name)
            setattr(self.immersion, name, None if saved is None else torch.empty_like(saved))
        if self.immersion.fitted:
            self._make_readout(torch.empty(0, sum(self.immersion.weight.shape)))
        super()._load_from_state_dict(state_dict, prefix, *args)
