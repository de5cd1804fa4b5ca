r"""A Lagrangian :math:`L = \tfrac12 g_{ij}(q) \dot q^i \dot q^j - V(q)` learned from positions and velocities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary
from ndm_apps.geometry.metric import Metric, raise_index
from ndm_apps.geometry.operators import differential
from ndm_apps.plugins.physics.kinetic.weak import slopes

Potential = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class ExpandedMetric:
    """A metric expanded in functions, ``(..., n) -> (..., n, n)``; ``coefficients`` is ``(n, n, functions)``."""

    coefficients: Tensor
    functions: Dictionary

    def __call__(self, q: Tensor) -> Tensor:
        """Metric at the points ``q``."""
        return torch.einsum("ijm,...m->...ij", self.coefficients, self.functions(q))


@final
@dataclass(frozen=True, eq=False)
class ExpandedPotential:
    """A potential expanded in functions, ``(..., n) -> (...)``."""

    coefficients: Tensor
    functions: Dictionary

    def __call__(self, q: Tensor) -> Tensor:
        """Potential at the points ``q``."""
        return self.functions(q) @ self.coefficients


@final
@dataclass(frozen=True, eq=False)
class Lagrangian:
    """A kinetic metric and a potential, both up to one common factor, the potential up to a constant.

    Attributes
    ----------
    metric, potential
        ``(..., n) -> (..., n, n)`` and ``(..., n) -> (...)``.
    kinetic_energy
        Its root mean square over the data: the unit that differences of the potential are compared with. (The
        standard deviation of the potential itself is no unit: for a free motion it is the size of an error.)
    """

    metric: Metric
    potential: Potential
    kinetic_energy: float

    def momentum(self, q: Tensor, v: Tensor) -> Tensor:
        """Canonical momenta g(v, .), shape ``(..., n)``."""
        return (self.metric(q) @ v.unsqueeze(-1)).squeeze(-1)

    def energy(self, q: Tensor, v: Tensor) -> Tensor:
        """Kinetic plus potential energy, shape ``(...)``."""
        return (self.momentum(q, v) * v).sum(-1) / 2 + self.potential(q)

    def acceleration(self, q: Tensor, v: Tensor) -> Tensor:
        r"""Second time derivative of the coordinates by the Euler-Lagrange equations, shape ``(..., n)``.

        .. math:: \ddot q^i = -\Gamma^i{}_{jk} \dot q^j \dot q^k - g^{ij} \partial_j V
        """
        n = q.shape[-1]
        flat = slopes(lambda y: self.metric(y).flatten(-2), q.reshape(-1, n))[1]
        dg = torch.unflatten(flat, -1, (n, n)).reshape(*q.shape, n, n)
        turned = torch.einsum("...lij,...l,...j->...i", dg, v, v) - torch.einsum("...ijk,...j,...k->...i", dg, v, v) / 2
        return -raise_index(self.metric, q, turned + differential(self.potential, q))
