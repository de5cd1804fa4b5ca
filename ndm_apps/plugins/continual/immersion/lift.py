"""Samples beside a random ReLU layer of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RandomLift(nn.Module):
    r"""Immerse samples by themselves and a random ReLU layer, both frozen after the first mini-batch.

    .. math:: \varphi(x) = [\,\tilde x,\; \operatorname{relu}(\tilde x\,\Omega + b)\,], \qquad \tilde x = (x - m) / s,

    with scalars m and s the mean and standard deviation over the first mini-batch, :math:`\Omega_{ij} \sim
    N(0, 1/D)` and :math:`b_j \sim N(0, 1/4)`. The identity part keeps it injective: an immersion, not a projection.

    Parameters
    ----------
    width
        Number of random units; 0 for none.
    seed
        Seed of the random layer.
    """

    def __init__(self, width: int, *, seed: int = 0) -> None:
        super().__init__()
        self.width, self.seed = width, seed
        for name in ("mean", "scale", "weight", "bias"):
            self.register_buffer(name, None)

    @property
    def fitted(self) -> bool:
        """Whether the first mini-batch has been seen."""
        return self.weight is not None

    def fit(self, x: Tensor) -> None:
        """Fix the scaling from a first mini-batch ``(batch, ...)`` and draw the random layer."""
        x = x.flatten(1)
        generator = torch.Generator().manual_seed(self.seed)
        weight = torch.randn(x.shape[1], self.width, generator=generator, dtype=torch.float64) / x.shape[1] ** 0.5
        bias = torch.randn(self.width, generator=generator, dtype=torch.float64) / 2
        self.mean, self.scale = x.mean(), x.std().clamp(min=torch.finfo(x.dtype).eps)
        self.weight, self.bias = weight.to(x), bias.to(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map samples ``(batch, ...)`` to features ``(batch, D + width)``."""
        x = (x.flatten(1) - self.mean) / self.scale
        return torch.cat([x, torch.relu(x @ self.weight + self.bias)], 1)
