r"""Exact scalar curvature of :math:`g = L L^\top + \epsilon I` where a tanh network gives the entries of L.

With :math:`e_a` an orthonormal frame of g that is held fixed, :math:`G_{abc} = (D_{e_a} g)(e_b, e_c)`,
:math:`d_c = \sum_a G_{aac}` and :math:`t_c = \sum_a G_{caa}`, the formula of :mod:`ndm_apps.geometry.scalar` reads

.. math::
    R = \sum_{ab} D_{e_a} D_{e_b} g(e_a, e_b) - \sum_{ab} D_{e_a}^2 g(e_b, e_b)
      + \tfrac34 \sum G_{abc}^2 - \tfrac12 \sum G_{abc} G_{bac} - |d - t/2|^2 .

Nothing of size :math:`n^4` is stored, no derivative is nested in another, and second derivatives cost one number per
entry of L and hidden unit. Shape letters: B points, n dimension, m columns of L, e entries of L, h hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from ndm_apps.engine.mlp_jets import Gradients, Layer, Unit, hidden_gradients, hidden_units, in_chunks, push

__all__ = ["Block", "Pattern", "column_blocks", "factor_curvature", "random_signs"]

_CHUNK = 1 << 20
"""Elements of one intermediate array: 4 MiB in float32."""


class Block(NamedTuple):
    """Consecutive columns of a matrix, and the range of rows outside which they are zero."""

    columns: slice
    rows: slice


class Pattern(NamedTuple):
    """Which entries of an n x m matrix the outputs of a network are; the others are zero.

    Attributes
    ----------
    entries
        For each output its place in the matrix, read row by row.
    columns
        m.
    blocks
        All columns, cut into blocks; the rows of the first block start at 0.
    """

    entries: Int[Tensor, " e"]
    columns: int
    blocks: tuple[Block, ...]


def column_blocks(pattern: Float[Tensor, "n m"], width: int = 16) -> tuple[Block, ...]:
    """Cut a matrix into blocks of about ``width`` columns: narrow ones skip more zeros, wide ones multiply faster.

    Examples
    --------
    >>> [(block.columns.start, block.rows.start) for block in column_blocks(torch.ones(32, 32).tril())]
    [(0, 0), (16, 16)]
    """
    columns = pattern.shape[1]
    width = -(-columns // max(1, round(columns / width)))
    blocks = []
    for start in range(0, columns, width):
        rows = pattern[:, start : start + width].any(1).nonzero().flatten().tolist()
        blocks.append(Block(slice(start, min(start + width, columns)), slice(rows[0], rows[-1] + 1)))
    first, *others = sorted(blocks, key=lambda block: block.rows.start)
    return first._replace(rows=slice(0, first.rows.stop)), *others


def factor_curvature(
    hidden: Sequence[Layer],
    output: Layer,
    pattern: Pattern,
    x: Float[Tensor, "B n"],
    eps: float,
    signs: Float[Tensor, "s k h"] | None = None,
) -> Float[Tensor, " B"] | Float[Tensor, "s B"]:
    r"""Return the scalar curvature of :math:`g = L L^\top + \epsilon I`, L affine in the last hidden layer.

    Parameters
    ----------
    hidden
        Weights and biases of the tanh layers, at least one.
    output
        Weight (e, h) and bias (e) that give the entries of L.
    pattern
        Where in L these entries are.
    x
        Points.
    eps
        The constant, positive unless L has full rank.
    signs
        If given, the result are s estimates, from k random vectors each with :math:`E[v v^\top] = I`
        (see :func:`random_signs`). What the hidden layers below the last add to the second derivatives of L is a sum
        over pairs of units; a random combination of the last layer's units makes it one sum over units.

    Returns
    -------
    Tensor
        R at each point. Costs about 4 n passes through the network for a square L.
    """
    n, columns = x.shape[-1], pattern.columns
    weight, _ = output
    full = weight.new_zeros(n * columns, weight.shape[1]).index_copy(0, pattern.entries, weight)
    width = max(layer.shape[0] for layer, _ in hidden)
    probes = 0 if signs is None else len(signs.flatten(0, 1))
    rows = max(1, _CHUNK // max(len(weight) * width, n * n * columns, probes * columns * width))
    matrices = torch.unflatten(full, 0, (n, columns))
    weights = [matrices[block.rows, block.columns].flatten(0, 1) for block in pattern.blocks]
    sketched = None if signs is None else (signs, torch.unflatten(signs @ full.mT, -1, (n, columns)))
    return in_chunks(lambda part: _factor_curvature(hidden, output, weights, pattern, part, eps, sketched), x, rows)


def _factor_curvature(
    hidden: Sequence[Layer],
    output: Layer,
    weights: Sequence[Tensor],
    pattern: Pattern,
    x: Tensor,
    eps: float,
    sketched: tuple[Tensor, Tensor] | None,
) -> Tensor:
    weight, bias = output
    units = hidden_units(hidden, x)
    entries = linear(units[-1].value, weight, bias)
    flat = entries.new_zeros(len(x), x.shape[1] * pattern.columns).index_copy(1, pattern.entries, entries)
    frames = _frames(torch.unflatten(flat, 1, (-1, pattern.columns)), eps)
    gradients = hidden_gradients(hidden, units, frames.vectors)
    if sketched is None:
        mixed = push(hidden, units, _mixed_sources(units, gradients, frames, pattern)).flatten(1) @ weight.flatten()
    else:
        (last,) = _mixed_sources(units[-1:], gradients[-1:], frames, pattern)
        mixed = last.flatten(1) @ weight.flatten() + _sketch(hidden, units, gradients, frames, *sketched)
    laplacian = push(hidden, units, _laplacian_sources(units, gradients)).squeeze(1)
    traced = _dot(linear(laplacian, weight), frames.raised.flatten(1).index_select(1, pattern.entries))
    curvature: Tensor = 2 * (mixed - traced) + _first_order_terms(gradients[-1].after, weights, pattern.blocks, frames)
    return curvature


class _Frames(NamedTuple):
    """Rows e_a of the orthonormal frame (B, n, n), and the factor in it, e_a^T L (B, n, m)."""

    vectors: Tensor
    factor: Tensor

    @property
    def raised(self) -> Tensor:
        """:math:`g^{-1} L`."""
        return self.vectors.mT @ self.factor


def _frames(factor: Float[Tensor, "B n m"], eps: float) -> _Frames:
    # Rows of C^{-1}, C the Cholesky factor of g, are orthonormal.
    eye = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
    cholesky = torch.linalg.cholesky(torch.baddbmm(eps * eye, factor, factor.mT))
    vectors = torch.linalg.solve_triangular(cholesky, eye, upper=False)
    return _Frames(vectors, vectors @ factor)


def _mixed_sources(
    units: Sequence[Unit], gradients: Sequence[Gradients], frames: _Frames, pattern: Pattern
) -> Iterator[Tensor]:
    r"""Yield what each layer adds to :math:`\sum_{ab} (e_a)_i (e_b^\top L)_j D_a D_b h`, for the entries ij of L alone.

    The Hessian of a unit's activation is of rank one but for what comes from the layers below, so this is an outer
    product of two vectors per unit, and its inner product with the weights is the sum of
    :math:`e_a^\top (D_a D_b L) L^\top e_b`.
    """
    row, column = pattern.entries // pattern.columns, pattern.entries % pattern.columns
    for unit, (gradient, _) in zip(units, gradients, strict=True):
        left = frames.vectors.mT @ (unit.bend.unsqueeze(1) * gradient)
        right = frames.factor.mT @ gradient
        yield left.index_select(1, row) * right.index_select(1, column)


def _sketch(
    hidden: Sequence[Layer],
    units: Sequence[Unit],
    gradients: Sequence[Gradients],
    frames: _Frames,
    signs: Float[Tensor, "s k h"],
    matrices: Float[Tensor, "s k n m"],
) -> Float[Tensor, "s B"]:
    r"""Estimate what the layers below the last add to :math:`\sum_{ab} e_a^\top (D_a D_b L) L^\top e_b`.

    With v random, :math:`W_v = \sum_\alpha v_\alpha W_\alpha` in ``matrices`` and p, q the vectors of a unit u,
    it is :math:`E \sum_u \tanh''_u \, (\partial v^\top h / \partial h_u) \, p^\top W_v q`. At least two layers.
    """
    total = signs.new_zeros(())
    sensitivity = signs.unsqueeze(-2)  # [s, k, B, h] = d v^T h_last / d h
    for layer in reversed(range(len(hidden) - 1)):
        sensitivity = (sensitivity * units[layer + 1].slope) @ hidden[layer + 1][0]
        gradient = gradients[layer].before
        form = ((matrices.mT.unsqueeze(2) @ (frames.vectors.mT @ gradient)) * (frames.factor.mT @ gradient)).sum(-2)
        total = total + (sensitivity * units[layer].bend * form).sum(-1)
    return total.mean(1)


def random_signs(
    shape: tuple[int, int, int], generator: torch.Generator | None, like: Tensor
) -> Float[Tensor, "s k h"]:
    r"""Draw s independent sets of k vectors of signs with :math:`E[v v^\top] = I`.

    Those of a set are different rows of a Hadamard matrix with randomly flipped columns: orthogonal where h is a power
    of two, so that the average of :math:`v v^\top` over a full set is the identity.

    Raises
    ------
    ValueError
        If k is above the smallest power of two that is at least h.
    """
    sets, probes, width = shape
    matrix = like.new_ones(1, 1)
    while len(matrix) < width:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    if probes > len(matrix):
        raise ValueError(f"probes must be at most {len(matrix)} for {width} units, got {probes}")
    draws = []
    for _ in range(sets):
        row = torch.randperm(len(matrix), generator=generator, device=like.device)[:probes]
        flip = torch.randint(2, (width,), generator=generator, device=like.device, dtype=like.dtype) * 2 - 1
        draws.append(matrix[row, :width] * flip)
    return torch.stack(draws)


def _laplacian_sources(units: Sequence[Unit], gradients: Sequence[Gradients]) -> Iterator[Tensor]:
    for unit, (gradient, _) in zip(units, gradients, strict=True):
        yield unit.bend.unsqueeze(1) * gradient.square().sum(1, keepdim=True)


def _first_order_terms(
    after: Float[Tensor, "B n h"], weights: Sequence[Tensor], blocks: Sequence[Block], frames: _Frames
) -> Float[Tensor, " B"]:
    """Return the part of R that is quadratic in the first derivatives of L along the frame.

    A block of columns of L that starts at row r meets only the rows of the frame from r on, which is triangular: for a
    triangular L, many blocks would halve the work three times.
    """
    n = after.shape[1]
    squares = gradient = after.new_zeros(())
    for weight, (columns, rows) in zip(weights, blocks, strict=True):
        reached = slice(rows.start, None)
        first = torch.unflatten(after @ weight.mT, 2, (rows.stop - rows.start, -1))
        swapped = frames.vectors[:, reached, rows] @ first.transpose(1, 2).flatten(2)
        swapped = torch.unflatten(swapped, 2, (n, -1))
        half = swapped.transpose(1, 2).contiguous()  # [B, a, b, :] = e_b^T D_a L
        square = half[:, reached]
        trace = square.diagonal(dim1=1, dim2=2).sum(-1)
        squares = squares + _dot(trace, trace) + (square * swapped[:, :, reached]).sum((1, 2, 3)) - 2 * _dot(half, half)
        product = torch.unflatten(half.flatten(1, 2) @ frames.factor[:, reached, columns].mT, 1, (n, -1))
        if rows.start:
            gradient[:, :, reached, reached] += product
        else:
            gradient = gradient + product if gradient.ndim else product
    gradient = gradient + gradient.mT
    d = gradient.diagonal(dim1=1, dim2=2).sum(-1)
    t = gradient.diagonal(dim1=2, dim2=3).sum(-1)
    gamma = 0.75 * _dot(gradient, gradient) - 0.5 * _dot(gradient, gradient.transpose(1, 2))
    return squares + gamma - _dot(d - t / 2, d - t / 2)


def _dot(a: Tensor, b: Tensor) -> Float[Tensor, " B"]:
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product
