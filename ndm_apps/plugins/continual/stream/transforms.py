"""Maps of a batch of inputs that make a new domain of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ndm_apps.plugins.continual.stream.base import Transform


def permutation(features: int, generator: torch.Generator) -> Transform:
    """Draw a fixed permutation of the features of each sample."""
    order = torch.randperm(features, generator=generator)
    return lambda x: x.flatten(1)[:, order].reshape(x.shape)


def rotation(degrees: float) -> Transform:
    """Rotate images ``(batch, [channels,] height, width)`` about their centre, bilinearly."""
    angle = torch.deg2rad(torch.tensor(degrees))
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(())
    matrix = torch.stack([torch.stack([cos, -sin, zero]), torch.stack([sin, cos, zero])])

    def rotate(x: Tensor) -> Tensor:
        images = x[:, None] if x.ndim == 3 else x
        grid = affine_grid(matrix.to(x)[None], [1, *images.shape[1:]], align_corners=False)
        return grid_sample(images, grid.expand(len(x), -1, -1, -1), align_corners=False).reshape(x.shape)

    return rotate
