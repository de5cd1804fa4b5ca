"""Any metric as a geoopt manifold, so that geoopt's optimisers run on it. The only file that imports geoopt."""

import torch
from geoopt import ManifoldTensor  # type: ignore[import-untyped]
from geoopt.manifolds.base import Manifold  # type: ignore[import-untyped]
from torch import Tensor

from ndm_apps.geometry.exponential import acceleration, exp_map
from ndm_apps.geometry.geodesic import distance, log_map
from ndm_apps.geometry.metric import Metric, evaluate, inner, norm, raise_index
from ndm_apps.geometry.transport import parallel_transport


class LearnedManifold(Manifold):  # type: ignore[misc]
    r"""One chart R^n with a metric, as a :class:`geoopt.Manifold`.

    Points and vectors are coordinates, so projections are the identity. A step of an optimiser is the second-order
    retraction :math:`x + u - \tfrac12 \Gamma(u, u)`, and its momentum follows by parallel transport along the chord.
    A parameter of shape ``(..., n)`` is a batch of points.

    geoopt's samplers refuse this manifold, rightly: they draw the momentum by turning white noise into a gradient,
    covariance :math:`g^{-2}` where the law of the chart asks for :math:`g^{-1}`, and would sample another density.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``. If it is a module, its parameters are those of the manifold.

    Examples
    --------
    >>> import geoopt, torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> sphere = LearnedManifold(Sphere(2))
    >>> x = geoopt.ManifoldParameter(torch.zeros(2), manifold=sphere)
    >>> geoopt.optim.RiemannianSGD([x], lr=1.0).zero_grad()
    >>> sphere.inner(x, torch.tensor([1.0, 0.0])).item()
    4.0
    """

    name = "LearnedManifold"
    ndim = 1
    reversible = False  # which is what makes geoopt's samplers refuse it

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def projx(self, x: Tensor) -> Tensor:
        """Identity: every point of R^n is on the chart."""
        return x

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Identity: every vector of R^n is tangent."""
        return u.expand_as(x) if u.ndim <= x.ndim else u

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Inner product of ``u`` with ``v``, or with itself."""
        product = inner(self.metric, _plain(x), u, u if v is None else v)
        return product.unsqueeze(-1) if keepdim else product

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Riemannian gradient from the partial derivatives ``u``."""
        return raise_index(self.metric, _plain(x), u)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Second-order retraction: the exponential map up to the third order of ``u``.

        The correction is never longer than ``u``: where it would be, second order means nothing.
        """
        x = _plain(x)
        u = u.expand_as(x)
        bend = 0.5 * acceleration(self.metric, x, u)
        straight, turned = norm(self.metric, x, torch.stack((u, bend)))
        # One where it is not longer: at a bend of zero the ratio has no derivative.
        ratio = torch.where(turned > straight, straight, 1) / torch.where(turned > straight, turned, 1)
        return x + u + ratio.unsqueeze(-1) * bend

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Exponential map."""
        return exp_map(self.metric, _plain(x), u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Inverse of the exponential map."""
        return log_map(self.metric, _plain(x), _plain(y))

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Geodesic distance."""
        length = distance(self.metric, _plain(x), _plain(y))
        return length.unsqueeze(-1) if keepdim else length

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Transport along the chord from x to y: one isometric step of order two."""
        chord = torch.stack((_plain(x), _plain(y)), -2)
        return parallel_transport(self.metric, chord, v)[..., -1, :]

    def origin(
        self,
        *size: int,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        seed: int | None = 42,
    ) -> ManifoldTensor:
        """Zeros; ValueError if they are not on the chart. ``seed`` is not read."""
        return self._point(torch.zeros(*size, dtype=dtype, device=device))

    def random(
        self,
        *size: int,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> ManifoldTensor:
        """Draw points with standard normal coordinates; ValueError if they are not on the chart."""
        return self._point(torch.randn(*size, dtype=dtype, device=device, generator=generator))

    def _point(self, x: Tensor) -> ManifoldTensor:
        evaluate(self.metric, x)
        return ManifoldTensor(x, manifold=self)

    def _check_point_on_manifold(self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> tuple[bool, str | None]:
        try:
            evaluate(self.metric, _plain(x))
        except ValueError as reason:
            return False, str(reason)
        return True, None

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, ok_point: bool = False, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        if bool(torch.isfinite(u).all()):
            return True, None
        return False, "u is not finite"


def _plain(x: Tensor) -> Tensor:
    # geoopt's tensors are a subclass that torch.func does not look through.
    return x.as_subclass(Tensor)
