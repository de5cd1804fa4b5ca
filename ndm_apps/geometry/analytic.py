"""Metrics with closed forms. Each carries its own exact curvature, found without differentiating the metric.

They are what the rest of the package is tested against, and starting points for metrics of one's own. A new one
defines the abstract methods of :class:`~ndm_apps.geometry.closed_form.AnalyticMetric` and joins the list in
``tests/geometry/examples.py``.
"""

from collections.abc import Callable, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.closed_form import AnalyticMetric, IsotropicMetric, kulkarni_nomizu
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.metric import Metric
from ndm_apps.geometry.operators import differential, function_jet, hessian


@final
class Euclidean(IsotropicMetric):
    """Flat space, g = I."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        return _scaled_identity(torch.ones_like(x[..., 0]), self.n)

    def sectional_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Zero."""
        return torch.zeros_like(x[..., 0])

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Fill a cube around the origin."""
        return 2 * unit - 1

    def distance(self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact distance."""
        return _length(x - y)


@final
class Sphere(IsotropicMetric):
    r"""Sphere S^n in the stereographic chart, :math:`g = 4 r^2 / (1 + |x|^2)^2 \, I`; all of it but one pole."""

    def __init__(self, n: int, radius: float = 1.0) -> None:
        _check_radius(radius)
        self.n, self.radius = n, radius

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        return _scaled_identity((2 * self.radius / (1 + _square(x))) ** 2, self.n)

    def sectional_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """One over the squared radius."""
        return torch.full_like(x[..., 0], self.radius**-2)

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Fill a cube around the south pole."""
        return 2 * unit - 1

    def distance(self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact distance, from the chord."""
        chord: Tensor = _length(x - y) / ((1 + _square(x)) * (1 + _square(y))).sqrt()
        return 2 * self.radius * chord.clamp(max=1).asin()


@final
class Hyperbolic(IsotropicMetric):
    r"""Hyperbolic space H^n of curvature :math:`-1/r^2`.

    The Poincare ball, :math:`g = 4 r^2 / (1 - |x|^2)^2 \, I` on :math:`|x| < 1`, or the half-space,
    :math:`g = r^2 / x_n^2 \, I` on :math:`x_n > 0`.
    """

    def __init__(self, n: int, radius: float = 1.0, model: Literal["ball", "half_space"] = "ball") -> None:
        if model not in ("ball", "half_space"):
            raise ValueError(f"model must be 'ball' or 'half_space', got {model!r}")
        _check_radius(radius)
        self.n, self.radius, self.model = n, radius, model

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        height = (1 - _square(x)) / 2 if self.model == "ball" else x[..., -1]
        # Beyond the edge the formulas give a mirror image of the space, which geodesics must not jump into.
        height = torch.where(height > 0, height, torch.nan)
        return _scaled_identity((self.radius / height) ** 2, self.n)

    def sectional_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Minus one over the squared radius."""
        return torch.full_like(x[..., 0], -(self.radius**-2))

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Fill a cube inside the ball, or above the boundary plane."""
        return (2 * unit - 1) * 0.8 * self.n**-0.5 if self.model == "ball" else unit + 0.5

    def distance(self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact distance."""
        if self.model == "ball":
            product = (1 - _square(x)) * (1 - _square(y))
        else:
            product = 4 * x[..., -1] * y[..., -1]
        return 2 * self.radius * (_length(x - y) / product.sqrt()).asinh()


@final
class Torus(IsotropicMetric):
    r"""Torus of revolution in space, :math:`g = r^2 du^2 + (R + r \cos u)^2 dv^2`, from the angles (u, v)."""

    n = 2

    def __init__(self, R: float = 2.0, r: float = 1.0) -> None:
        if not R > r > 0:
            raise ValueError(f"R and r must satisfy R > r > 0, got R = {R}, r = {r}")
        self.R, self.r = R, r

    def __call__(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2 2"]:
        """Metric at the points ``x``."""
        around = (self.R + self.r * x[..., 0].cos()) ** 2
        return torch.diag_embed(torch.stack((torch.full_like(around, self.r**2), around), -1))

    def sectional_curvature(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """Gauss curvature: positive outside, negative inside."""
        return x[..., 0].cos() / (self.r * (self.R + self.r * x[..., 0].cos()))

    def chart_point(self, unit: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Fill all of it."""
        return 2 * torch.pi * unit


@final
class Ellipsoid(IsotropicMetric):
    r"""Ellipsoid with three half-axes, in the stereographic chart of the unit sphere that is stretched into it.

    With s the inverse of the chart and A the axes, :math:`g = (A \, \partial s)^T (A \, \partial s)` and
    :math:`K = \bigl(a_1 a_2 a_3 \sum_i s_i^2 / a_i^2\bigr)^{-2}`.
    """

    n = 2

    def __init__(self, axes: Sequence[float] = (1.0, 1.5, 0.7)) -> None:
        if len(axes) != 3 or not all(axis > 0 for axis in axes):
            raise ValueError(f"axes must be three positive numbers, got {tuple(axes)}")
        self.axes = tuple(axes)

    def __call__(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2 2"]:
        """Metric at the points ``x``."""
        p = 1 + _square(x)[..., None, None]
        flat = 2 * _scaled_identity(torch.ones_like(x[..., 0]), 2) / p - 4 * x.unsqueeze(-1) * x.unsqueeze(-2) / p**2
        jacobian = torch.cat((flat, 4 * x.unsqueeze(-2) / p**2), -2) * x.new_tensor(self.axes).unsqueeze(-1)
        return jacobian.mT @ jacobian

    def sectional_curvature(self, x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """Gauss curvature."""
        q = _square(x).unsqueeze(-1)
        s, a = torch.cat((2 * x, q - 1), -1) / (q + 1), x.new_tensor(self.axes)
        return (a.prod() * (s / a).square().sum(-1)) ** -2

    def chart_point(self, unit: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Fill a square around the south pole."""
        return 2 * unit - 1


@final
class Product(AnalyticMetric):
    """Riemannian product of two metrics: blocks on the diagonal; curvatures add."""

    def __init__(self, first: AnalyticMetric, second: AnalyticMetric) -> None:
        self.n, self.first, self.second = first.n + second.n, first, second

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        a, b = _split(x, self.first.n)
        return _blocks(self.first(a), self.second(b))

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Sum of the two."""
        a, b = _split(x, self.first.n)
        return self.first.scalar_curvature(a) + self.second.scalar_curvature(b)

    def riemann(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
        """Exact Riemann tensor: that of either factor on its own vectors, nothing across."""
        a, b = _split(x, self.first.n)
        return _embedded(self.first.riemann(a), 4, 0, self.n) + _embedded(
            self.second.riemann(b), 4, a.shape[-1], self.n
        )

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Use the product of the two charts."""
        a, b = _split(unit, self.first.n)
        return torch.cat((self.first.chart_point(a), self.second.chart_point(b)), -1)


@final
class Conformal(AnalyticMetric):
    r"""Conformal change of a metric h by a function f of its points, :math:`g = e^{2f} h`.

    .. math::
        R = e^{-2f} \bigl(R_h - 2(n-1) \Delta_h f - (n-2)(n-1) |df|_h^2\bigr), \qquad
        \mathrm{Riem} = e^{2f} \bigl(\mathrm{Riem}_h
            - h \wedge (\nabla df - df \otimes df + \tfrac12 |df|_h^2 h)\bigr)

    with the product :func:`~ndm_apps.geometry.closed_form.kulkarni_nomizu` (A. Besse, *Einstein Manifolds*, 1987,
    theorem 1.159). ``log_scale`` is f: ``(..., n) -> (...)``.
    """

    def __init__(self, log_scale: Callable[[Tensor], Tensor], base: AnalyticMetric) -> None:
        self.n, self.log_scale, self.base = base.n, log_scale, base

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        return (2 * self.log_scale(x)).exp()[..., None, None] * self.base(x)

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact scalar curvature at the points ``x``."""
        f, m = function_jet(self.base, self.log_scale, x), self.n - 1
        inside = self.base.scalar_curvature(x) - 2 * m * f.laplacian - (m - 1) * m * f.gradient.square().sum(-1)
        return (-2 * f.value).exp() * inside

    def riemann(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
        """Exact Riemann tensor at the points ``x``, all indices down."""
        h, df = self.base(x), differential(self.log_scale, x)
        squared = function_jet(self.base, self.log_scale, x).gradient.square().sum(-1)[..., None, None]
        bend = hessian(self.base, self.log_scale, x) - df.unsqueeze(-1) * df.unsqueeze(-2) + squared / 2 * h
        scale = (2 * self.log_scale(x)).exp()[..., None, None, None, None]
        return scale * (self.base.riemann(x) - kulkarni_nomizu(h, bend))

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Use the chart of the base."""
        return self.base.chart_point(unit)


@final
class Warped(AnalyticMetric):
    r"""Warped product of a base B and a fibre F of dimension m, :math:`g = g_B + f(b)^2 g_F`.

    .. math::
        R = R_B + R_F / f^2 - 2m \, \Delta_B f / f - m(m-1) |df|_B^2 / f^2, \qquad
        \mathrm{Riem} = \mathrm{Riem}_B + f^2 \, \mathrm{Riem}_F
            - g_F \wedge (f \nabla df + \tfrac12 f^2 |df|_B^2 g_F)

    with the product :func:`~ndm_apps.geometry.closed_form.kulkarni_nomizu` (B. O'Neill, *Semi-Riemannian Geometry*,
    1983, chapter 7). ``warp`` is f > 0: ``(..., dim B) -> (...)``.
    """

    def __init__(self, base: AnalyticMetric, fibre: AnalyticMetric, warp: Callable[[Tensor], Tensor]) -> None:
        self.n, self.base, self.fibre, self.warp = base.n + fibre.n, base, fibre, warp

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Metric at the points ``x``."""
        b, p = _split(x, self.base.n)
        return _blocks(self.base(b), self.warp(b).square()[..., None, None] * self.fibre(p))

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Exact scalar curvature at the points ``x``."""
        b, p = _split(x, self.base.n)
        f, m = function_jet(self.base, self.warp, b), self.fibre.n
        fibre = (self.fibre.scalar_curvature(p) - m * (m - 1) * f.gradient.square().sum(-1)) / f.value.square()
        return self.base.scalar_curvature(b) + fibre - 2 * m * f.laplacian / f.value

    def riemann(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
        """Exact Riemann tensor at the points ``x``, all indices down."""
        b, p = _split(x, self.base.n)
        f, bend = function_jet(self.base, self.warp, b), hessian(self.base, self.warp, b)
        k, n, squared = self.base.n, self.n, f.value.square()[..., None, None]
        slope = f.gradient.square().sum(-1)[..., None, None]
        across = _embedded(self.fibre(p), 2, k, n)
        mixed = f.value[..., None, None] * _embedded(bend, 2, 0, n) + squared * slope / 2 * across
        own = _embedded(self.base.riemann(b), 4, 0, n)
        own = own + squared[..., None, None] * _embedded(self.fibre.riemann(p), 4, k, n)
        return own - kulkarni_nomizu(across, mixed)

    def chart_point(self, unit: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Use the product of the two charts."""
        b, p = _split(unit, self.base.n)
        return torch.cat((self.base.chart_point(b), self.fibre.chart_point(p)), -1)


def pullback(metric: Metric, chart: Callable[[Tensor], Tensor]) -> Metric:
    r"""Metric in other coordinates, :math:`(\phi^* g)(x) = J^T g(\phi(x)) J` with :math:`J = \partial\phi(x)`.

    ``chart`` maps ``(..., n)`` to ``(..., m)`` with m >= n, and must have full rank: an immersion for m > n.
    """

    def pulled(x: Tensor) -> Tensor:
        n = x.shape[-1]
        basis = torch.eye(n, dtype=x.dtype, device=x.device).expand(*x.shape, n)
        transposed = value_and_derivative(chart, rows(x, basis), basis)[1]
        return transposed @ metric(chart(x)) @ transposed.mT

    return pulled


def _check_radius(radius: float) -> None:
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius!r}")


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return length


def _square(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def _scaled_identity(scale: Tensor, n: int) -> Tensor:
    return torch.diag_embed(scale.unsqueeze(-1).expand(*scale.shape, n))


def _split(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return x[..., :k], x[..., k:]


def _blocks(a: Tensor, b: Tensor) -> Tensor:
    k, n = a.shape[-1], a.shape[-1] + b.shape[-1]
    return _embedded(a, 2, 0, n) + _embedded(b, 2, k, n)


def _embedded(t: Tensor, rank: int, start: int, n: int) -> Tensor:
    """Tensor of one factor of a product as a tensor of the whole: its indices begin at ``start``, zeros elsewhere."""
    return torch.nn.functional.pad(t, (start, n - start - t.shape[-1]) * rank)
