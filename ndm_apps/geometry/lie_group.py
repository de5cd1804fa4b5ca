"""Left-invariant metrics on the unimodular Lie groups of dimension 3, with closed forms."""

from math import factorial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.closed_form import AnalyticMetric, kulkarni_nomizu

# Terms of the exponential series: exact to float64 for every point that `chart_point` returns.
_TERMS = 14


@final
class LeftInvariant(AnalyticMetric):
    r"""Metric on a group of dimension 3 for which a left-invariant frame is orthonormal, in exponential coordinates.

    .. math:: [e_2, e_3] = \lambda_1 e_1, \quad [e_3, e_1] = \lambda_2 e_2, \quad [e_1, e_2] = \lambda_3 e_3

    The signs of :math:`\lambda` choose the group: (0, 0, 1) Heisenberg, (+, +, +) SU(2), the Berger spheres if two are
    equal and the unit sphere for (2, 2, 2), (+, +, -) SL(2, R), (+, +, 0) motions of the Euclidean plane, (+, -, 0) of
    the Minkowski plane, and flat space for 0. With :math:`\mu_i = \tfrac12 \sum_j \lambda_j - \lambda_i` the Ricci
    tensor is diagonal, :math:`\mathrm{Ric}(e_1, e_1) = 2 \mu_2 \mu_3` and cyclically, and in dimension 3 it
    determines the Riemann tensor (J. Milnor, "Curvatures of left invariant metrics on Lie groups", 1976, section 4).

    At the point :math:`\exp(x)` the coframe is :math:`\theta = \sum_k (-\mathrm{ad}_x)^k dx / (k+1)!`.
    """

    n = 3

    def __init__(self, structure: tuple[float, float, float]) -> None:
        if len(structure) != 3:
            raise ValueError(f"structure must be three numbers, got {structure!r}")
        self.structure = tuple(structure)

    def __call__(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
        """Metric at the points ``x``."""
        theta = self._coframe(x)
        return theta.mT @ theta

    def scalar_curvature(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Constant: the sum of the principal Ricci curvatures."""
        return torch.full_like(x[..., 0], float(self._principal(x).sum()))

    def riemann(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3 3 3"]:
        """Exact Riemann tensor at the points ``x``, all indices down."""
        principal = self._principal(x)
        # Sectional curvatures R/2 - Ric(e_k) of the planes across e_k: the Riemann tensor is g wedge Schouten.
        schouten = torch.diag(principal - principal.sum() / 4)
        theta = self._coframe(x)
        return kulkarni_nomizu(theta.mT @ theta, theta.mT @ schouten @ theta)

    def chart_point(self, unit: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Fill a cube around the identity."""
        return 2 * unit - 1

    def _principal(self, x: Tensor) -> Tensor:
        structure = x.new_tensor(self.structure)
        mu = structure.sum() / 2 - structure
        return 2 * mu.roll(-1) * mu.roll(-2)

    def _coframe(self, x: Tensor) -> Tensor:
        identity = torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape, 3)
        # Columns [x, e_j]. Since tr ad = det ad = 0, ad^3 = -q ad: two entire functions of q sum the whole series.
        ad = x.new_tensor(self.structure).unsqueeze(-1) * torch.linalg.cross(x.unsqueeze(-2), identity).mT
        square = ad @ ad
        q = -square.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] / 2
        odd = even = torch.zeros_like(q)
        for j in reversed(range(_TERMS)):
            odd, even = 1 / factorial(2 * j + 2) - q * odd, 1 / factorial(2 * j + 3) - q * even
        coframe: Tensor = identity - odd * ad + even * square
        return coframe
