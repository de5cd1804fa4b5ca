"""Samples that are features already."""

from __future__ import annotations

from torch import Tensor

from ndm_apps.plugins.continual.immersion.base import Immersion


class Identity(Immersion):
    """Take samples as they are, flattened to vectors.

    Examples
    --------
    >>> import torch
    >>> identity = Identity()
    >>> identity.fit(torch.zeros(1, 2, 2))
    >>> identity(torch.ones(3, 2, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(self) -> None:
        super().__init__(samples=1)

    def _fit(self, x: Tensor) -> None:
        pass

    def _map(self, x: Tensor) -> Tensor:
        return x.flatten(1)
