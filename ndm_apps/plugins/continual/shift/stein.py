"""The conformal Metric Net of a chart: trained by its mean scaled curvature, and watched by it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ndm_apps.geometry import Conformal, Euclidean

__all__ = ["ConformalNet"]


class ConformalNet(nn.Module):
    r"""A density, known up to a factor, as the conformal factor of a chart's metric.

    In the whitened coordinates z of a chart of dimension n, with :math:`u = p^a` for an exponent a, the metric is

    .. math::
        g = u^{4/(n-2)} I, \qquad
        \log p(z) = -\tfrac12 \sum_i e^{q_i} z_i^2 + w \cdot \log \cosh(W z + b) + \text{constant},

    whose gradient is a tanh layer; an equal mixture of two normal densities of one covariance, about its centre,
    needs a single hidden unit. The scalar curvature of g is Yamabe's, a second-order operator on u alone:

    .. math::
        u^{4/(n-2)} R = -4 \frac{n-1}{n-2} \frac{\Delta u}{u}, \qquad
        \frac{\Delta u}{u} = a \, \bigl(\Delta \log p + a |\nabla \log p|^2\bigr).

    :meth:`scaled_curvature` is the last bracket: what is left of the curvature, the sign turned, once the scale of the
    metric is taken out, so that large values are far from home. It has a closed form, in :math:`O(h n)` per point for h
    hidden units, and needs no normaliser. Two exponents matter:

    - a = 1/2. The bracket is Hyvarinen's score. Its mean over data of density :math:`\pi` is
      :math:`\tfrac12 E|\nabla \log p - \nabla \log \pi|^2 - \tfrac12 E|\nabla \log \pi|^2`: least where p is the
      density of the data. That mean is the loss of :meth:`update`.
    - a = 1. The bracket is :math:`\Delta p / p`, a Stein operator, whose mean under p is zero. Under :math:`\pi` it is
      :math:`E[\nabla \log p \cdot (\nabla \log p - \nabla \log \pi)]`. It is zero, too, over the very points at which
      the loss is stationary, however far p is from their density: p to any power is in the family, and the derivative
      of the loss by that power is the mean of the bracket. That is the statistic of a shift detector.

    Untrained, p is the standard normal density, and the statistic :math:`|z|^2 - n`. On a chart whose data are normal
    training changes nothing: curvature is Mahalanobis' distance then, and no better a statistic than the likelihood.

    Parameters
    ----------
    n
        Dimension; the metric itself needs at least 3, its scaled curvature does not.
    hidden
        Hidden units h.
    lr
        Learning rate of Adam.
    generator
        Source of the first W and b; torch's global one if not given.
    dtype
        Of the parameters.

    References
    ----------
    Hyvarinen, "Estimation of non-normalized statistical models by score matching", 2005. Yamabe, "On a deformation of
    Riemannian structures on compact manifolds", 1960. Gorham and Mackey, "Measuring sample quality with Stein's
    method", 2015.

    Examples
    --------
    >>> net = ConformalNet(3, generator=torch.Generator().manual_seed(0))
    >>> net.scaled_curvature(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])).tolist()
    [-3.0, 1.0]
    """

    def __init__(
        self,
        n: int,
        hidden: int = 64,
        *,
        lr: float = 1e-2,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        for name, value in (("n", n), ("hidden", hidden)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        self.n = n
        self.log_precision = nn.Parameter(torch.zeros(n, dtype=dtype))
        self.weight = nn.Parameter(torch.randn(hidden, n, generator=generator, dtype=dtype) / n**0.5)
        self.bias = nn.Parameter(torch.randn(hidden, generator=generator, dtype=dtype))
        self.output = nn.Parameter(torch.zeros(hidden, dtype=dtype))
        self.optimizer = torch.optim.Adam(self.parameters(), lr)

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log-density up to a constant, ``(..., n) -> (...)``."""
        z = self._checked(z)
        a = linear(z, self.weight, self.bias).abs()
        log_cosh = a + torch.nn.functional.softplus(-2 * a)  # less the constant log 2
        return log_cosh @ self.output - z.square() @ self.log_precision.exp() / 2

    def metric(self, exponent: float = 1.0) -> Conformal:
        """Return the metric g for an exponent a, as a function of points.

        Raises
        ------
        ValueError
            If the dimension is below 3: no power of a density does it in the plane.
        """
        if self.n < 3:
            raise ValueError(f"a conformal metric of this kind needs dimension 3 or more, the net has {self.n}")
        power = 2 * exponent / (self.n - 2)
        return Conformal(lambda z: power * self.log_density(z), Euclidean(self.n))

    def scaled_curvature(self, z: Tensor, exponent: float = 1.0) -> Tensor:
        r"""Return :math:`\Delta \log p + a |\nabla \log p|^2`, ``(..., n) -> (...)``."""
        z = self._checked(z)
        t = torch.tanh(linear(z, self.weight, self.bias))
        precision = self.log_precision.exp()
        gradient = (t * self.output) @ self.weight - z * precision
        laplacian = (1 - t.square()) @ (self.output * self.weight.square().sum(1)) - precision.sum()
        return laplacian + exponent * gradient.square().sum(-1)

    def loss(self, z: Tensor) -> Tensor:
        """Return the mean scaled curvature with a = 1/2, Hyvarinen's score, over points ``(batch, n)``."""
        return self.scaled_curvature(z, 0.5).mean()

    def update(self, z: Tensor) -> None:
        """Take one step of Adam on points ``(batch, n)``; none if there are no points.

        Raises
        ------
        ValueError
            If the shape is wrong or a value is not finite. Nothing has been learnt then.
        """
        z = self._checked(z.detach())
        if not torch.isfinite(z).all():
            raise ValueError(f"z must be finite, got {z[~torch.isfinite(z).all(-1)][0].tolist()}")
        if not len(z):
            return
        with torch.enable_grad():
            self.optimizer.zero_grad()
            loss: Any = self.loss(z)
            loss.backward()
        self.optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of Adam, for ``state_dict``."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.optimizer.load_state_dict(state)

    def _checked(self, z: Tensor) -> Tensor:
        if z.ndim == 0 or z.shape[-1] != self.n:
            raise ValueError(f"z must have shape (..., {self.n}), got {tuple(z.shape)}")
        return z.to(self.weight)
