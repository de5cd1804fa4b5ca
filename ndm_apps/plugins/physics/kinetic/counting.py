"""How many of the laws that the geometry gives are independent of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ndm_apps.geometry.killing import KillingField
from ndm_apps.geometry.quadratic_integrals import QuadraticIntegral
from ndm_apps.plugins.physics.kinetic.analysis import Geometry
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian

Function = Callable[[Tensor], Tensor]

#: Unit gradients with singular values below this depend on each other.
INDEPENDENT = 0.1
#: States at which they are compared.
STATES = 200


def laws(geometry: Geometry) -> list[Function]:
    """Return the energy, the momenta and the quadratic laws beyond them as functions of states (q, q')."""
    lagrangian, n = geometry.learned.lagrangian, geometry.points.shape[-1]
    irreducible = geometry.quadratic[geometry.quadratic.reducible :]
    return [
        lambda x: lagrangian.energy(x[..., :n], x[..., n:]),
        *(_momentum(lagrangian, field, n) for field in geometry.symmetries.both),
        *(_quadratic(integral, n) for integral in irreducible),
    ]


def independent_laws(geometry: Geometry) -> int:
    """Return the rank of the gradients of the laws at almost every state of the held-out motions."""
    q, v = geometry.learned.judging.samples()
    state = torch.cat((q, v), -1)
    state = state[:: max(1, len(state) // STATES)]
    return rank(laws(geometry), state)


def rank(functions: Sequence[Function], states: Tensor) -> int:
    """Return the median rank of the gradients of functions ``(..., m) -> (...)`` at states ``(points, m)``.

    Examples
    --------
    >>> states = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))
    >>> rank([lambda x: x.sum(-1), lambda x: x.sum(-1) ** 3], states)
    1
    """
    unit = states.std(0)
    slopes = [torch.func.grad(lambda x, f=function: f(x).sum())(states) * unit for function in functions]
    gradients = torch.stack(slopes, 1)
    gradients = gradients / torch.linalg.vector_norm(gradients, dim=-1, keepdim=True).clamp_min(1e-300)
    return int((torch.linalg.svdvals(gradients) > INDEPENDENT).sum(-1).median())


def _momentum(lagrangian: Lagrangian, field: KillingField, n: int) -> Function:
    return lambda x: (lagrangian.momentum(x[..., :n], x[..., n:]) * field(x[..., :n])).sum(-1)


def _quadratic(integral: QuadraticIntegral, n: int) -> Function:
    return lambda x: integral(x[..., :n], x[..., n:])
