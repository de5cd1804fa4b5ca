r"""Derivatives of a tanh network by hand: what every closed form of its curvature is made of.

Directional derivatives go forward through the layers as more rows of the batch, so that each layer costs one matrix
product, and a loss on the result needs first-order autograd alone. Shape letters: B points, k directions, h units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

Layer = tuple[Tensor, Tensor]
"""Weight and bias of an affine layer."""


class Unit(NamedTuple):
    """A hidden layer at the points: activations and the first two derivatives of tanh there, (B, h) each."""

    value: Tensor
    slope: Tensor
    bend: Tensor


class Gradients(NamedTuple):
    """First derivatives of one hidden layer along k directions: before and after tanh, (B, k, h) each."""

    before: Tensor
    after: Tensor


def hidden_units(hidden: Sequence[Layer], x: Float[Tensor, "B n"]) -> list[Unit]:
    """Return every hidden layer at the points.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not hidden:
        raise ValueError("hidden must have at least one layer, got none")
    units = []
    for weight, bias in hidden:
        x = torch.tanh(linear(x, weight, bias))
        slope = 1 - x.square()
        units.append(Unit(x, slope, -2 * x * slope))
    return units


def hidden_gradients(
    hidden: Sequence[Layer], units: Sequence[Unit], directions: Float[Tensor, "B k n"]
) -> list[Gradients]:
    """Return the derivatives of every hidden layer along the rows of ``directions``."""
    gradients = []
    for (weight, _), unit in zip(hidden, units, strict=True):
        before = directions @ weight.mT
        directions = unit.slope.unsqueeze(1) * before
        gradients.append(Gradients(before, directions))
    return gradients


def push(hidden: Sequence[Layer], units: Sequence[Unit], sources: Iterable[Tensor]) -> Float[Tensor, "B k h"]:
    r"""Carry second derivatives to the last hidden layer.

    There :math:`D^2 h_l = \tanh'(z_l) W_l D^2 h_{l-1} + \tanh''(z_l) (D z_l)^2`. The k rows are second derivatives
    along k pairs of directions, or any linear combinations of such.

    Parameters
    ----------
    hidden, units
        The layers, and the same at the points.
    sources
        For each layer its :math:`\tanh''(z_l) (D z_l)^2`, (B, k, h); taken one by one, so that one is held at a time.
    """
    total: Tensor | None = None
    for (weight, _), unit, source in zip(hidden, units, sources, strict=True):
        total = source if total is None else torch.addcmul(source, unit.slope.unsqueeze(1), total @ weight.mT)
    assert total is not None  # hidden_units has refused a network without hidden layers
    return total


def in_chunks(function: Callable[[Tensor], Tensor], x: Float[Tensor, "B n"], rows: int) -> Float[Tensor, "*more B"]:
    """Apply a function to ``rows`` points at a time: temporaries that fit the cache take half the time."""
    if len(x) <= rows:
        return function(x)
    return torch.cat([function(part) for part in torch.chunk(x, -(-len(x) // rows))], dim=-1)
