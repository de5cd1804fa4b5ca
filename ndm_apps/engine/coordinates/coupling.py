"""Coupling layers: half of the coordinates decide, one by one, what becomes of the other half."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.coordinates.base import CoordinateMap
from ndm_apps.engine.mlp import MLP


class Coupling(CoordinateMap):
    r"""Half of the coordinates move the other half, each by a monotone function of its own.

    .. math:: z_A = x_A, \qquad z_b = f(x_b;\, \theta_b(x_A)) \quad (b \in B)

    A and B are the even and odd coordinates, or the reverse. :math:`\theta` is a tanh network that starts as zero. A
    subclass gives f, which must be the identity for :math:`\theta = 0`.

    Parameters
    ----------
    n
        Dimension, at least 2.
    hidden
        Hidden widths of the network.
    reverse
        Whether the odd coordinates drive the even ones.
    bound
        Largest log-slope, in a sense of the subclass: keeps a step of training from overflowing the exponential.
    parameters
        Numbers in :math:`\theta_b`.
    """

    def __init__(self, n: int, hidden: Sequence[int], *, reverse: bool, bound: float, parameters: int) -> None:
        super().__init__()
        if n < 2:
            raise ValueError(f"n must be at least 2, got {n}")
        if not bound > 0:
            raise ValueError(f"bound must be positive, got {bound}")
        self.n, self.bound = n, bound
        order = torch.cat([torch.arange(int(reverse), n, 2), torch.arange(1 - int(reverse), n, 2)])
        self.order: Tensor
        self.restore: Tensor
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("restore", order.argsort(), persistent=False)
        kept = len(range(int(reverse), n, 2))
        self.sizes = [kept, n - kept]
        self.conditioner = MLP(kept, hidden, parameters * (n - kept))
        self.conditioner.set_output(torch.zeros(parameters * (n - kept)), gain=0.0)

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``z`` and :math:`\log |\det dz/dx|`, the sum of the log-slopes."""
        kept, moved = self._halves(x)
        moved, log_slope = self._move(moved, self.conditioner(kept))
        return self._whole(kept, moved), log_slope.sum(-1)

    def inverse(self, z: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch"]]:
        r"""Return ``x`` and :math:`\log |\det dx/dz|`."""
        kept, moved = self._halves(z)
        moved, log_slope = self._move_back(moved, self.conditioner(kept))
        return self._whole(kept, moved), log_slope.sum(-1)

    def push_forward(
        self, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch k n"]
    ) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch k n"]]:
        """Return ``z`` and the tangent vectors; a moved coordinate depends on itself and on its parameters only."""
        (kept, moved), (v_kept, v_moved) = (self._halves(part) for part in (x, v))
        theta, v_theta = self.conditioner.push_forward(kept, v_kept)
        moved, derivatives = torch.func.vjp(  # type: ignore[misc]  # three only with has_aux=True
            lambda y, t: self._move(y, t)[0], moved, theta
        )
        by_itself, by_theta = (part.unsqueeze(-2) for part in derivatives(torch.ones_like(moved)))
        v_moved = by_itself * v_moved + torch.unflatten(by_theta * v_theta, -1, (-1, self.sizes[1])).sum(-2)
        return self._whole(kept, moved), self._whole(v_kept, v_moved)

    @abstractmethod
    def _move(self, x: Float[Tensor, "*batch m"], theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return f and the logarithm of its slope at each of the m moved coordinates.

        ``theta`` has shape (..., parameters * m), the first parameter of all coordinates first.
        """

    @abstractmethod
    def _move_back(self, z: Float[Tensor, "*batch m"], theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inverse of f and the logarithm of its slope."""

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = torch.split(x.index_select(-1, self.order), self.sizes, dim=-1)
        return kept, moved

    def _whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([kept, moved], dim=-1).index_select(-1, self.restore)

    def _bounded(self, raw: Tensor) -> Tensor:
        return self.bound * torch.tanh(raw / self.bound)


class AffineCoupling(Coupling):
    r"""Half of the coordinates rescale and shift the other half.

    .. math:: z_A = x_A, \qquad z_B = x_B \odot e^{s(x_A)} + t(x_A), \qquad |s| < \text{bound}

    A and B are the even and odd coordinates, or the reverse. The map starts as the identity.

    Parameters
    ----------
    n
        Dimension, at least 2 (for one coordinate there is :class:`Affine`).
    hidden
        Hidden widths of the network that gives s and t.
    reverse
        Whether the odd coordinates drive the even ones.
    bound
        Largest log-scale: keeps a step of training from overflowing the exponential.

    References
    ----------
    Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803.

    Examples
    --------
    >>> z, log_abs_det = AffineCoupling(3)(torch.tensor([[1.0, 2.0, 3.0]]))
    >>> z.tolist(), log_abs_det.tolist()
    ([[1.0, 2.0, 3.0]], [0.0])
    """

    def __init__(self, n: int, hidden: Sequence[int] = (64,), *, reverse: bool = False, bound: float = 2.0) -> None:
        super().__init__(n, hidden, reverse=reverse, bound=bound, parameters=2)

    def _move(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = theta.chunk(2, dim=-1)
        scale = self._bounded(raw)
        return x * scale.exp() + shift, scale

    def _move_back(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = theta.chunk(2, dim=-1)
        scale = -self._bounded(raw)
        return (z - shift) * scale.exp(), scale
