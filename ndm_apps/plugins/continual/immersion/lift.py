"""Random ReLU layers: beside the samples themselves, and beside the features of another immersion."""

from __future__ import annotations

import torch
from torch import Tensor

from ndm_apps.plugins.continual.immersion.base import Immersion


class RandomLift(Immersion):
    r"""Immerse samples by themselves and a random ReLU layer of them.

    .. math:: \varphi(x) = [\,\tilde x,\; \operatorname{relu}(\tilde x\,\Omega + b)\,], \qquad \tilde x = (x - m) / s,

    with scalars m and s the mean and standard deviation over the first samples, :math:`\Omega_{ij} \sim
    N(0, 1/D)` and :math:`b_j \sim N(0, 1/4)`. The identity part keeps it injective: an immersion, not a projection.

    Parameters
    ----------
    width
        Number of random units; 0 for none.
    seed
        Seed of the random layer.
    samples
        How many first samples fix the scaling.

    Examples
    --------
    >>> lift = RandomLift(5)
    >>> lift.fit(torch.rand(10, 3))
    >>> lift(torch.rand(4, 3)).shape, lift.features
    (torch.Size([4, 8]), 8)
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, *, seed: int = 0, samples: int = 1) -> None:
        super().__init__(samples)
        if width < 0:
            raise ValueError(f"width must be at least 0, got {width}")
        self.width, self.seed = width, seed
        for name in ("mean", "scale", "weight", "bias"):
            self.register_buffer(name, None)

    def _fit(self, x: Tensor) -> None:
        x = x.flatten(1)
        generator = torch.Generator().manual_seed(self.seed)
        weight = torch.randn(x.shape[1], self.width, generator=generator, dtype=torch.float64) / x.shape[1] ** 0.5
        bias = torch.randn(self.width, generator=generator, dtype=torch.float64) / 2
        spread = x.std() if x.numel() > 1 else x.new_zeros(())
        self.mean, self.scale = x.mean(), spread.clamp(min=torch.finfo(x.dtype).eps)
        self.weight, self.bias = weight.to(x), bias.to(x)

    def _map(self, x: Tensor) -> Tensor:
        x = (x.flatten(1) - self.mean) / self.scale
        return torch.cat([x, torch.relu(x @ self.weight + self.bias)], 1)


class PrincipalLift(Immersion):
    r"""Features of another immersion beside a random ReLU layer of their principal components.

    .. math:: \varphi(x) = [\,\psi(x),\; \gamma \operatorname{relu}(a(x)\,\Omega + b)\,], \qquad
        a(x) = \operatorname{diag}(\sigma)^{-1} V^\top (\psi(x) - m),

    with m the mean, V the leading d principal directions and :math:`\sigma` the standard deviations of the features
    :math:`\psi` of the first samples, :math:`\Omega_{ij} \sim N(0, 1/d)` and :math:`b_j \sim N(0, 1/4)`. The gain
    :math:`\gamma` makes the mean variance of both parts equal on the first samples: one shrinkage suits both.

    Parameters
    ----------
    inner
        The immersion psi; fitted here with the same samples.
    width
        Number of random units.
    coordinates
        d. Fewer samples than that, or features of lower rank, have fewer principal components; the width stays.
    seed
        Seed of the random layer.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53, 2011 (the principal directions).
    """

    mean: Tensor
    weight: Tensor
    hidden: Tensor
    bias: Tensor

    def __init__(self, inner: Immersion, width: int, *, coordinates: int = 100, seed: int = 0) -> None:
        super().__init__(inner.samples)
        if width < 1 or coordinates < 1:
            raise ValueError(f"width and coordinates must be at least 1, got {width} and {coordinates}")
        self.inner, self.width, self.coordinates, self.seed = inner, width, coordinates, seed
        for name in ("mean", "weight", "hidden", "bias"):
            self.register_buffer(name, None)

    def _fit(self, x: Tensor) -> None:
        self.inner.fit(x)
        generator = torch.Generator().manual_seed(self.seed)
        phi = self.inner(x)
        directions, deviations = principal_directions(phi, self.coordinates, generator)
        mean, weight, d = phi.mean(0), directions / deviations, len(deviations)
        hidden = torch.randn(d, self.width, generator=generator, dtype=torch.float64) / max(d, 1) ** 0.5
        bias = torch.randn(self.width, generator=generator, dtype=torch.float64) / 2
        hidden, bias = hidden.to(phi), bias.to(phi)
        wanted, found = (
            part.var(0, correction=0).mean().sqrt() for part in (phi, torch.relu((phi - mean) @ weight @ hidden + bias))
        )
        # relu(g z) = g relu(z): the gain goes into the layer. Samples that are all alike tell nothing about it.
        gain = wanted / found if min(wanted, found) > 0 else torch.ones_like(wanted)
        self.mean, self.weight, self.hidden, self.bias = mean, weight, hidden * gain, bias * gain

    def _map(self, x: Tensor) -> Tensor:
        phi = self.inner(x)
        return torch.cat([phi, torch.relu((phi - self.mean) @ self.weight @ self.hidden + self.bias)], 1)


def principal_directions(x: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the leading principal directions ``(features, d)`` of rows and their standard deviations ``(d,)``.

    Found by randomised subspace iteration. d is ``count`` or the rank of the centred rows, whichever is less.
    """
    x = x - x.mean(0)
    start = torch.randn(x.shape[1], min(count + 10, *x.shape), generator=generator, dtype=torch.float64).to(x)
    basis = torch.linalg.qr(x @ start).Q
    for _ in range(4):
        basis = torch.linalg.qr(x.mT @ basis).Q
        basis = torch.linalg.qr(x @ basis).Q
    _, singular, directions = torch.linalg.svd(basis.mT @ x, full_matrices=False)
    singular, directions = singular[:count], directions[:count]
    kept = singular > torch.finfo(x.dtype).eps * max(x.shape) * singular[:1]
    return directions[kept].mT.contiguous(), singular[kept] / max(len(x) - 1, 1) ** 0.5
