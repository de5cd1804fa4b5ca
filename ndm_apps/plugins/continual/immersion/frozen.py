"""The user's own network as an immersion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ndm_apps.plugins.continual.immersion.base import Immersion


class FrozenModule(Immersion):
    """Immerse samples by a module that is never trained, such as a pretrained backbone.

    Parameters
    ----------
    module
        Maps a batch ``(batch, ...)`` to ``(batch, ...)``, flattened to features; put into evaluation mode for good.
    samples
        How many first samples a :class:`~.lift.PrincipalLift` of it is fitted on; the module itself needs one.

    Examples
    --------
    >>> immersion = FrozenModule(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    >>> immersion.fit(torch.rand(5, 2, 2))
    >>> immersion.features
    3
    >>> from ndm_apps.plugins.continual.immersion.lift import PrincipalLift
    >>> lift = PrincipalLift(FrozenModule(nn.Flatten(), samples=1000), 2000)  # with a random layer on top
    """

    def __init__(self, module: nn.Module, *, samples: int = 1) -> None:
        super().__init__(samples)
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenModule:
        """Set the mode of the immersion; the module stays in evaluation mode."""
        super().train(mode)
        self.module.eval()
        return self

    def _fit(self, x: Tensor) -> None:
        out = self.module(x[:1])
        if not isinstance(out, Tensor) or len(out) != 1 or not out.isfinite().all():
            got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"module: must map a sample (1, ...) to one finite tensor (1, ...), got {got}")

    def _map(self, x: Tensor) -> Tensor:
        return torch.flatten(self.module(x), 1)
