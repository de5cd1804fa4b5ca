r"""Exact scalar curvature of metrics that are diagonal, or conformal to the flat one, with scales from a tanh network.

Shape letters: B points, n dimension, h hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from ndm_apps.engine.mlp_jets import Layer, hidden_gradients, hidden_units, in_chunks, push

__all__ = ["conformal_curvature", "diagonal_curvature", "log_scale"]

_CHUNK = 1 << 18
"""Elements of one intermediate array: 1 MiB in float32."""


def diagonal_curvature(
    hidden: Sequence[Layer], output: Layer, x: Float[Tensor, "B n"], eps: float
) -> Float[Tensor, " B"]:
    r"""Return the scalar curvature of :math:`g = \mathrm{diag}(e^{2 o_a(x)} + \epsilon)`, o the network's n outputs.

    With :math:`g_a = e^{2 f_a}`, :math:`w_a = e^{-2 f_a}` and :math:`u_{ab} = \partial_a f_b`, coordinate vectors times
    :math:`e^{-f_a}` are the frame, and all that is left of the frame formula are pure second derivatives:

    .. math::
        R = \sum_a w_a \Bigl[2 \partial_a^2 f_a + 2 u_{aa}^2
            - \sum_b (2 \partial_a^2 f_b + u_{ab}^2) - \bigl(2 u_{aa} - \sum_b u_{ab}\bigr)^2\Bigr] .
    """
    n = x.shape[-1]
    width = max(layer.shape[0] for layer, _ in hidden)
    rows = max(1, _CHUNK // (n * max(n, width)))
    return in_chunks(lambda part: _diagonal_curvature(hidden, output, part, eps), x, rows)


def _diagonal_curvature(hidden: Sequence[Layer], output: Layer, x: Tensor, eps: float) -> Tensor:
    weight, bias = output
    units = hidden_units(hidden, x)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    gradients = hidden_gradients(hidden, units, eye)
    second = push(hidden, units, (u.bend.unsqueeze(1) * z.square() for u, (z, _) in zip(units, gradients, strict=True)))
    f, slope, bend = log_scale(linear(units[-1].value, weight, bias), eps)
    w = (-2 * f).exp()

    first = gradients[-1].after @ weight.mT  # [B, a, b] = d_a o_b
    squares = (w.unsqueeze(1) @ first.square()).squeeze(1)
    own = slope * first.diagonal(dim1=1, dim2=2)
    # Of the second derivatives of f, n^2 of them, their sum over a with weights w and the n pure ones are needed.
    own_second = slope * (second * weight).sum(-1) + bend * first.diagonal(dim1=1, dim2=2).square()
    summed = slope * linear((w.unsqueeze(1) @ second).squeeze(1), weight) + bend * squares
    total = (first @ slope.unsqueeze(-1)).squeeze(-1)
    inner = 2 * own_second + 2 * own.square() - (2 * own - total).square()
    return (w * inner - 2 * summed - slope.square() * squares).sum(-1)


def conformal_curvature(
    hidden: Sequence[Layer], output: Layer, x: Float[Tensor, "B n"], eps: float
) -> Float[Tensor, " B"]:
    r"""Return the scalar curvature of :math:`g = (e^{2 o(x)} + \epsilon) I`, o the network's one output.

    With :math:`g = e^{2f} I`, :math:`R = -(n-1) e^{-2f} (2 \Delta f + (n-2) |\nabla f|^2)`.
    """
    n = x.shape[-1]
    width = max(layer.shape[0] for layer, _ in hidden)
    return in_chunks(lambda part: _conformal_curvature(hidden, output, part, eps), x, max(1, _CHUNK // (n * width)))


def _conformal_curvature(hidden: Sequence[Layer], output: Layer, x: Tensor, eps: float) -> Tensor:
    n, (weight, bias) = x.shape[-1], output
    units = hidden_units(hidden, x)
    eye = torch.eye(n, dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
    gradients = hidden_gradients(hidden, units, eye)
    sources = (
        u.bend.unsqueeze(1) * z.square().sum(1, keepdim=True) for u, (z, _) in zip(units, gradients, strict=True)
    )
    f, slope, bend = (part.squeeze(-1) for part in log_scale(linear(units[-1].value, weight, bias), eps))
    norm = linear(gradients[-1].after, weight).square().sum((1, 2))
    laplacian = slope * linear(push(hidden, units, sources), weight).flatten() + bend * norm
    return -(n - 1) * (-2 * f).exp() * (2 * laplacian + (n - 2) * slope.square() * norm)


def log_scale(o: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return :math:`f = \tfrac12 \log(e^{2o} + \epsilon)` and its first two derivatives by o."""
    shift = torch.as_tensor(eps, dtype=o.dtype, device=o.device).log()
    slope = torch.sigmoid(2 * o - shift)
    return torch.logaddexp(2 * o, shift) / 2, slope, 2 * slope * (1 - slope)
