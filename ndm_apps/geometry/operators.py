"""Differential operators on functions: gradient, covariant Hessian, Laplace-Beltrami operator."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.differentiable import check_differentiable
from ndm_apps.geometry.jets import first_derivatives, rows, symmetric_pairs, value_and_derivative
from ndm_apps.geometry.metric import Metric, evaluate


class FunctionJet(NamedTuple):
    """A function at points, with what a metric makes of its first and second derivatives.

    The gradient is given by its components in the frame of :meth:`MetricValue.orthonormal_frame`: inner products of
    gradients are plain sums.
    """

    value: Float[Tensor, "*batch"]
    gradient: Float[Tensor, "*batch n"]
    laplacian: Float[Tensor, "*batch"]


def laplacian(
    metric: Metric, function: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    r"""Laplace-Beltrami operator of a function.

    .. math:: \Delta f = g^{ij} (\partial_i \partial_j f - \Gamma^k{}_{ij} \partial_k f)

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    function : callable
        ``(..., n) -> (...)``, differentiable twice by forward mode.
    x : Tensor
        Points, shape ``(..., n)``.

    Returns
    -------
    Tensor
        Shape ``(...)``.

    Raises
    ------
    ValueError
        If ``x``, the metric at ``x`` or ``function(x)`` is not what it should be.

    Examples
    --------
    The height of a point of the unit sphere is an eigenfunction: its Laplacian is -2 times itself.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> def height(x):
    ...     return (x.square().sum(-1) - 1) / (x.square().sum(-1) + 1)
    >>> x = torch.tensor([0.5, 0.0], dtype=torch.float64)
    >>> height(x), laplacian(Sphere(2), height, x)
    (tensor(-0.6000, dtype=torch.float64), tensor(1.2000, dtype=torch.float64))
    """
    jet = function_jet(metric, function, x)
    check_differentiable(function, "function(x)", x)
    return jet.laplacian


def function_jet(metric: Metric, function: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch n"]) -> FunctionJet:
    """Compute the value, the gradient and the Laplacian of a function at once. See :func:`laplacian`."""
    frame = evaluate(metric, x).orthonormal_frame()
    points = rows(x, frame)
    value, slope, second = _second_jet(function, points, frame, frame)
    g = frame.unsqueeze(-3) @ first_derivatives(metric, x, frame) @ frame.mT.unsqueeze(-3)
    trace = torch.einsum("...aac->...c", g) - torch.einsum("...caa->...c", g) / 2
    return FunctionJet(value[..., 0], slope, second.sum(-1) - (trace * slope).sum(-1))


def hessian(
    metric: Metric, function: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n n"]:
    r"""Covariant Hessian of a function; its trace is the :func:`laplacian`, which costs less.

    .. math:: \nabla_i \nabla_j f = \partial_i \partial_j f - \Gamma^k{}_{ij} \partial_k f

    Parameters, errors: see :func:`laplacian`.

    Returns
    -------
    Tensor
        Shape ``(..., n, n)``, symmetric.

    Examples
    --------
    The height of a point of the unit sphere has Hessian minus itself times the metric.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> def height(x):
    ...     return (x.square().sum(-1) - 1) / (x.square().sum(-1) + 1)
    >>> x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> hessian(Sphere(2), height, x) / Sphere(2)(x)[0, 0]
    tensor([[-0.6667,  0.0000],
            [ 0.0000, -0.6667]], dtype=torch.float64)
    """
    value = evaluate(metric, x)
    n = x.shape[-1]
    a, b = symmetric_pairs(n, x.device)
    frame = torch.eye(n, dtype=x.dtype, device=x.device).expand_as(value.g)
    u, v = frame[..., a, :], frame[..., b, :]
    _, slope, second = _second_jet(function, rows(x, u), u, v)
    check_differentiable(function, "function(x)", x)
    dg = first_derivatives(metric, x, frame)
    raised = torch.cholesky_solve(slope[..., :n].unsqueeze(-1), value.cholesky)
    # turned[i, j] = d_i g_jk v^k, v the gradient with its index up.
    turned = (dg @ raised.unsqueeze(-3)).squeeze(-1)
    along = (dg * raised.unsqueeze(-1)).sum(-3)
    pair = torch.empty(n, n, dtype=torch.long, device=x.device)
    pair[a, b] = pair[b, a] = torch.arange(len(a), device=x.device)
    return second[..., pair] - 0.5 * (turned + turned.mT - along)


def differential(function: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Partial derivatives of a function ``(..., n) -> (...)``: the covector df."""
    basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1])
    return value_and_derivative(function, rows(x, basis), basis)[1]


def _second_jet(function: Callable[[Tensor], Tensor], points: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    (value, _), (slope, second) = value_and_derivative(lambda y: value_and_derivative(function, y, v), points, u)
    if value.shape != points.shape[:-1]:
        raise ValueError(f"function must map (..., n) to (...), got {tuple(value.shape)} from {tuple(points.shape)}")
    return value, slope, second
