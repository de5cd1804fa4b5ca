r"""The Sobolev metric on the space of curves with fixed ends, and L-BFGS in it, many curves at a time.

If the metric g did not change from where the chords stand, the Hessian of the discrete energy would be

.. math:: H_0 = 2 N\, K_\tau \otimes \bar g, \qquad K_\tau = D^\top \mathrm{diag}(\tau_1 \dots \tau_N)\, D,
    \qquad \tau_i = \tfrac1n \operatorname{tr} (\bar g^{-1} g_i),

D the differences of neighbouring nodes and :math:`\bar g` the mean of the metrics :math:`g_i` of the N chords: exactly
so for constant and for conformally flat metrics, and its inverse is known in closed form.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.discrete_energy import chords, resample
from ndm_apps.geometry.finsler import Finsler

_MEMORY = 32  # steps that L-BFGS remembers


class Sobolev(NamedTuple):
    """The metric of each curve: that of the chart, its inverse, conductances, and the inverse between nodes."""

    mean: Float[Tensor, "P n n"]
    inverse: Float[Tensor, "P n n"]
    conductance: Float[Tensor, "P N"]
    green: Float[Tensor, "P N-1 N-1"]

    @classmethod
    def along(cls, finsler: Finsler, curve: Float[Tensor, "P N+1 n"]) -> "Sobolev":
        """Return the metric at curves."""
        middle, chord = chords(curve)
        g = finsler.fibre_hessian(finsler.coefficients(middle), chord) / 2
        mean = g.mean(1)
        inverse = torch.linalg.inv(mean)
        conductance = torch.einsum("pij,ptji->pt", inverse, g) / g.shape[-1]
        # The voltage at node j when a unit of current flows into node k of a chain of resistors, both ends grounded.
        until = conductance.reciprocal().cumsum(-1)
        whole, until = until[:, -1:, None], until[:, :-1]
        low = torch.minimum(until[:, :, None], until[:, None, :])
        high = torch.maximum(until[:, :, None], until[:, None, :])
        return cls(mean, inverse, conductance, low * (whole - high) / (2 * chord.shape[-2] * whole))

    def raised(self, covector: Float[Tensor, "P N-1 n"]) -> Float[Tensor, "P N-1 n"]:
        """Apply the inverse of H_0."""
        return self.green @ covector @ self.inverse

    def lowered(self, vector: Float[Tensor, "P m N-1 n"]) -> Float[Tensor, "P m N-1 n"]:
        """Apply H_0 to several vectors of each curve."""
        current = torch.nn.functional.pad(vector, (0, 0, 1, 1)).diff(dim=-2) * self.conductance[:, None, :, None]
        return -2 * self.conductance.shape[-1] * current.diff(dim=-2) @ self.mean[:, None]

    def part(self, which: Tensor) -> "Sobolev":
        """Return the metric of some of the curves."""
        return Sobolev(*(t[which] for t in self))


class Memory(NamedTuple):
    r"""Steps s of each curve with the changes y of the gradient that they made, in compact form.

    With S the steps, Y the changes and :math:`Z = H_0^{-1} Y` side by side, each pair scaled to :math:`s^\top y = 1`,
    and R the upper triangle of :math:`S^\top Y`, L-BFGS (R. H. Byrd, J. Nocedal, R. B. Schnabel, *Math. Programming*
    63, 1994, 129-156, theorem 2.2) turns the gradient g into the direction

    .. math:: \gamma (H_0^{-1} g - Z p) + S R^{-\top} (p + \gamma (Y^\top Z p - Z^\top g)), \qquad p = R^{-1} S^\top g,

    with :math:`\gamma = s^\top y / y^\top z` of the last step. A pair of zeros says nothing and changes nothing.
    """

    steps: Float[Tensor, "P m D"]
    raised: Float[Tensor, "P m D"]
    triangle: Float[Tensor, "P m m"]
    square: Float[Tensor, "P m m"]
    scale: Float[Tensor, " P"]

    @classmethod
    def empty(cls, gradient: Float[Tensor, "P N-1 n"], scale: Float[Tensor, " P"]) -> "Memory":
        """Return the memory of curves that have not moved."""
        nothing = gradient.flatten(1)[:, None][:, :0]
        square = nothing @ nothing.mT
        return cls(nothing, nothing, square, square, scale)

    def and_then(self, step: Tensor, raised: Tensor, change: Tensor) -> "Memory":
        """Return the memory with one more step, and without the oldest if they are too many."""
        s, z, y = (t.flatten(1)[:, None] for t in (step, raised, change))
        product = (s * y).sum(-1, keepdim=True)
        # Where the energy is not convex along a step, L-BFGS has no use for it.
        factor = torch.where(product > 0, product, torch.inf).rsqrt()
        s, z, y = factor * s, factor * z, factor * y
        steps, raised = torch.cat((self.steps, s), 1), torch.cat((self.raised, z), 1)
        triangle, square = (torch.nn.functional.pad(t, (0, 1, 0, 1)) for t in (self.triangle, self.square))
        triangle[:, :, -1:], square[:, :, -1:] = steps @ y.mT, raised @ y.mT
        triangle[:, -1, -1], square[:, -1] = 1, square[:, :, -1].clone()
        scale = torch.where(product[:, 0, 0] > 0, 1 / square[:, -1, -1], self.scale)
        kept = slice(-_MEMORY, None)
        return Memory(steps[:, kept], raised[:, kept], triangle[:, kept, kept], square[:, kept, kept], scale)

    def on(self, grid: Sobolev) -> "Memory":
        """Return the memory for the same curves on a finer grid."""
        count, n = grid.conductance.shape[-1], grid.mean.shape[-1]
        steps, raised = (
            resample(torch.nn.functional.pad(torch.unflatten(t, -1, (-1, n)), (0, 0, 1, 1)), count)[..., 1:-1, :]
            for t in (self.steps, self.raised)
        )
        finer = Memory.empty(steps.new_zeros(len(steps), count - 1, n), self.scale)
        for step, z, change in zip(*(t.unbind(1) for t in (steps, raised, grid.lowered(raised))), strict=True):
            finer = finer.and_then(step, z, change)
        return finer._replace(scale=self.scale)

    def direction(self, raised: Float[Tensor, "P N-1 n"], gradient: Float[Tensor, "P N-1 n"]) -> Tensor:
        """Turn the gradient, given also raised by H_0, into the direction of descent that the steps have taught."""
        g = gradient.flatten(1)[..., None]
        p = torch.linalg.solve_triangular(self.triangle, self.steps @ g, upper=True)
        scale = self.scale[:, None, None]
        q = p + scale * (self.square @ p - self.raised @ g)
        q = torch.linalg.solve_triangular(self.triangle.mT, q, upper=False)
        turned: Tensor = self.steps.mT @ q - scale * (self.raised.mT @ p)
        return scale * raised + turned.reshape(gradient.shape)

    def part(self, which: Tensor) -> "Memory":
        """Return the memory of some of the curves."""
        return Memory(*(t[which] for t in self))
