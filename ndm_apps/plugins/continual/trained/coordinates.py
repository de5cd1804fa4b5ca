"""The coordinates in which networks are trained: few enough for invertible maps, fixed by the first samples."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.plugins.continual.immersion.base import Immersion


class Coordinates(Immersion):
    r"""Principal coordinates of the first samples in one common scale, :math:`z = V^\top (x - m) / s`.

    Where samples have no more features than coordinates are asked for, V is the identity. s makes the mean square of a
    coordinate 1 over the first samples; all are divided by the same number, since directions of little variance among
    the first classes are not noise to those that come later.

    Parameters
    ----------
    width
        Number of coordinates at most. Directions that the first samples do not span are zero.
    samples
        How many first samples fix the coordinates.

    Examples
    --------
    >>> coordinates = Coordinates(1, samples=4)
    >>> coordinates.fit(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> round(coordinates(torch.tensor([[2.0, 5.0]])).abs().item(), 4)
    1.4142
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor

    def __init__(self, width: int, *, samples: int) -> None:
        super().__init__(samples)
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width = width
        for name in ("mean", "scale", "axes"):
            self.register_buffer(name, None)

    def _fit(self, x: Tensor) -> None:
        x = x.flatten(1)
        self.mean = x.mean(0)
        centred = x - self.mean
        if x.shape[1] <= self.width:
            self.axes = torch.eye(x.shape[1]).to(x)
        else:
            _, _, axes = torch.linalg.svd(centred, full_matrices=False)
            self.axes = x.new_zeros(x.shape[1], self.width)
            self.axes[:, : len(axes)] = axes[: self.width].T
        spread = (centred @ self.axes).square().mean().sqrt()
        # One sample alone has no spread.
        self.scale = torch.where(spread > 0, spread, torch.ones_like(spread))

    def _map(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.axes / self.scale
