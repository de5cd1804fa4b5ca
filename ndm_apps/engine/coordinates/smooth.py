"""A coupling that bends each coordinate and is smooth everywhere, for metrics whose curvature must be continuous."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.coordinates.coupling import Coupling


class Bumps(NamedTuple):
    """Bumps of a slope, K for each coordinate: how high, how narrow, and where."""

    amplitude: Float[Tensor, "*batch bumps"]
    sharpness: Float[Tensor, "*batch bumps"]
    centre: Float[Tensor, "*batch bumps"]


class SmoothCoupling(Coupling):
    r"""Half of the coordinates bend the other half by smooth monotone functions with straight tails.

    .. math::
        z_b = e^s \Bigl( x_b + \frac1K \sum_{k=1}^K (e^{\alpha_k} - 1)\,
              \frac{\tanh(\beta_k (x_b - c_k))}{\beta_k} \Bigr) + t

    where :math:`s, t, \alpha, \beta, c` depend on the kept coordinates. The slope is :math:`e^s` times a mean of
    numbers between 1 and :math:`e^{\alpha_k}`, so the function is monotone whatever its parameters. It is analytic:
    metrics pulled back through it are as smooth as they were. Its inverse is found to rounding by bisection and
    Newton's method. The map starts as the identity.

    Parameters
    ----------
    n
        Dimension, at least 2.
    hidden
        Hidden widths of the network that gives the parameters of the functions.
    reverse
        Whether the odd coordinates drive the even ones.
    bound
        Largest :math:`|s|`, and largest :math:`|\alpha|`.
    bumps
        Number K of bumps in the slope.

    References
    ----------
    Huang, Krueger, Lacoste and Courville, "Neural autoregressive flows", 2018, arXiv:1804.00779 (sums of sigmoids).

    Examples
    --------
    >>> z, log_abs_det = SmoothCoupling(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> z.tolist(), log_abs_det.tolist()
    ([[1.0, 2.0, 3.0]], [0.0])
    """

    def __init__(
        self, n: int, hidden: Sequence[int] = (64,), *, reverse: bool = False, bound: float = 3.0, bumps: int = 8
    ) -> None:
        if bumps < 1:
            raise ValueError(f"bumps must be at least 1, got {bumps}")
        super().__init__(n, hidden, reverse=reverse, bound=bound, parameters=2 + 3 * bumps)
        self.bumps = bumps
        # The second derivative is at most 0.77 e^bound times the slope, per width of a bump. So Newton's method starts
        # with an error that it divides by 4 or more once the bracket of the inverse, at most 2 (e^bound - 1) e^2 widths
        # long since widths differ by at most e^2, has been halved this often.
        self.halvings = math.ceil(math.log2(math.expm1(bound) * math.exp(2 + bound) / 0.325))
        # Spread evenly over [-2, 2], where coordinates of unit variance lie, each as wide as its share.
        self.centres: Tensor
        self.register_buffer("centres", (2 * torch.arange(bumps) + 1 - bumps) * 2 / bumps, persistent=False)

    def _move(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift, bumps = self._read(theta)
        bent, slope = bend(x, bumps)
        return bent * scale.exp() + shift, scale + slope.log()

    def _move_back(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift, bumps = self._read(theta)
        x = unbend((z - shift) * (-scale).exp(), bumps, self.halvings)
        return x, -scale - bend(x, bumps)[1].log()

    def _read(self, theta: Tensor) -> tuple[Tensor, Tensor, Bumps]:
        raw = torch.unflatten(theta, -1, (-1, self.sizes[1])).mT
        scale, shift, rise, sharpness, move = torch.split(raw, [1, 1, *3 * [self.bumps]], dim=-1)
        bumps = Bumps(
            self._bounded(rise).expm1() / self.bumps,
            torch.tanh(sharpness).exp() * (self.bumps / 4),
            self.centres + move,
        )
        return self._bounded(scale.squeeze(-1)), shift.squeeze(-1), bumps


def bend(x: Float[Tensor, "*batch"], bumps: Bumps) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""Return :math:`x + \sum_k a_k \tanh(\beta_k (x - c_k)) / \beta_k` and its slope, positive if all a sum > -1."""
    step = torch.tanh(bumps.sharpness * (x.unsqueeze(-1) - bumps.centre))
    value = x + (bumps.amplitude * step / bumps.sharpness).sum(-1)
    return value, 1 + (bumps.amplitude * (1 - step.square())).sum(-1)


def unbend(y: Float[Tensor, "*batch"], bumps: Bumps, halvings: int) -> Float[Tensor, "*batch"]:
    """Return the x for which :func:`bend` is ``y``, by bisection and Newton's method; differentiable three times."""
    target, fixed = y.detach(), Bumps(*(part.detach() for part in bumps))
    x, reach = target, (fixed.amplitude.abs() / fixed.sharpness).sum(-1)
    for _ in range(halvings):
        reach = reach / 2
        x = x + torch.where(bend(x, fixed)[0] < target, reach, -reach)
    for _ in range(4):
        value, slope = bend(x, fixed)
        x = x - (value - target) / slope
    # Each Newton step on the tape doubles the order of the error in y, so two leave three derivatives exact.
    for _ in range(2):
        value, slope = bend(x, bumps)
        x = x - (value - y) / slope
    return x
