"""How strongly small patterns occur in each part of an image: what is lost first where images are averaged."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ndm_apps.errors import InputError

#: Smallest side of an image that has textures at both scales.
SMALLEST = 8


class Texture(nn.Module):
    r"""Strength of the eight patterns of 3 x 3 pixels at two scales, each in units of its standard deviation.

    .. math:: t_{k}(x) = \frac{1}{u} \, A \, | w_k * x |

    with :math:`w_k` the 3 x 3 cosine patterns but the constant one, A the mean over 2 x 2 places, and the same of
    :math:`A x`. A likelihood of pixels is best served by the mean of all images that a code could stand for, which is
    smooth. The modulus of the response to a pattern does not average out: its mean tells how strong the pattern is,
    wherever exactly it lies. A decoder that has to give the textures as well draws the pattern. No label, no other data
    and nothing trained are used.

    Parameters
    ----------
    images
        (n, channels, height, width), from which the units are taken.

    Raises
    ------
    InputError
        If the images are smaller than 8 x 8.

    References
    ----------
    Bruna and Mallat, "Invariant scattering convolution networks", 2013, arXiv:1203.1513 (means of moduli). Larsen,
    Soenderby, Larochelle and Winther, "Autoencoding beyond pixels using a learned similarity metric", 2016,
    arXiv:1512.09300 (such terms for autoencoders).

    Examples
    --------
    >>> texture = Texture(torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    >>> [part.shape for part in texture(torch.zeros(2, 1, 8, 8))]
    [torch.Size([2, 8, 4, 4]), torch.Size([2, 8, 2, 2])]
    """

    patterns: Tensor
    units: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        if min(images.shape[-2:]) < SMALLEST:
            told = f"images are {tuple(images.shape[1:])}, sides must be {SMALLEST} or more, else the weight 0"
            raise InputError(f"model.texture: {told}")
        waves = torch.cos(math.pi / 3 * torch.outer(torch.arange(3), torch.arange(3) + 0.5))
        products = torch.einsum("ia,jb->ijab", waves, waves).reshape(9, 1, 3, 3)[1:]
        self.register_buffer("patterns", (products / products.square().sum((2, 3), keepdim=True).sqrt()).to(images))
        self.register_buffer("units", images.new_ones(2))
        self.units = torch.stack([part.std() for part in self(images)]).clamp_min(torch.finfo(images.dtype).tiny)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the textures of images (b, channels, height, width), fine and coarse: (b, 8 channels, ...)."""
        planes = images.reshape(-1, 1, *images.shape[-2:])
        scales = planes, nn.functional.avg_pool2d(planes, 2)
        fine, coarse = (
            nn.functional.avg_pool2d(nn.functional.conv2d(scale, self.patterns, padding=1).abs(), 2) / unit
            for scale, unit in zip(scales, self.units, strict=True)
        )
        return fine.reshape(len(images), -1, *fine.shape[-2:]), coarse.reshape(len(images), -1, *coarse.shape[-2:])

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean squared distance of the textures of images and of others, pair by pair."""
        return sum((x - y).square().sum() for x, y in zip(self(a), self(b), strict=True)) / len(a)
