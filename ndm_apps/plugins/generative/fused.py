"""What the weight of the latent space is made of, each value together with its gradient, in closed form.

The minimisation of a path's energy asks for both, tens of times at thousands of points. Written out they take a few
matrix products, where differentiation by the library keeps and reads back every step of the way; and being ordinary
operations they can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.plugins.generative.density import FlowDensity, MixtureDensity

#: Logarithm of the least share of a component that counts.
_LEAST = -60.0


class Mixture(NamedTuple):
    r"""Constants of a mixture of Gaussians, for its log density and score at many points.

    With factors :math:`F_k F_k^\top = P_k = \Sigma_k^{-1}` and whitened points :math:`u_k = F_k^\top (z - \mu_k)`,

    .. math:: \log p = \log \sum_k e^{l_k}, \quad l_k = \log \pi_k + \log \det F_k - \tfrac d2 \log 2 \pi
        - \tfrac12 |u_k|^2, \qquad \nabla \log p = \sum_k r_k P_k \mu_k - \Bigl(\sum_k r_k P_k\Bigr) z

    where :math:`r_k = e^{l_k} / p` are the responsibilities.

    Examples
    --------
    >>> mixture = Mixture.of(MixtureDensity(3, 2))
    >>> log_p, score = mixture(torch.tensor([[1.0, 2.0]]))
    >>> (log_p + 2.5 + math.log(2 * torch.pi)).abs() < 1e-5, score
    (tensor([True]), tensor([[-1., -2.]]))
    """

    whitening: Tensor
    offsets: Tensor
    log_heights: Tensor
    precisions: Tensor
    pulls: Tensor

    @classmethod
    def of(cls, density: MixtureDensity) -> Mixture:
        """Return the constants of a mixture as it is now."""
        factors, dimension = density.factors, density.means.shape[1]
        log_volume = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1) - dimension / 2 * math.log(2 * math.pi)
        precisions = factors @ factors.mT
        # With half of the square in the factors. Components are last: sums over coordinates run over whole rows.
        halved = factors / math.sqrt(2)
        return cls(
            halved.permute(1, 2, 0).flatten(1).contiguous(),
            -torch.einsum("kd,kde->ek", density.means, halved).flatten(),
            density.log_weights + log_volume,
            precisions.flatten(1),
            (precisions @ density.means.unsqueeze(-1)).squeeze(-1),
        )

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log density at points (n, d), (n,), and its gradient, (n, d)."""
        components, dimension = self.pulls.shape
        white = torch.addmm(self.offsets, z, self.whitening).unflatten(-1, (dimension, components))
        log_parts = self.log_heights - white.square().sum(-2)
        highest = log_parts.amax(-1, keepdim=True)
        # What is smaller adds nothing to the sum of floats; far below, the exponential function takes its slow way.
        parts = (log_parts - highest).clamp(min=_LEAST).exp()
        whole = parts.sum(-1, keepdim=True)
        shares = parts / whole
        precision = (shares @ self.precisions).unflatten(-1, (dimension, dimension))
        score = shares @ self.pulls - (precision * z.unsqueeze(-2)).sum(-1)
        return (highest + whole.log()).squeeze(-1), score


def log_density_and_score(density: MixtureDensity | FlowDensity) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return what maps points (n, d) to the log density and its gradient there, of the density as it is now."""
    if isinstance(density, MixtureDensity):
        return Mixture.of(density)

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        log_p, pull = torch.func.vjp(density.log_prob, z)
        return log_p, pull(torch.ones_like(log_p))[0]

    return both


def perceptron_and_pull(layers: Iterable[nn.Module], z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    r"""Return what a perceptron says at points (n, d), and what takes gradients in that to gradients in z.

    Backwards through linear layers is :math:`p \mapsto p W`, and through Swish, :math:`x \sigma(x)`, multiplication by
    :math:`\sigma(x) + x \sigma(x) (1 - \sigma(x))`.

    Parameters
    ----------
    layers
        Linear ones, and between them :class:`~ndm_apps.plugins.generative.autoencoder.Swish`.
    """
    back: list[Tensor | nn.Linear] = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            back.append(layer)
            z = torch.addmm(layer.bias, z, layer.weight.mT)
        else:
            gate = z.sigmoid()
            z = z * gate
            back.append(torch.addcmul(gate, z, 1 - gate))

    def pull(covector: Tensor) -> Tensor:
        for step in reversed(back):
            covector = covector @ step.weight if isinstance(step, nn.Linear) else covector * step
        return covector

    return z, pull
