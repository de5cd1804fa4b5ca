"""Orthogonal mixing: lets each coupling choose, by gradient, which directions are its halves."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.coordinates.base import CoordinateMap


class OrthogonalMixing(CoordinateMap):
    r"""A learned rotation, :math:`z = Q x` with :math:`Q^\top Q = I`. It starts as the identity.

    The weight is a :class:`geoopt.ManifoldParameter` on the Stiefel manifold of square matrices, which is the
    orthogonal group: under :class:`geoopt.optim.RiemannianAdam` (Adam for all other parameters) its steps follow the
    group. Any other optimiser takes it off the group; the map stays invertible and its log-determinant right, since
    neither direction assumes that Q is orthogonal, and ``mixing.weight.proj_()`` under ``no_grad`` puts it back.

    Parameters
    ----------
    n
        Dimension.

    References
    ----------
    Becigneul and Ganea, "Riemannian adaptive optimization methods", 2019, arXiv:1810.00760.
    Kochurov, Karimov and Kozlukov, "Geoopt: Riemannian optimization in PyTorch", 2020, arXiv:2005.02819.

    Examples
    --------
    >>> z, log_abs_det = OrthogonalMixing(2)(torch.tensor([[3.0, 4.0]]))
    >>> z.tolist(), log_abs_det.tolist()
    ([[3.0, 4.0]], [0.0])
    """

    def __init__(self, n: int) -> None:
        import geoopt  # type: ignore[import-untyped]  # here, since nothing else in the engine needs it

        super().__init__()
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        self.n = n
        # The Euclidean metric retracts by a QR factorisation, which ends on the group to rounding; the Cayley transform
        # of the canonical one drifts off it, by 7e-4 in 4000 steps of float32 for n = 16.
        self.weight = geoopt.ManifoldParameter(torch.eye(n), manifold=geoopt.EuclideanStiefel())

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det Q|`, which is 0 on the group."""
        return x @ self.weight.mT, torch.linalg.slogdet(self.weight).logabsdet.expand(x.shape[:-1])

    def push_forward(
        self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch k n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch k n"]]:
        """Return ``z`` and ``Q v``."""
        return x @ self.weight.mT, v @ self.weight.mT

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`-\log |\det Q|`."""
        # Not linalg.solve(left=False): vmap of its forward derivative is wrong in torch 2.13.
        return z @ torch.linalg.inv(self.weight).mT, -torch.linalg.slogdet(self.weight).logabsdet.expand(z.shape[:-1])
