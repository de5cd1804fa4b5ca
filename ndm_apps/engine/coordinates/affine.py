"""Affine maps: scaling alone, or any matrix, with parameters that cannot make it singular."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates.base import CoordinateMap


class Affine(CoordinateMap):
    r"""An affine map that is invertible whatever its parameters, :math:`z = L U (x - \mu)`.

    L is unit lower and U upper triangular with diagonal :math:`e^s`, so :math:`\log |\det J| = \sum s`.
    The map starts as the identity.

    Parameters
    ----------
    n
        Dimension.
    diagonal
        Whether L and the off-diagonal part of U are left out. With :meth:`initialise` it is the activation
        normalisation of flows.

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

    @torch.no_grad()
    def initialise(self, x: Float[Tensor, "*batch n"]) -> None:
        """Set shift and scale so that the coordinates of this sample get mean zero and variance one.

        Coordinates that do not vary are shifted only. What else the map had learned is forgotten.

        Raises
        ------
        ValueError
            If the sample is smaller than two points or not finite.
        """
        rows = x.reshape(-1, self.n)
        if len(rows) < 2 or not bool(torch.isfinite(rows).all()):
            raise ValueError(f"x must be at least two finite points, got shape {tuple(x.shape)}")
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        varies = deviation > torch.finfo(rows.dtype).eps * rows.abs().amax(0)
        self.shift.copy_(mean)
        self.log_scale.copy_(torch.where(varies, -deviation.log(), 0.0))
        if self.lower is not None and self.upper is not None:
            self.lower.zero_()
            self.upper.zero_()

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx| = \sum s`."""
        return self._linear(x - self.shift), self.log_scale.sum().expand(x.shape[:-1])

    def push_forward(
        self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch k n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch k n"]]:
        """Return ``z`` and ``L U v``."""
        return self._linear(x - self.shift), self._linear(v)

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

    def _linear(self, x: Tensor) -> Tensor:
        z = x * self.log_scale.exp()
        if self.lower is not None and self.upper is not None:
            z = z + x @ self.upper.triu(1).mT
            z = z + z @ self.lower.tril(-1).mT
        return z
