"""Gradient steps of a network on the paper's loss."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndm_apps.engine import NDM, GeometricLoss, NaturalGradient


class Training:
    r"""Minimise :math:`L_\text{task} + \lambda L_\text{geo}` on mini-batches, of one network after the other.

    Parameters
    ----------
    optimizer
        ``adam``, or ``natural`` for the natural gradient (K-FAC with a trust region) of the cross-entropy.
    learning_rate, steps
        Step size, and steps on each mini-batch.
    geometric
        :math:`\lambda`; 0 leaves the metrics untrained.
    bounded
        Whether :math:`L_\text{geo}` is taken in its form of bounded gradient: ``robust=1, relative_volume=True`` of
        :class:`~ndm_apps.engine.GeometricLoss`. In many coordinates the natural gradient needs that: the squared
        curvature grows without bound, and a step that is measured by the outputs alone does not see it coming.
    compatibility
        Weight in :math:`L_\text{geo}` of how far layers disagree about distances; :math:`L_\text{curv}` and
        :math:`L_\text{vol}` have weight 1.
    points
        Points of a mini-batch at which the curvature is evaluated.
    damping
        Of the natural gradient, at the start.
    seed
        Of the draw of those points, and of the natural gradient's cotangents.

    Attributes
    ----------
    loss
        Of the last step.
    """

    def __init__(
        self,
        *,
        optimizer: Literal["adam", "natural"] = "adam",
        learning_rate: float = 3e-3,
        steps: int = 5,
        geometric: float = 0.1,
        bounded: bool = False,
        compatibility: float = 0.0,
        points: int | None = 8,
        damping: float = 1.0,
        seed: int = 0,
    ) -> None:
        if optimizer not in ("adam", "natural"):
            raise ValueError(f"optimizer must be 'adam' or 'natural', got {optimizer!r}")
        self._kind, self._learning_rate, self._damping, self._seed = optimizer, learning_rate, damping, seed
        self.steps, self.geometric = steps, geometric
        self._generator = torch.Generator().manual_seed(seed)
        self.geometric_loss = GeometricLoss(
            compatibility=compatibility,
            robust=1.0 if bounded else None,
            relative_volume=bounded,
            curv_points=points,
            generator=self._generator,
        )
        self.network: NDM | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self.loss = 0.0

    def begin(self, network: NDM) -> None:
        """Go on with another network, with a fresh optimiser."""
        if isinstance(self.optimizer, NaturalGradient):
            self.optimizer.detach()
        self.network = network
        if self._kind == "adam":
            self.optimizer = torch.optim.Adam(network.parameters(), self._learning_rate)
        else:
            device = next(network.parameters()).device
            self.optimizer = NaturalGradient(
                network,
                self._learning_rate,
                metric="categorical",
                damping=self._damping,
                generator=torch.Generator(device).manual_seed(self._seed),
            )

    def learn(self, z: Tensor, y: Tensor) -> None:
        """Make steps on coordinates ``(batch, n)`` with labels ``(batch,)``."""
        assert self.network is not None and self.optimizer is not None
        self.network.train()
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            logits, geometries = self.network(z)
            loss = nn.functional.cross_entropy(logits, y)
            if self.geometric:
                loss = loss + self.geometric * self.geometric_loss(geometries).total
            loss.backward()
            self.optimizer.step()
            self.loss = loss.item()
        self.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs but the network."""
        return {
            "optimizer": None if self.optimizer is None else self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "geometric_loss": self.geometric_loss.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; :meth:`begin` the network first."""
        assert self.optimizer is not None
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self.geometric_loss.load_state_dict(state["geometric_loss"])
