r"""The Sobolev metric on the space of curves with fixed ends, and L-BFGS in it, many curves at a time.

If the metric g did not change from where the chords stand, the Hessian of the discrete energy would be

.. math:: H_0 = 2 N\, K_\tau \otimes \bar g, \qquad K_\tau = D^\top \mathrm{diag}(\tau_1 \dots \tau_N)\, D,
    \qquad \tau_i = \tfrac1n \operatorname{tr} (\bar g^{-1} g_i),

D the differences of neighbouring nodes and :math:`\bar g` the mean of the metrics :math:`g_i` of the N chords: exactly
so for constant and for conformally flat metrics. :math:`K_\tau` is the matrix of a string; in coordinates along its
modes :math:`H_0` is 1. The k-th mode has k - 1 zeros between the ends on every grid: what a coarse one taught of it
goes for a finer one.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.discrete_energy import chords
from ndm_apps.geometry.finsler import Finsler

_MEMORY, _ROOM = 64, 96  # steps that L-BFGS remembers, at least and at most


class Sobolev(NamedTuple):
    """Coordinates u of displacements in which H_0 is 1: the interior nodes of a curve move by ``modes @ u @ frame``.

    The modes are columns, the lowest first.
    """

    modes: Float[Tensor, "P N-1 N-1"]
    frame: Float[Tensor, "P n n"]

    @classmethod
    def along(cls, finsler: Finsler, curve: Float[Tensor, "P N+1 n"]) -> "Sobolev":
        """Return the metric at curves."""
        middle, chord = chords(curve)
        g = finsler.fibre_hessian(finsler.coefficients(middle), chord) / 2
        factor = torch.linalg.cholesky_ex(g.mean(1))[0]
        identity = torch.eye(g.shape[-1], dtype=g.dtype, device=g.device).expand_as(factor)
        frame = torch.linalg.solve_triangular(factor, identity, upper=False)
        conductance = torch.einsum("pij,ptji->pt", frame.mT @ frame, g) / g.shape[-1]
        string = torch.diag_embed(conductance[:, 1:] + conductance[:, :-1])
        string = string - sum(torch.diag_embed(conductance[:, 1:-1], side) for side in (-1, 1))
        good = torch.isfinite(string).all((1, 2), keepdim=True)
        # Conductances may differ by more than single precision tells apart.
        stiffness, modes = torch.linalg.eigh(torch.where(good, string, 0).double())
        # A mode never rests next to an end. There all go up at first: so they are those of other grids, not less them.
        upwards = torch.where(modes[:, :1] < 0, -1, 1)
        modes = upwards * modes / (2 * chord.shape[-2] * stiffness.unsqueeze(1)).sqrt()
        return cls(torch.where(good, modes.to(g), torch.nan), frame)

    def coordinates(self, covector: Float[Tensor, "P N-1 n"]) -> Float[Tensor, "P N-1 n"]:
        """Return derivatives in u, given those in the nodes."""
        return self.modes.mT @ covector @ self.frame.mT

    def displacement(self, u: Float[Tensor, "P N-1 n"]) -> Float[Tensor, "P N-1 n"]:
        """Return how the nodes move."""
        return self.modes @ u @ self.frame

    def part(self, which: Tensor) -> "Sobolev":
        """Return the metric of some of the curves."""
        return Sobolev(*(t[which] for t in self))


class Memory:
    r"""What L-BFGS knows of each curve: steps s in the coordinates of H_0, and changes y of the gradient there.

    With S the steps and Y the changes side by side, each pair scaled to :math:`s^\top y = 1`, and R the upper triangle
    of :math:`S^\top Y`, the compact form (R. H. Byrd, J. Nocedal, R. B. Schnabel, *Math. Programming* 63, 1994,
    129-156, theorem 2.2) turns the gradient g into the direction

    .. math:: \gamma (g - Y p) + S R^{-\top} (p + \gamma (Y^\top Y p - Y^\top g)), \qquad p = R^{-1} S^\top g,

    with :math:`\gamma = 1 / y^\top y` of the last step. As y is a difference of gradients, products with y are
    differences of those with g: each step reads S and Y twice. A pair of zeros says nothing and changes nothing.

    Parameters
    ----------
    gradient
        In the coordinates of :class:`Sobolev`, (P, modes, n).
    scale
        :math:`\gamma` to begin with, (P,).
    """

    def __init__(self, gradient: Float[Tensor, "P N-1 n"], scale: Float[Tensor, " P"]) -> None:
        self.scale, self.count = scale, 0
        curves, size = len(gradient), gradient[0].numel()
        self.steps, self.changes = (gradient.new_zeros(curves, _ROOM, size) for _ in range(2))
        self.triangle, self.square = (gradient.new_zeros(curves, _ROOM, _ROOM) for _ in range(2))
        self.at(gradient)

    def at(self, gradient: Float[Tensor, "P N-1 n"]) -> None:
        """Take note of the gradient, from which the next change is counted."""
        self.gradient = gradient.flatten(1)
        # Rows times matrices: in libraries many times as fast as matrices times columns.
        row, m = self.gradient.unsqueeze(1), self.count
        self.by_steps, self.by_changes = ((row @ t[:, :m].mT).squeeze(1) for t in (self.steps, self.changes))

    def learn(self, step: Float[Tensor, "P N-1 n"], gradient: Float[Tensor, "P N-1 n"]) -> None:
        """Take note of a step, and of the gradient where it led; where that is the old one, there was no step."""
        if self.count == _ROOM:
            self._forget()
        last, before, by_steps, by_changes = self.count, self.gradient, self.by_steps, self.by_changes
        change, step = gradient.flatten(1) - before, step.flatten(1)
        product = (step * change).sum(-1, keepdim=True)
        # Where the energy is not convex along a step, L-BFGS has no use for it.
        convex = product > 0
        factor = torch.where(convex, product, torch.inf).rsqrt()
        self.steps[:, last], change = factor * step, factor * change
        self.changes[:, last] = change
        self.count += 1
        self.at(gradient)
        self.triangle[:, :last, last] = factor * (self.by_steps[:, :last] - by_steps)
        self.triangle[:, last, last] = 1
        column, corner = factor * (self.by_changes[:, :last] - by_changes), change.square().sum(-1)
        self.square[:, :last, last] = self.square[:, last, :last] = column
        self.square[:, last, last] = corner
        self.scale = torch.where(convex.squeeze(-1), 1 / corner, self.scale)

    def direction(self, gradient: Float[Tensor, "P N-1 n"]) -> Float[Tensor, "P N-1 n"]:
        """Return the direction, uphill, that the steps have taught."""
        m, scale = self.count, self.scale[:, None, None]
        triangle, square = (t[:, :m, :m] for t in (self.triangle, self.square))
        p = torch.linalg.solve_triangular(triangle, self.by_steps.unsqueeze(-1), upper=True).mT
        q = p + scale * (p @ square - self.by_changes.unsqueeze(1))
        q = torch.linalg.solve_triangular(triangle.mT, q.mT, upper=False).mT
        turned = torch.baddbmm(q @ self.steps[:, :m], -scale * p, self.changes[:, :m])
        return scale * gradient + turned.reshape(gradient.shape)

    def on(self, gradient: Float[Tensor, "P N-1 n"]) -> "Memory":
        """Return the memory for the same curves on a finer grid: it has more modes, of which nothing is known."""
        other = Memory(gradient, self.scale)
        size = self.steps.shape[-1]
        other.steps[..., :size], other.changes[..., :size] = self.steps, self.changes
        other.triangle, other.square, other.count = self.triangle, self.square, self.count
        other.at(gradient)
        return other

    def keep(self, which: Tensor) -> None:
        """Go on with some of the curves."""
        for name in ("scale", "gradient", "by_steps", "by_changes", "steps", "changes", "triangle", "square"):
            setattr(self, name, getattr(self, name)[which])

    def _forget(self) -> None:
        """Drop the oldest steps, several at once: those that stay are copied."""
        self.steps[:, :_MEMORY], self.changes[:, :_MEMORY] = (
            t[:, -_MEMORY:].clone() for t in (self.steps, self.changes)
        )
        self.triangle[:, :_MEMORY, :_MEMORY], self.square[:, :_MEMORY, :_MEMORY] = (
            t[:, -_MEMORY:, -_MEMORY:].clone() for t in (self.triangle, self.square)
        )
        self.by_steps, self.by_changes = self.by_steps[:, -_MEMORY:], self.by_changes[:, -_MEMORY:]
        self.count = _MEMORY
