r"""Frechet mean: the point with the least sum of squared distances to given points.

Its condition is :math:`\sum_i w_i \log_m x_i = 0` (H. Karcher, "Riemannian center of mass and mollifier smoothing",
*Comm. Pure Appl. Math.* 30, 1977, 509-541). Karcher's flow follows that sum; Newton's method here divides by the
Hessian of the squared distances instead, which the boundary-value problems yield on the way, and which also tells a
minimum from a saddle.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.discrete_energy import hessian_at_start
from ndm_apps.geometry.exponential import geodesic_flow, warn_of_failures
from ndm_apps.geometry.finsler import Riemannian
from ndm_apps.geometry.geodesic import geodesic
from ndm_apps.geometry.metric import Metric, check_points, evaluate, norm


@dataclass(frozen=True)
class FrechetMean:
    """Means of sets of points, each with its own report.

    Attributes
    ----------
    point : Tensor
        Shape ``(..., n)``.
    variance : Tensor
        Weighted mean of the squared distances to the points, shape ``(...)``.
    gradient_norm : Tensor
        Length of the weighted mean of the logarithms of the points, zero at a mean; shape ``(...)``.
    converged : Tensor
        Whether the gradient vanishes, the Hessian is positive and all geodesics to the points converged; ``(...)``.
    """

    point: Float[Tensor, "*batch n"]
    variance: Float[Tensor, "*batch"]
    gradient_norm: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]


def frechet_mean(
    metric: Metric,
    x: Float[Tensor, "*batch k n"],
    weights: Float[Tensor, "*batch k"] | None = None,
    iterations: int = 30,
    method: Literal["newton", "gradient"] = "newton",
) -> FrechetMean:
    r"""Find the point of least weighted squared distance to each set of k points, near their mean in the chart.

    .. math:: m = \arg\min_m \sum_i w_i \, d(m, x_i)^2

    It is unique where the points lie in a ball of radius :math:`\pi / (4 \sqrt{K})`, K the largest sectional curvature,
    and everywhere in spaces of negative curvature.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Sets of points, shape ``(..., k, n)``.
    weights : Tensor, optional
        Not negative, shape ``(..., k)``, or ``(k,)`` for all sets; scaled to sum to 1. By default all are equal.
    iterations : int, default 30
        Most steps.
    method : {"newton", "gradient"}, default "newton"
        How the geodesics to the points are found, see :func:`~ndm_apps.geometry.geodesic.geodesic`, and how the mean:
        ``"gradient"`` follows Karcher's flow, without second derivatives, for many dimensions. Whether the point is a
        minimum is then not known, and ``converged`` does not tell.

    Returns
    -------
    FrechetMean
        Without gradients. What has not converged is told by a :class:`GeodesicWarning` that names the samples.

    Raises
    ------
    ValueError
        If an argument is not what it should be, or the metric is not one at the points or at their mean in the chart.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Hyperbolic
    >>> x = torch.tensor([[0.0, 1.0], [0.0, 4.0]], dtype=torch.float64)
    >>> mean = frechet_mean(Hyperbolic(2, model="half_space"), x)
    >>> mean.point.round(decimals=6), mean.converged  # the geometric mean of the heights
    (tensor([0., 2.], dtype=torch.float64), tensor(True))
    """
    check_points("x", x)
    if x.ndim < 2 or x.shape[-2] == 0:
        raise ValueError(f"x must have shape (..., k, n) with k >= 1, got {tuple(x.shape)}")
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"iterations must be an integer, at least 1, got {iterations!r}")
    evaluate(metric, x, "x")
    share = _shares(weights, x)
    center = (share.unsqueeze(-1) * x).sum(-2)
    evaluate(metric, center, "mean of x")
    with torch.no_grad():
        here, rest = _descend(metric, x, center, share, iterations, method)
        gradient_norm = norm(metric, here.point, here.gradient)
    converged = rest & here.positive() & here.connected
    warn_of_failures("frechet_mean", converged, "lead to no mean; the best point found is returned there", "sets")
    return FrechetMean(here.point, here.variance, gradient_norm, converged)


def _descend(
    metric: Metric, x: Tensor, point: Tensor, share: Tensor, iterations: int, method: Literal["newton", "gradient"]
) -> tuple["_Sum", Tensor]:
    eps = torch.finfo(x.dtype).eps
    # Half the digits of the logarithms are all that gradients find.
    slack, tolerance = 1 + 64 * eps, eps**1.2 if method == "newton" else 100 * eps
    here = _Sum.at(metric, point, x, share, method)
    scale = torch.ones_like(here.variance)
    rest = here.at_rest(tolerance)
    for _ in range(iterations):
        if bool(rest.all()):
            break
        # Along a geodesic a step never leaves the chart of a complete space.
        flow = geodesic_flow(metric, here.point, scale.unsqueeze(-1) * here.newton_step(), tolerance=1e-6)
        reached = flow.converged & ~rest
        there = here.moved(metric, torch.where(reached.unsqueeze(-1), flow.point, here.point), x, share, method)
        better = reached & (there.variance <= here.variance * slack)
        here = here.replaced(better, there)
        # Newton's step is as long as it should be; that of the flow is as long as the curvature lets it.
        longer = torch.ones_like(scale) if method == "newton" else (2 * scale).clamp(max=1)
        scale = torch.where(better, longer, scale / 4)
        rest = here.at_rest(tolerance)
    return here, rest


class _Sum(NamedTuple):
    """The sum of squared distances at a point, with its derivatives."""

    g: Tensor
    point: Tensor
    variance: Tensor
    gradient: Tensor
    hessian: Tensor
    connected: Tensor
    curves: Tensor

    @classmethod
    def at(
        cls,
        metric: Metric,
        point: Tensor,
        x: Tensor,
        share: Tensor,
        method: Literal["newton", "gradient"],
        initial: Tensor | None = None,
    ) -> "_Sum":
        g = evaluate(metric, point).g
        if method == "newton":
            path = geodesic(metric, point.unsqueeze(-2), x, points=17, refinements=2)
            hessian, squared = hessian_at_start(Riemannian(metric), path.points) / 2, path.length.square()
        else:
            path = geodesic(
                metric, point.unsqueeze(-2), x, points=33, refinements=0, initial=initial, iterations=12, method=method
            )
            # On one grid it is the energy whose derivative the velocity is.
            hessian, squared = g.unsqueeze(-3), path.energy
        return cls(
            g,
            point,
            (share * squared).sum(-1),
            (share.unsqueeze(-1) * path.velocity).sum(-2),
            (share[..., None, None] * hessian).sum(-3),
            path.converged.all(-1),
            path.points,
        )

    def moved(
        self, metric: Metric, point: Tensor, x: Tensor, share: Tensor, method: Literal["newton", "gradient"]
    ) -> "_Sum":
        """Return the sum at another point; gradients begin on the curves of this one, with their start moved."""
        if method == "newton":
            return _Sum.at(metric, point, x, share, method)
        left = torch.linspace(1, 0, self.curves.shape[-2], dtype=x.dtype, device=x.device).unsqueeze(-1)
        initial = self.curves + left * (point - self.point)[..., None, None, :]
        return _Sum.at(metric, point, x, share, method, initial)

    def replaced(self, where: Tensor, other: "_Sum") -> "_Sum":
        pairs = zip(self, other, strict=True)
        return _Sum(*(torch.where(where[(..., *[None] * (a.ndim - where.ndim))], b, a) for a, b in pairs))

    def positive(self) -> Tensor:
        info: Tensor = torch.linalg.cholesky_ex(self.hessian)[1]
        return info == 0

    def newton_step(self) -> Tensor:
        # Where the Hessian is not positive, that of flat space takes its place: a step of Karcher's flow.
        curved = torch.where(self.positive()[..., None, None], self.hessian, self.g)
        step: Tensor = torch.cholesky_solve(self.g @ self.gradient.unsqueeze(-1), torch.linalg.cholesky_ex(curved)[0])
        return step.squeeze(-1)

    def at_rest(self, tolerance: float) -> Tensor:
        squared = ((self.g @ self.gradient.unsqueeze(-1)).squeeze(-1) * self.gradient).sum(-1)
        rest: Tensor = squared <= tolerance * self.variance
        return rest


def _shares(weights: Tensor | None, x: Tensor) -> Tensor:
    if weights is None:
        return torch.full_like(x[..., 0], 1 / x.shape[-2])
    shape = x.shape[:-1]
    if not isinstance(weights, Tensor) or weights.dtype != x.dtype or weights.shape not in (shape, shape[-1:]):
        got = f"{tuple(weights.shape)} and {weights.dtype}" if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(
            f"weights must have shape {tuple(shape)} or {tuple(shape[-1:])} and dtype {x.dtype}, got {got}"
        )
    total = weights.sum(-1, keepdim=True)
    bad = ~((weights >= 0) & torch.isfinite(weights)).all(-1) | ~(total.squeeze(-1) > 0)
    if bool(bad.any()):
        where = f" at sample {tuple(bad.nonzero()[0].tolist())}" if bad.ndim else ""
        raise ValueError(
            f"weights must be finite, not negative and not all zero, got {weights[bad][0].tolist()}{where}"
        )
    return (weights / total).expand(x.shape[:-1])
