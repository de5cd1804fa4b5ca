"""The networks that baselines train by gradient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ndm_apps.errors import InputError


class Standardise(nn.Module):
    """Subtract from each input its mean and divide all by one standard deviation, both of the first training batch.

    Features with a large common mean make gradient descent slow; closed forms do not care. Nothing changes after the
    first batch.

    Parameters
    ----------
    shape
        Shape of a sample.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("fitted", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """Return the batch ``(batch, ...)``, standardised; before the first training batch, as it is."""
        if self.training and not self.fitted:
            mean = x.mean(0)
            scale = (x - mean).square().mean().sqrt()
            self.mean.copy_(mean)
            self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))
            self.fitted.fill_(True)
        return (x - self.mean) / self.scale


def network(
    shape: Sequence[int],
    hidden: Sequence[int],
    classes: int,
    *,
    channels: Sequence[int] = (),
    standardise: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""Return convolutions, hidden layers and a linear classifier, with ReLU between them.

    Weights and biases are drawn uniformly from :math:`\pm 1/\sqrt{\text{fan-in}}`, as PyTorch does by default.

    Parameters
    ----------
    shape
        Shape of a sample.
    hidden
        Widths of the hidden layers.
    classes
        Number of outputs.
    channels
        Widths of 3 x 3 convolutions with stride 2 on images ``([channels,] height, width)``.
    standardise
        Begin with a :class:`Standardise` layer.
    generator
        Draws the weights; None: torch's global one.

    Raises
    ------
    InputError
        If there are convolutions and samples are no images.

    Examples
    --------
    >>> network((28, 28), [16], 10, channels=[4])(torch.zeros(2, 28, 28)).shape
    torch.Size([2, 10])
    """
    layers: list[nn.Module] = [Standardise(shape)] if standardise else []
    features = int(torch.Size(shape).numel())
    if channels:
        if len(shape) not in (2, 3):
            raise InputError(f"channels: got {list(channels)}, samples of shape {tuple(shape)} are no images")
        depth, height, width = (1, *shape) if len(shape) == 2 else shape
        if len(shape) == 2:
            layers.append(nn.Unflatten(1, (1, height)))
        for before, after in itertools.pairwise((depth, *channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
            height, width = (height + 1) // 2, (width + 1) // 2
        features = channels[-1] * height * width
    layers.append(nn.Flatten())
    for before, after in itertools.pairwise((features, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    layers.append(nn.Linear((features, *hidden)[-1], classes))
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = layer.weight[0].numel() ** -0.5
            for part in (layer.weight, layer.bias):
                nn.init.uniform_(part, -bound, bound, generator=generator)
    return nn.Sequential(*layers)
