"""Differential operators on functions: the Laplace-Beltrami operator and the squared length of the gradient."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.jets import first_derivatives, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, evaluate


class FunctionJet(NamedTuple):
    """A function at points, with what a metric makes of its first and second derivatives."""

    value: Float[Tensor, "*batch"]
    gradient_squared: Float[Tensor, "*batch"]
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
        If ``x``, the metric at ``x`` or the shape of ``function(x)`` is not what it should be.

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
    return function_jet(metric, function, x).laplacian


def function_jet(metric: Metric, function: Callable[[Tensor], Tensor], x: Float[Tensor, "*batch n"]) -> FunctionJet:
    """Compute the value, :math:`|df|^2` and the Laplacian of a function at once. See :func:`laplacian`."""
    frame = evaluate(metric, x).orthonormal_frame()
    points = rows(x, frame)
    (value, _), (slope, second) = value_and_derivative(
        lambda y: value_and_derivative(function, y, frame), points, frame
    )
    if value.shape != frame.shape[:-1]:
        raise ValueError(f"function must map (..., n) to (...), got {tuple(value.shape)} from {tuple(points.shape)}")
    g = frame.unsqueeze(-3) @ first_derivatives(metric, x, frame) @ frame.mT.unsqueeze(-3)
    trace = torch.einsum("...aac->...c", g) - torch.einsum("...caa->...c", g) / 2
    return FunctionJet(value[..., 0], slope.square().sum(-1), second.sum(-1) - (trace * slope).sum(-1))
