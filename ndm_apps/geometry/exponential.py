r"""Exponential map: where a geodesic gets in unit time.

The geodesic equation :math:`\ddot x^c = -\Gamma^c{}_{ab} \dot x^a \dot x^b` is integrated without Christoffel symbols:
lowered, the right-hand side is :math:`\tfrac12 \partial_k g(v, v) - (D_v g \, v)_k` with v held constant, one forward
and one reverse derivative of the metric whatever the dimension. The integrator is the pair of orders 5(4) of Dormand
and Prince (J. R. Dormand, P. J. Prince, *J. Comput. Appl. Math.* 6, 1980, 19-26), each sample with its own step.
"""

import warnings

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.jets import contraction_gradient, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, check_vector, evaluate

_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# Difference between the solutions of orders 5 and 4.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
# Steps after which a geodesic is given up: it winds too fast to be followed in any useful time.
_MOST_STEPS = 2_000


class GeodesicWarning(RuntimeWarning):
    """A geodesic was not found, or not to the tolerance; the message says which and what was returned instead."""


def exp_map(
    metric: Metric,
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
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.
    v : Tensor
        Tangent vectors at ``x``; shapes broadcast.
    steps : int, optional
        Take so many equal steps of order 5. By default each sample chooses its own.
    tolerance : float, optional
        Relative error allowed per step when they are chosen; by default 1e-10 in float64, 1e-5 in float32.

    Returns
    -------
    Tensor
        Points, shape ``(..., n)``, differentiable with respect to everything. Where the geodesic leaves the chart
        before its time is up, or takes too many steps: nan, with a :class:`GeodesicWarning`.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be.

    Examples
    --------
    From the south pole of the unit sphere to the equator it is a quarter of a circle.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> quarter = torch.tensor([torch.pi / 4, 0.0], dtype=torch.float64)  # of length pi / 2, since g = 4 I there
    >>> exp_map(Sphere(2), torch.zeros(2, dtype=torch.float64), quarter).round(decimals=8)
    tensor([1., 0.], dtype=torch.float64)
    """
    evaluate(metric, x)
    check_vector("v", v, x)
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps must be an integer, at least 1, or None, got {steps!r}")
    if tolerance is None:
        tolerance = 1e-10 if x.dtype == torch.float64 else 1e-5
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance!r}")
    x, v = torch.broadcast_tensors(x, v)  # type: ignore[no-untyped-call]
    state = torch.cat((x, v), -1)
    if steps is None:
        state, failed = _adaptive(metric, state, tolerance)
        if bool(failed.any()):
            where = f", first at sample {tuple(failed.nonzero()[0].tolist())}" if failed.ndim else ""
            count = f"{int(failed.sum())} of {failed.numel()} geodesics"
            message = (
                f"exp_map: {count} left the chart or took more than {_MOST_STEPS} steps{where}; nan is returned there"
            )
            warnings.warn(message, GeodesicWarning, stacklevel=2)
            state = state.masked_fill(failed.unsqueeze(-1), torch.nan)
    else:
        step = torch.full_like(state[..., :1], 1 / steps)
        slope = _slope(metric, state)
        for _ in range(steps):
            state, slope, _ = _step(metric, state, slope, step)
    return state[..., : x.shape[-1]]


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


def _slope(metric: Metric, state: Tensor) -> Tensor:
    x, v = state.chunk(2, -1)
    return torch.cat((v, acceleration(metric, x, v)), -1)


def _step(metric: Metric, state: Tensor, slope: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    slopes = [slope]
    new = state
    for weights in _STAGES:
        new = state + step * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
        slopes.append(_slope(metric, new))
    # The last stage is the solution itself: its slope begins the next step.
    error = step * sum(w * k for w, k in zip(_ERROR, slopes, strict=True) if w)
    return new, slopes[-1], error


def _adaptive(metric: Metric, state: Tensor, tolerance: float) -> tuple[Tensor, Bool[Tensor, "*batch"]]:
    n = state.shape[-1] // 2
    smallest = 8 * torch.finfo(state.dtype).eps
    time = torch.zeros_like(state[..., :1])
    size = torch.full_like(time, 1 / 16)
    failed = torch.zeros_like(time, dtype=torch.bool)
    slope = _slope(metric, state)
    for _ in range(_MOST_STEPS):
        active = (time < 1) & ~failed
        if not bool(active.any()):
            break
        step = torch.where(active, torch.minimum(size, 1 - time), torch.zeros_like(size))
        trial, trial_slope, error = _step(metric, state, slope, step)
        with torch.no_grad():
            speed = trial[..., n:].abs().amax(-1, keepdim=True).clamp(min=torch.finfo(state.dtype).tiny)
            reach = trial[..., :n].abs().amax(-1, keepdim=True) + speed
            ratio = torch.cat((error[..., :n] / reach, error[..., n:] / speed), -1).abs().amax(-1, keepdim=True)
            ratio = ratio / tolerance
            finite = torch.isfinite(ratio) & torch.isfinite(trial_slope).all(-1, keepdim=True)
            whole = bool((finite | ~active).all())
            factor = torch.where(finite, (0.9 * ratio.clamp(min=1e-8) ** -0.2).clamp(0.2, 5.0), 0.2)
            # A trial with nan anywhere is thrown away whole: selected by `where`, it would poison the gradients.
            accepted = active & (ratio <= 1) & whole
            size = torch.where(accepted | (active & ~(ratio <= 1)), step * factor, size)
            last = time + step >= 1 - smallest
            time = torch.where(accepted, torch.where(last, torch.ones_like(time), time + step), time)
            failed = failed | (active & ~accepted & (size < smallest))
        if whole:
            state = torch.where(accepted, trial, state)
            slope = torch.where(accepted, trial_slope, slope)
    return state, (time < 1).squeeze(-1)
