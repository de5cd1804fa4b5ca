r"""The state-space manifold: an invertible chart of states, and polynomials in it as candidates for laws.

A coordinate of a chart of the plane has open level lines, so that none can be constant on closed orbits. A radius can:
the read-out is a quadric :math:`b \cdot z + z^T A z` in the coordinates z of the chart, as in a normal form of
Birkhoff. A quadric has one critical point, and a pendulum or a double well has more: where there are few columns,
products of more coordinates are read out, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from math import comb
from typing import final

import torch
from torch import Tensor, nn

from ndm_apps.engine.coordinates import alternating_couplings

#: Couplings of the chart, and the hidden widths of each.
DEPTH, HIDDEN = 6, (32,)
#: Highest degree of the read-out, and how many products it has at most beyond degree 2.
DEGREE, PRODUCTS = 4, 100


@final
class StateChart(nn.Module):
    """Polynomials in an invertible chart; an angle enters as a point of the unit circle.

    Parameters
    ----------
    centre, scale
        Of the columns that are no angles; 0 and 1 for angles. Shape ``(columns,)``.
    angles
        Numbers of the columns that are angles.

    Examples
    --------
    >>> chart = StateChart(torch.zeros(2).double(), torch.ones(2).double(), [])
    >>> values, slopes = chart.products(torch.tensor([[1.0, 2.0]]).double())
    >>> values[0, :5].tolist(), slopes[0, :, :5].tolist(), values.shape
    ([1.0, 2.0, 1.0, 2.0, 4.0], [[1.0, 0.0, 2.0, 2.0, 0.0], [0.0, 1.0, 0.0, 1.0, 4.0]], torch.Size([1, 14]))
    """

    def __init__(self, centre: Tensor, scale: Tensor, angles: Sequence[int]) -> None:
        super().__init__()
        n = len(centre)
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)
        self.register_buffer("angle", torch.tensor([k in angles for k in range(n)]))
        self.sines = list(angles)
        width = n + len(self.sines)
        self.map = alternating_couplings(width, DEPTH, HIDDEN).double()
        self.steps = _steps(width, max(d for d in range(2, DEGREE + 1) if d == 2 or comb(width + d, d) <= PRODUCTS))

    def products(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates of the chart and their products at states ``x``, and their derivatives by the columns.

        Shapes ``(points, products)`` and ``(points, columns, products)``.
        """
        t = (x - self.centre) / self.scale
        start = torch.cat((torch.where(self.angle, t.cos(), t), t[:, self.sines].sin()), -1)
        slope = torch.diag_embed(torch.where(self.angle, -t.sin(), torch.ones_like(t)) / self.scale)
        slope = torch.cat((slope, torch.diag_embed(t.cos())[..., self.sines]), -1)
        z, dz = self.map.push_forward(start, slope)
        values, slopes = [z], [dz]
        for before, factor in self.steps:
            value, rise = values[-1][:, before], slopes[-1][..., before]
            slopes.append(rise * z[:, None, factor] + value[:, None] * dz[..., factor])
            values.append(value * z[:, factor])
        return torch.cat(values, -1), torch.cat(slopes, -1)

    def weight(self) -> Tensor:
        """Sum of the squares of all weights, biases left out: how far the chart may bend."""
        return torch.stack([one.square().sum() for one in self.parameters() if one.ndim > 1]).sum()


def _steps(width: int, degree: int) -> list[tuple[Tensor, Tensor]]:
    """For each degree from 2, the product one degree below that each product extends, and by which coordinate."""
    steps = []
    last = {(k,): k for k in range(width)}
    for total in range(2, degree + 1):
        now = list(combinations_with_replacement(range(width), total))
        steps.append((torch.tensor([last[one[:-1]] for one in now]), torch.tensor([one[-1] for one in now])))
        last = {one: number for number, one in enumerate(now)}
    return steps
