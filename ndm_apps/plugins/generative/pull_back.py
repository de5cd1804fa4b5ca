r"""The metrics that the decoder brings back from images: :math:`g(z) = J^\top J`, for comparison.

They measure how much the picture changes along a path, and not whether what is on the way is a picture: between two
images the shortest way is a cross-fade.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.plugins.generative.model import LatentModel

Target = Literal["pixels", "fisher"]


class PullBack:
    """Metric of the latent space that the decoder's map to flat space brings back; see :func:`pull_back`."""

    def __init__(self, model: LatentModel, target: Target) -> None:
        self.model, self.target = model, target

    def __call__(self, z: Tensor) -> Tensor:
        """Return g at points (..., d), of shape (..., d, d)."""
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).expand(*z.shape, z.shape[-1])
        columns = value_and_derivative(self.immersion, rows(z, basis), basis)[1]
        return columns @ columns.mT

    def immersion(self, z: Tensor) -> Tensor:
        """Return the points of flat space behind points (..., d), of shape (..., m)."""
        output = self.model.decode(z).reshape(*z.shape[:-1], -1)
        if self.target == "pixels":
            return output
        # Inside the open interval the arcsine has a derivative: a pixel that is surely black counts for nothing.
        inside = 1e-6 + (1 - 2e-6) * output
        return 2 * inside.sqrt().arcsin()


def pull_back(model: LatentModel, target: Target = "pixels") -> PullBack:
    r"""Return the metric that a model's decoder brings back from the space of images.

    Parameters
    ----------
    model
        A trained model.
    target
        ``pixels``: :math:`g = J^\top J` with J the Jacobian of the decoder's mean. ``fisher``: the Fisher-Rao metric of
        the pixels' Bernoulli distributions, :math:`|d p|^2 / (p (1 - p))`, which is that of
        :math:`2 \arcsin \sqrt p`; for images only.

    Raises
    ------
    ValueError
        If the target is neither, or ``fisher`` is asked of vectors.

    References
    ----------
    Arvanitidis, Hansen, Hauberg, "Latent Space Oddity", ICLR 2018, arXiv:1710.11379; Arvanitidis et al., "Pulling back
    information geometry", AISTATS 2022, arXiv:2106.05367.
    """
    if target not in get_args(Target):
        raise ValueError(f"target must be 'pixels' or 'fisher', got {target!r}")
    if target == "fisher" and not model.images:
        raise ValueError(f"target must be 'pixels' for vectors of shape {model.shape}, got 'fisher'")
    return PullBack(model, target)
