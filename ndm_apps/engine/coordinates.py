"""Coordinate Layer: invertible maps between coordinates of one chart, with their volume change and exact inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.mlp import MLP

__all__ = ["Affine", "AffineCoupling", "Composition", "CoordinateMap", "alternating_couplings"]


class CoordinateMap(nn.Module, ABC):
    r"""A diffeomorphism of :math:`R^n`, :math:`x \mapsto z`.

    ``n`` is the dimension. Both directions return the image and :math:`\log |\det J|` of the map they computed, so
    the two log-determinants of a round trip cancel.
    """

    n: int

    @abstractmethod
    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx|`."""

    @abstractmethod
    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`\log |\det dx/dz|`."""


class AffineCoupling(CoordinateMap):
    r"""Half of the coordinates rescale and shift the other half.

    .. math:: z_A = x_A, \qquad z_B = x_B \odot e^{s(x_A)} + t(x_A), \qquad |s| < \text{bound}

    A and B are the even and odd coordinates, or the reverse. The map starts as the identity.

    Parameters
    ----------
    n
        Dimension, at least 2 (for one coordinate there is :class:`Affine`).
    hidden
        Hidden widths of the network that gives s and t.
    reverse
        Whether the odd coordinates drive the even ones.
    bound
        Largest log-scale: keeps a step of training from overflowing the exponential.

    References
    ----------
    Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803.

    Examples
    --------
    >>> z, log_abs_det = AffineCoupling(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> z.tolist(), log_abs_det.tolist()
    ([[1.0, 2.0, 3.0]], [0.0])
    """

    def __init__(self, n: int, hidden: Sequence[int] = (64,), *, reverse: bool = False, bound: float = 2.0) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n must be at least 2, got {n}")
        if not bound > 0:
            raise ValueError(f"bound must be positive, got {bound}")
        self.n, self.bound = n, bound
        order = torch.cat([torch.arange(int(reverse), n, 2), torch.arange(1 - int(reverse), n, 2)])
        self.order: Tensor
        self.restore: Tensor
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("restore", order.argsort(), persistent=False)
        kept = len(range(int(reverse), n, 2))
        self.sizes = [kept, n - kept]
        self.conditioner = MLP(kept, hidden, 2 * (n - kept))
        self.conditioner.set_output(torch.zeros(2 * (n - kept)), gain=0.0)

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx| = \sum s`."""
        kept, moved = torch.split(x[..., self.order], self.sizes, dim=-1)
        scale, shift = self._condition(kept)
        z = torch.cat([kept, moved * scale.exp() + shift], dim=-1)[..., self.restore]
        return z, scale.sum(-1)

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`\log |\det dx/dz| = -\sum s`."""
        kept, moved = torch.split(z[..., self.order], self.sizes, dim=-1)
        scale, shift = self._condition(kept)
        x = torch.cat([kept, (moved - shift) * (-scale).exp()], dim=-1)[..., self.restore]
        return x, -scale.sum(-1)

    def _condition(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.conditioner(kept).chunk(2, dim=-1)
        return self.bound * torch.tanh(raw / self.bound), shift


class Affine(CoordinateMap):
    r"""An affine map that is invertible whatever its parameters, :math:`z = L U (x - \mu)`.

    L is unit lower and U upper triangular with diagonal :math:`e^s`, so :math:`\log |\det J| = \sum s`.
    The map starts as the identity.

    Parameters
    ----------
    n
        Dimension.
    diagonal
        Whether L and the off-diagonal part of U are left out.

    References
    ----------
    Kingma and Dhariwal, "Glow: generative flow with invertible 1x1 convolutions", 2018, arXiv:1807.03039.

    Examples
    --------
    >>> mean, covariance = torch.tensor([1.0, 0.0]), torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> z, log_abs_det = Affine.whitening(mean, covariance)(torch.tensor([3.0, 2.0]))
    >>> z.tolist(), round(log_abs_det.item(), 4)
    ([1.0, 2.0], -0.6931)
    """

    def __init__(self, n: int, *, diagonal: bool = False) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        self.n = n
        self.shift = nn.Parameter(torch.zeros(n))
        self.log_scale = nn.Parameter(torch.zeros(n))
        self.lower = None if diagonal else nn.Parameter(torch.zeros(n, n))
        self.upper = None if diagonal else nn.Parameter(torch.zeros(n, n))

    @classmethod
    def whitening(cls, mean: Float[Tensor, " n"], covariance: Float[Tensor, "n n"]) -> Affine:
        """Return the map after which data of this mean and covariance have mean zero and unit covariance.

        Raises
        ------
        ValueError
            If the covariance is not symmetric positive definite.
        """
        factor, info = torch.linalg.cholesky_ex(covariance)
        if info.item() or not torch.allclose(covariance, covariance.mT):
            raise ValueError("covariance must be symmetric positive definite")
        matrix = torch.linalg.solve_triangular(factor, torch.eye(len(mean)).to(factor), upper=False)
        affine = cls(len(mean)).to(matrix)
        assert affine.lower is not None
        with torch.no_grad():
            affine.shift.copy_(mean)
            affine.log_scale.copy_(matrix.diagonal().log())
            affine.lower.copy_((matrix / matrix.diagonal()).tril(-1))
        return affine

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx| = \sum s`."""
        x = x - self.shift
        z = x * self.log_scale.exp()
        if self.lower is not None and self.upper is not None:
            z = z + x @ self.upper.triu(1).mT
            z = z + z @ self.lower.tril(-1).mT
        return z, self.log_scale.sum().expand(x.shape[:-1])

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`\log |\det dx/dz| = -\sum s`."""
        log_abs_det = -self.log_scale.sum().expand(z.shape[:-1])
        if self.lower is None or self.upper is None:
            return z * (-self.log_scale).exp() + self.shift, log_abs_det
        # Rows are points, so the triangular matrices act from the right.
        rows = z.reshape(-1, self.n)
        upper = self.upper.triu(1) + torch.diag(self.log_scale.exp())
        rows = torch.linalg.solve_triangular(self.lower.tril(-1).mT, rows, upper=True, left=False, unitriangular=True)
        rows = torch.linalg.solve_triangular(upper.mT, rows, upper=False, left=False)
        return rows.reshape(z.shape) + self.shift, log_abs_det


class Composition(CoordinateMap):
    r"""Maps one after another, :math:`z = f_k \circ \dots \circ f_1 (x)`; log-determinants add.

    Parameters
    ----------
    maps
        The maps in the order they are applied, all of one dimension.
    """

    def __init__(self, maps: Iterable[CoordinateMap]) -> None:
        super().__init__()
        maps = list(maps)
        dimensions = {part.n for part in maps}
        if len(dimensions) != 1:
            raise ValueError(f"maps must be at least one, all of one dimension, got dimensions {sorted(dimensions)}")
        self.n = dimensions.pop()
        self.maps = nn.ModuleList(maps)

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return ``z`` and the sum of the log-determinants."""
        total = x.new_zeros(x.shape[:-1])
        for part in self.maps:
            x, log_abs_det = part(x)
            total = total + log_abs_det
        return x, total

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        """Return ``x`` and the sum of the inverses' log-determinants."""
        total = z.new_zeros(z.shape[:-1])
        for part in reversed(cast(list[CoordinateMap], list(self.maps))):
            z, log_abs_det = part.inverse(z)
            total = total + log_abs_det
        return z, total


def alternating_couplings(n: int, depth: int = 2, hidden: Sequence[int] = (64,)) -> CoordinateMap:
    """Return ``depth`` couplings whose halves take turns, which starts as the identity; for ``n = 1`` an affine map."""
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if n == 1:
        return Affine(1)
    return Composition(AffineCoupling(n, hidden, reverse=bool(i % 2)) for i in range(depth))
