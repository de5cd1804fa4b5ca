"""Encoders and decoders: from images to Gaussian codes in the latent space, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.errors import InputError
from ndm_apps.plugins.generative.model_settings import AutoencoderSettings
from ndm_apps.plugins.generative.own import own_decoder


class Code(NamedTuple):
    """Gaussian codes of images: mean and log standard deviation, both (..., d)."""

    mean: Tensor
    log_sd: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw one point of the latent space from each code."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + self.log_sd.exp() * noise


class Swish(nn.Module):
    """x sigmoid(x): what ``nn.SiLU`` is, whose second derivative in forward mode torch 2.13 lacks."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x sigmoid(x)."""
        return x * x.sigmoid()


def perceptron(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return an MLP with :class:`Swish` between its layers: smooth, since metrics made of it have curvature."""
    widths = [inputs, *hidden]
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), Swish())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def build_encoder(kind: Literal["mlp", "conv"], hidden: Sequence[int], shape: Sequence[int], outputs: int) -> nn.Module:
    """Return a network from samples (b, *shape) to (b, outputs).

    Parameters
    ----------
    kind, hidden
        A perceptron with these widths; or convolutions with so many channels, each of which halves the image.
    shape
        Of a sample.
    outputs
        Numbers that it returns: mean and log standard deviation side by side, or a logit for each class.

    Raises
    ------
    InputError
        If vectors are to be convolved.
    """
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), perceptron(math.prod(shape), hidden, outputs))
    channels = [_image(shape)[0], *hidden]
    layers = [layer for a, b in pairwise(channels) for layer in (nn.Conv2d(a, b, 3, 2, 1), Swish())]
    flat = math.prod(_sizes(hidden, shape)[-1]) * channels[-1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, outputs))


def build_decoder(settings: AutoencoderSettings, shape: Sequence[int]) -> nn.Module:
    """Return the network from the latent space (b, d) to (b, *shape): logits of pixels, or vectors as they are."""
    if settings.decoder is not None:
        return own_decoder(settings.decoder, settings.dimension, tuple(shape))
    if settings.kind == "mlp":
        widths = settings.hidden[::-1]
        return nn.Sequential(perceptron(settings.dimension, widths, math.prod(shape)), nn.Unflatten(1, tuple(shape)))
    channels, sizes = [_image(shape)[0], *settings.hidden], _sizes(settings.hidden, shape)
    layers: list[nn.Module] = [
        nn.Linear(settings.dimension, channels[-1] * math.prod(sizes[-1])),
        nn.Unflatten(1, (channels[-1], *sizes[-1])),
    ]
    for level in range(len(settings.hidden), 0, -1):
        # A kernel of 3 with stride 2 doubles a size, or gives one less: the encoder's sizes in reverse.
        odd = tuple(int(large == 2 * small) for large, small in zip(sizes[level - 1], sizes[level], strict=True))
        layers += [Swish(), nn.ConvTranspose2d(channels[level], channels[level - 1], 3, 2, 1, odd)]
    return nn.Sequential(*layers)


def _image(shape: Sequence[int]) -> Sequence[int]:
    if len(shape) != 3:
        raise InputError(f"model.kind: got 'conv' for samples of shape {tuple(shape)}, must be 'mlp' for vectors")
    return shape


def _sizes(hidden: Sequence[int], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Return height and width in front of each convolution and behind the last."""
    sizes = [(shape[1], shape[2])]
    for _ in hidden:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes
