"""The functions in which a potential is expanded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ndm_apps.geometry.dictionary import Polynomials, polynomials

#: Functions of the distance r from the origin: what they are called, in order.
RADIAL = ("1/r", "log(r)", "r")
#: Positions nearer to the origin than this part of their usual distance leave no room for a function singular there.
NEAREST = 0.01
#: ... and so do positions nearer than this many errors: there, errors alone explain whatever is wanted.
NEAREST_ERRORS = 10.0


@final
@dataclass(frozen=True, eq=False)
class PotentialFunctions:
    """Polynomials without the constant, and perhaps functions of the distance from the origin.

    Attributes
    ----------
    polynomials
        The constant is their first function.
    radial
        Whether the functions of :data:`RADIAL` follow.
    """

    polynomials: Polynomials
    radial: bool

    def __call__(self, q: Tensor) -> Tensor:
        """Values at the points ``q``, ``(..., functions)``."""
        powers = self.polynomials(q)[..., 1:]
        if not self.radial:
            return powers
        r = q.square().sum(-1, keepdim=True).sqrt()
        return torch.cat((powers, 1 / r, r.log(), r), -1)


def potential_functions(q: Tensor, degree: int, radial: bool, angles: Sequence[int]) -> PotentialFunctions:
    """Make the functions for positions ``q``, shape ``(points, n)``."""
    return PotentialFunctions(polynomials(q, degree, angles), radial)


def has_distance(q: Tensor, angles: Sequence[int], error: Tensor | None) -> bool:
    """Return whether the distance from the origin makes sense: a plane or space, and no motion through its centre.

    ``error`` is the standard deviation of errors of the positions, shape ``(n,)``; None if there are none.
    """
    if angles or q.shape[-1] < 2:
        return False
    r = torch.linalg.vector_norm(q, dim=-1)
    nearest = NEAREST * float(r.square().mean().sqrt())
    if error is not None:
        nearest = max(nearest, NEAREST_ERRORS * float(error.max()))
    return float(r.min()) > nearest
