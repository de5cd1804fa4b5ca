r"""Exponential map: where a geodesic gets in unit time, and how well it kept its speed.

Hamilton's equations of :mod:`ndm_apps.geometry.finsler` are integrated to order 8, each sample with its own steps. The
speed is a constant of the motion that the integrator does not know of: what is left of it is an honest error estimate.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ndm_apps.geometry.finsler import Finsler, hamiltonian_flow
from ndm_apps.geometry.integrator import MOST_STEPS, integrate, integrate_evenly
from ndm_apps.geometry.jets import contraction_gradient, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, check_vector
from ndm_apps.geometry.structured import as_finsler


class GeodesicWarning(RuntimeWarning):
    """A geodesic was not found, or not to the tolerance; the message says which and what was returned instead."""


@dataclass(frozen=True)
class GeodesicFlow:
    """Where geodesics are after unit time, each with its own report.

    Attributes
    ----------
    point, velocity : Tensor
        Position and velocity at time 1, shape ``(..., n)``; nan where ``converged`` is False.
    energy_drift : Tensor
        Relative change of the squared speed g(v, v) from time 0 to 1, shape ``(...)``; exactly zero for a geodesic.
    steps : Tensor
        Steps taken, shape ``(...)``.
    converged : Tensor
        Whether time 1 was reached, shape ``(...)``: not where the geodesic leaves the chart before, or winds too fast.
    """

    point: Float[Tensor, "*batch n"]
    velocity: Float[Tensor, "*batch n"]
    energy_drift: Float[Tensor, "*batch"]
    steps: Int[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]


def exp_map(
    metric: Metric | Finsler,
    x: Float[Tensor, "*batch n"],
    v: Float[Tensor, "*batch n"],
    steps: int | None = None,
    tolerance: float | None = None,
) -> Float[Tensor, "*batch n"]:
    r"""Follow the geodesic that starts at x with velocity v for unit time.

    .. math:: \exp_x(v) = \gamma(1), \quad \gamma(0) = x, \; \dot\gamma(0) = v, \; \nabla_{\dot\gamma} \dot\gamma = 0

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``, or a :class:`Randers` metric.
    x : Tensor
        Points, shape ``(..., n)``.
    v : Tensor
        Tangent vectors at ``x``; shapes broadcast.
    steps : int, optional
        Take so many equal steps of order 8. By default each sample chooses its own.
    tolerance : float, optional
        Relative error allowed per step when they are chosen; by default 1e-10 in float64, 1e-5 in float32.

    Returns
    -------
    Tensor
        Points, shape ``(..., n)``, differentiable with respect to everything. Where the geodesic leaves the chart
        before its time is up, or takes too many steps: nan, with a :class:`GeodesicWarning` that names the samples.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be.

    See Also
    --------
    geodesic_flow : the same, with the velocity at the end and the error of the energy.

    Examples
    --------
    From the south pole of the unit sphere to the equator it is a quarter of a circle.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> quarter = torch.tensor([torch.pi / 4, 0.0], dtype=torch.float64)  # of length pi / 2, since g = 4 I there
    >>> exp_map(Sphere(2), torch.zeros(2, dtype=torch.float64), quarter).round(decimals=8)
    tensor([1., 0.], dtype=torch.float64)
    """
    flow = geodesic_flow(metric, x, v, steps, tolerance)
    reason = f"left the chart or took more than {MOST_STEPS} steps; nan is returned there"
    warn_of_failures("exp_map", flow.converged, reason)
    return flow.point


def geodesic_flow(
    metric: Metric | Finsler,
    x: Float[Tensor, "*batch n"],
    v: Float[Tensor, "*batch n"],
    steps: int | None = None,
    tolerance: float | None = None,
) -> GeodesicFlow:
    r"""Follow geodesics for unit time and report on each: :math:`(x, v) \mapsto (\gamma(1), \dot\gamma(1))`.

    Parameters and errors are those of :func:`exp_map`; nothing is warned of, since everything is in the report.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> quarter = torch.tensor([torch.pi / 4, 0.0], dtype=torch.float64)
    >>> flow = geodesic_flow(Sphere(2), torch.zeros(2, dtype=torch.float64), quarter)
    >>> flow.velocity.round(decimals=4), bool(flow.energy_drift.abs() < 1e-9), bool(flow.converged)
    (tensor([1.5708, 0.0000], dtype=torch.float64), True, True)
    """
    finsler = as_finsler(metric)
    finsler.check(x, "x")
    check_vector("v", v, x)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be an integer, at least 1, or None, got {steps!r}")
    if tolerance is None:
        tolerance = 1e-10 if x.dtype == torch.float64 else 1e-5
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance!r}")
    x, v = (t.contiguous() for t in torch.broadcast_tensors(x, v))  # type: ignore[no-untyped-call]
    n = x.shape[-1]
    tiny = torch.finfo(x.dtype).tiny

    def rate(state: Tensor) -> Tensor:
        return torch.cat(hamiltonian_flow(finsler, *state.chunk(2, -1)), -1)

    def scale(state: Tensor, slope: Tensor) -> Tensor:
        # A velocity per unit time is a distance; a momentum is measured against its own largest entry.
        position, p = (t.abs().amax(-1, keepdim=True) for t in state.chunk(2, -1))
        reach = position + slope[..., :n].abs().amax(-1, keepdim=True)
        return torch.cat((reach, p), -1).clamp(min=tiny).repeat_interleave(n, -1)

    c = finsler.coefficients(x)
    before = finsler.square(c, v)
    start = torch.cat((x, finsler.momentum(c, v)), -1)
    if steps is None:
        end, finished, taken = integrate(rate, start, scale, tolerance)
    else:
        end = integrate_evenly(rate, start, steps)
        finished = torch.isfinite(end).all(-1)
        taken = torch.full(finished.shape, steps, device=x.device)
    point, p = end.chunk(2, -1)
    c = finsler.coefficients(point)
    velocity = finsler.velocity(c, p)
    finished = finished & torch.isfinite(velocity).all(-1)
    with torch.no_grad():
        after = finsler.square(c, velocity)
        drift = torch.where(before == 0, after, after / before - 1)
    lost = ~finished.unsqueeze(-1)
    return GeodesicFlow(
        point.masked_fill(lost, torch.nan), velocity.masked_fill(lost, torch.nan), drift, taken, finished
    )


def acceleration(
    metric: Metric, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
    r"""Return :math:`-\Gamma^c{}_{ab} v^a v^b`, the second derivative of the geodesic through x with velocity v.

    The points are not checked: a trial step may well leave the chart, and then nan is the right answer.
    """
    direction = v.unsqueeze(-2)
    value, along = (t.squeeze(-3) for t in value_and_derivative(metric, rows(x, direction), direction))
    gradient = contraction_gradient(metric, x, direction, direction).squeeze(-2)
    force = 0.5 * gradient - (along @ v.unsqueeze(-1)).squeeze(-1)
    cholesky = torch.linalg.cholesky_ex(value)[0]
    return torch.cholesky_solve(force.unsqueeze(-1), cholesky).squeeze(-1)


def warn_of_failures(function: str, converged: Bool[Tensor, "*batch"], consequence: str, of: str = "geodesics") -> None:
    """Emit one GeodesicWarning, at the caller of the public function, that names the samples that failed."""
    failed = ~converged
    if not bool(failed.any()):
        return
    places = [tuple(place) for place in failed.nonzero().tolist()]
    named = ", ".join(map(str, places[:8])) + (", ..." if len(places) > 8 else "")
    where = f" (sample{'s' if len(places) > 1 else ''} {named})" if failed.ndim else ""
    message = f"{function}: {len(places)} of {failed.numel()} {of}{where} {consequence}"
    warnings.warn(message, GeodesicWarning, stacklevel=3)
