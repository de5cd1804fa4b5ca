r"""Exact scalar curvature of metrics that a tanh network gives, in closed form.

Every function differentiates the network by hand (directional derivatives forward, Hessians as sums of one rank-one
term per hidden unit), so that a loss on the curvature needs first-order autograd alone, and nothing of size
:math:`n^4` is ever stored. The frame formula they rest on: with :math:`e_a` an orthonormal frame of g that is held
fixed, :math:`G_{abc} = (D_{e_a} g)(e_b, e_c)`, :math:`D = \sum_{ab} D_{e_a} D_{e_b} g(e_a, e_b)`,
:math:`T = \sum_{ab} D_{e_a}^2 g(e_b, e_b)`, :math:`d_c = \sum_a G_{aac}` and :math:`t_c = \sum_a G_{caa}`,

.. math:: R = D - T + \tfrac34 \sum G_{abc}^2 - \tfrac12 \sum G_{abc} G_{bac} - |d - t/2|^2 .

Shape letters: B points, n dimension, m columns of the factor, h hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

__all__ = ["conformal_curvature", "diagonal_curvature", "factor_curvature", "log_scale"]

Layer = tuple[Tensor, Tensor]
"""Weight and bias of an affine layer."""

_CHUNK = 1 << 24
"""Largest number of elements of one intermediate array; batches are cut to stay below."""


class _Unit(NamedTuple):
    """A hidden layer at the points: activations and the first two derivatives of tanh there, (B, h) each."""

    value: Tensor
    slope: Tensor
    bend: Tensor


class _Jet(NamedTuple):
    """Derivatives of the hidden layers along k directions.

    Attributes
    ----------
    gradients
        First derivatives of each layer's pre-activations, (B, k, h).
    first
        First derivatives of the last layer's activations, (B, k, h).
    second
        Second derivatives of the same, (B, k, h), or summed over the directions, (B, 1, h).
    """

    gradients: list[Tensor]
    first: Tensor
    second: Tensor


def factor_curvature(
    hidden: Sequence[Layer], output: Layer, x: Float[Tensor, "B n"], eps: float
) -> Float[Tensor, " B"]:
    r"""Return the scalar curvature of :math:`g = L L^\top + \epsilon I`, L affine in the last hidden layer.

    Parameters
    ----------
    hidden
        Weights and biases of the tanh layers, at least one.
    output
        Weight (n m, h) and bias (n m) that give the entries of the n x m matrix L, row by row. Rows of zeros are
        entries that are not there.
    x
        Points.
    eps
        The constant, positive unless L has full rank.

    Returns
    -------
    Tensor
        R at each point. Costs about 4 n passes through the network for a square L.
    """
    n, entries, width = x.shape[-1], output[0].shape[0], max(weight.shape[0] for weight, _ in hidden)
    chunk = max(1, _CHUNK // (width * max(entries, width) + n * n * entries))
    return torch.cat([_factor_curvature(hidden, output, part, eps) for part in torch.split(x, chunk)])


def _factor_curvature(hidden: Sequence[Layer], output: Layer, x: Tensor, eps: float) -> Tensor:
    n = x.shape[-1]
    weight, bias = output
    units = _units(hidden, x)
    factor = torch.unflatten(linear(units[-1].value, weight, bias), -1, (n, -1))
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    # Rows of C^{-1}, C the Cholesky factor of g, are the frame.
    frame = torch.linalg.solve_triangular(torch.linalg.cholesky(factor @ factor.mT + eps * eye), eye, upper=False)
    framed = frame @ factor
    jet = _directional(hidden, units, frame, collapse=True)

    first = torch.unflatten(jet.first @ weight.mT, -1, (n, -1))
    laplacian = torch.unflatten(linear(jet.second, weight), -1, (n, -1)).squeeze(1)
    half = frame[:, None] @ first  # [B, a, b, :] = e_b^T D_a L
    gradient = half @ framed.mT[:, None]
    gradient = gradient + gradient.mT

    trace = half.diagonal(dim1=1, dim2=2).sum(-1)
    divergence = trace.square().sum(-1) + (half * half.transpose(1, 2)).sum((1, 2, 3))
    divergence = divergence + 2 * _hessian_term(hidden, weight, units, jet.gradients, frame, framed)
    laplace = 2 * (frame @ laplacian * framed).sum((1, 2)) + 2 * half.square().sum((1, 2, 3))
    curvature: Tensor = divergence - laplace + _quadratic_terms(gradient)
    return curvature


def _quadratic_terms(gradient: Float[Tensor, "B n n n"]) -> Float[Tensor, " B"]:
    """Return the part of R that is quadratic in the first derivatives of g in the frame."""
    squares = gradient.square().sum((1, 2, 3))
    swapped = (gradient * gradient.transpose(1, 2)).sum((1, 2, 3))
    d = gradient.diagonal(dim1=1, dim2=2).sum(-1)
    t = gradient.diagonal(dim1=2, dim2=3).sum(-1)
    return (3 * squares - 2 * swapped) / 4 - (d - t / 2).square().sum(-1)


def _hessian_term(
    hidden: Sequence[Layer],
    weight: Tensor,
    units: Sequence[_Unit],
    gradients: Sequence[Tensor],
    frame: Tensor,
    framed: Tensor,
) -> Tensor:
    r"""Return :math:`\sum_{ab} e_a^\top (D_a D_b L) L^\top e_b`.

    With v the gradient of a hidden unit in the frame, :math:`p = E v` and :math:`q = L^\top E v`, unit u of layer l
    adds :math:`\tanh''_u \sum_\alpha (\partial h_\alpha / \partial h_u)\, p^\top W_\alpha q`, where :math:`W_\alpha` is
    the n x m matrix that the last layer's unit :math:`\alpha` adds to L.
    """
    n = frame.shape[-1]
    last = gradients[-1].mT
    matrices = torch.unflatten(weight.mT, -1, (n, -1))
    p, q = (last @ frame).transpose(0, 1), (last @ framed).transpose(0, 1)
    total = (units[-1].bend * ((p @ matrices) * q).sum(-1).mT).sum(-1)

    sensitivity = units[-1].slope[..., None] * hidden[-1][0]  # d h_last / d h_l
    for layer in range(len(hidden) - 2, -1, -1):
        rows = gradients[layer].mT
        outer = ((rows @ frame)[..., :, None] * (rows @ framed)[..., None, :]).flatten(-2)
        total = total + (units[layer].bend * ((outer @ weight) * sensitivity.mT).sum(-1)).sum(-1)
        if layer:
            sensitivity = (sensitivity * units[layer].slope[:, None]) @ hidden[layer][0]
    return total


def diagonal_curvature(
    hidden: Sequence[Layer], output: Layer, x: Float[Tensor, "B n"], eps: float
) -> Float[Tensor, " B"]:
    r"""Return the scalar curvature of :math:`g = \mathrm{diag}(e^{2 o_a(x)} + \epsilon)`, o the network's n outputs."""
    units = _units(hidden, x)
    frame = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    jet = _directional(hidden, units, frame, collapse=False)
    f, slope, bend = log_scale(linear(units[-1].value, *output), eps)
    u = jet.first @ output[0].mT  # [B, a, b] = d_a o_b, then d_a f_b
    second = slope[:, None] * (jet.second @ output[0].mT) + bend[:, None] * u.square()
    u = slope[:, None] * u
    w = (-2 * f).exp()

    own, own_second = u.diagonal(dim1=1, dim2=2), second.diagonal(dim1=1, dim2=2)
    divergence = (w * (2 * own_second + 4 * own.square())).sum(-1)
    laplace = (w[..., None] * (2 * second + 4 * u.square())).sum((1, 2))
    squares, swapped = 4 * (w[..., None] * u.square()).sum((1, 2)), 4 * (w * own.square()).sum(-1)
    contracted = (w * (2 * own - u.sum(-1)).square()).sum(-1)
    return divergence - laplace + (3 * squares - 2 * swapped) / 4 - contracted


def conformal_curvature(
    hidden: Sequence[Layer], output: Layer, x: Float[Tensor, "B n"], eps: float
) -> Float[Tensor, " B"]:
    r"""Return the scalar curvature of :math:`g = (e^{2 o(x)} + \epsilon) I`, o the network's one output.

    With :math:`g = e^{2f} I`, :math:`R = -(n-1) e^{-2f} (2 \Delta f + (n-2) |\nabla f|^2)`.
    """
    n = x.shape[-1]
    units = _units(hidden, x)
    jet = _directional(
        hidden, units, torch.eye(n, dtype=x.dtype, device=x.device).expand(len(x), -1, -1), collapse=True
    )
    f, slope, bend = (part.squeeze(-1) for part in log_scale(linear(units[-1].value, *output), eps))
    norm = linear(jet.first, output[0]).square().sum((1, 2))
    laplacian = slope * linear(jet.second, output[0]).sum((1, 2)) + bend * norm
    return -(n - 1) * (-2 * f).exp() * (2 * laplacian + (n - 2) * slope.square() * norm)


def log_scale(o: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return :math:`f = \tfrac12 \log(e^{2o} + \epsilon)` and its first two derivatives by o."""
    shift = torch.as_tensor(eps, dtype=o.dtype, device=o.device).log()
    slope = torch.sigmoid(2 * o - shift)
    return torch.logaddexp(2 * o, shift) / 2, slope, 2 * slope * (1 - slope)


def _units(hidden: Sequence[Layer], x: Tensor) -> list[_Unit]:
    units = []
    for weight, bias in hidden:
        x = torch.tanh(linear(x, weight, bias))
        slope = 1 - x.square()
        units.append(_Unit(x, slope, -2 * x * slope))
    return units


def _directional(
    hidden: Sequence[Layer], units: Sequence[_Unit], frame: Float[Tensor, "B k n"], *, collapse: bool
) -> _Jet:
    """Return the derivatives along the rows of ``frame``, which is held fixed; ``collapse`` sums the second ones."""
    first, second = frame, None
    gradients = []
    for (weight, _), (_, slope, bend) in zip(hidden, units, strict=True):
        gradient = first @ weight.mT
        squares = gradient.square().sum(1, keepdim=True) if collapse else gradient.square()
        curved = bend[:, None] * squares
        second = curved if second is None else curved + slope[:, None] * (second @ weight.mT)
        first = slope[:, None] * gradient
        gradients.append(gradient)
    if second is None:
        raise ValueError("hidden must have at least one layer, got none")
    return _Jet(gradients, first, second)
