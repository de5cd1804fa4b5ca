r"""How far networks are from solving the Euler-Lagrange equations in weak form, as one number to be made small.

Windows overlap: networks are evaluated once at each sample, and all windows add up what they need of it.

With noise, the residual is measured in units of what the noise itself does to it, as for dictionaries. Errors are drawn
once, with both signs: half of the difference of the two residuals is that effect, to first order; what their mean has
more than the residual of the data is the bias, to second order, and is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor

from ndm_apps.plugins.physics.kinetic.motion import Motion, Windows, windows

Errors = tuple[Tensor, Tensor]


class Mechanics(Protocol):
    """What a Lagrangian is made of."""

    def metric(self, q: Tensor) -> Tensor:
        """Metric at the points ``q``, ``(..., n, n)``."""
        ...

    def potential(self, q: Tensor) -> Tensor:
        """Potential at the points ``q``, ``(...)``."""
        ...


@final
@dataclass(frozen=True)
class WeakObjective:
    """The mean square weak residual, over that of the momenta, or with noise over that of its own effect.

    Either way the scale of the Lagrangian is free, and g = 0 is no solution.

    Attributes
    ----------
    q, v
        Distinct samples, shape ``(samples, n)``.
    part
        Windows of these samples.
    speeds
        Size of each velocity: momenta times velocities are energies, which can be compared. Shape ``(n,)``.
    errors
        Errors drawn for each sample, of positions and of velocities; None at no noise.
    """

    q: Tensor
    v: Tensor
    part: Windows
    speeds: Tensor
    errors: Errors | None

    def __len__(self) -> int:
        return len(self.part)

    def exact(self, numbers: Tensor) -> WeakObjective:
        """Return the objective of some of the windows as if there were no noise."""
        part = self.part.take(numbers)
        places = torch.arange(part.place.numel()).reshape(part.place.shape)
        q, v = part.q.flatten(0, 1), part.v.flatten(0, 1)
        return WeakObjective(q, v, replace(part, place=places), self.speeds, None)

    def __call__(self, model: Mechanics) -> Tensor:
        """Value for a model; autograd differentiates it by its parameters."""
        if self.errors is None:
            rest, momenta = self._residual(model, self.q, self.v)
            return _power(rest, self.speeds) / _power(momenta, self.speeds)
        dq, dv = self.errors
        rest, up, down = (
            self._residual(model, q, v)[0]
            for q, v in ((self.q, self.v), (self.q + dq, self.v + dv), (self.q - dq, self.v - dv))
        )
        return _power(2 * rest - (up + down) / 2, self.speeds) / _power((up - down) / 2, self.speeds)

    def _residual(self, model: Mechanics, q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        q = q.clone().requires_grad_(True)
        with torch.enable_grad():
            momenta = (model.metric(q) @ v.unsqueeze(-1)).squeeze(-1)
            lagrangian = (momenta * v).sum(-1) / 2 - model.potential(q)
            (force,) = torch.autograd.grad(lagrangian.sum(), q, create_graph=True)
        rate, value, place = self.part.rate.unsqueeze(-1), self.part.value.unsqueeze(-1), self.part.place
        return (rate * momenta[place] + value * force[place]).sum(1), momenta


def weak_objective(
    data: Motion,
    samples: int,
    stride: int,
    speeds: Tensor,
    noise: tuple[Tensor, Tensor] | None,
    generator: torch.Generator,
) -> WeakObjective:
    """Return the objective of all windows of a motion.

    Parameters
    ----------
    data
        Motions.
    samples, stride
        Length of a window and distance of the next one.
    speeds
        Size of each velocity, shape ``(n,)``.
    noise
        Standard deviations of errors of positions and velocities; None if there are none.
    generator
        Draws the errors.
    """
    q, v = data.samples()
    errors = None
    if noise is not None:
        dq, dv = (size * torch.randn(q.shape, generator=generator, dtype=q.dtype) for size in noise)
        errors = dq, dv
    return WeakObjective(q, v, windows(data, samples, stride), speeds, errors)


def _power(vectors: Tensor, speeds: Tensor) -> Tensor:
    return (speeds * vectors).square().sum(-1).mean()
