"""Rational-quadratic splines: the most flexible coupling with an inverse in closed form; smooth between its knots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates.coupling import Coupling


class Knots(NamedTuple):
    """Where a monotone spline passes and how steeply: k bins have k + 1 knots, increasing in both directions."""

    x: Float[Tensor, "*batch knots"]
    z: Float[Tensor, "*batch knots"]
    slope: Float[Tensor, "*batch knots"]


class SplineCoupling(Coupling):
    r"""Half of the coordinates bend the other half by monotone rational-quadratic splines.

    On :math:`[-a, a]`, a = ``radius``, each moved coordinate passes a spline of ``bins`` pieces whose knots and slopes
    depend on the kept coordinates; outside it is unchanged. The map starts as the identity.

    The spline is once continuously differentiable: its second derivative jumps at knots. A metric pulled back through
    it is continuous with kinks there, so its scalar curvature is that of the metric in z at every point except on the
    knots, where it does not exist, and geodesics of the pulled-back metric turn by a finite acceleration. Where
    derivatives of the metric must be continuous, use :class:`SmoothCoupling`.

    Parameters
    ----------
    n
        Dimension, at least 2.
    hidden
        Hidden widths of the network that gives the knots.
    reverse
        Whether the odd coordinates drive the even ones.
    bound
        Largest log-slope at a knot, and largest log-ratio of the widths of two pieces and of their heights.
    bins, radius
        Pieces of each spline, and half the length of the interval it acts on.

    References
    ----------
    Gregory and Delbourgo, "Piecewise rational quadratic interpolation to monotonic data", 1982.
    Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019, arXiv:1906.04032.

    Examples
    --------
    >>> z, log_abs_det = SplineCoupling(3)(torch.tensor([[1.0, 2.0, 30.0]]))
    >>> z.round(decimals=5).tolist()
    [[1.0, 2.0, 30.0]]
    """

    def __init__(
        self,
        n: int,
        hidden: Sequence[int] = (64,),
        *,
        reverse: bool = False,
        bound: float = 2.0,
        bins: int = 8,
        radius: float = 5.0,
    ) -> None:
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        if not radius > 0:
            raise ValueError(f"radius must be positive, got {radius}")
        super().__init__(n, hidden, reverse=reverse, bound=bound, parameters=3 * bins - 1)
        self.bins, self.radius = bins, radius
        self.grid: Tensor
        self.register_buffer("grid", 2 * torch.arange(bins + 1) / bins - 1, persistent=False)

    def _move(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        return spline(x, self.knots(theta))

    def _move_back(self, z: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        return inverse_spline(z, self.knots(theta))

    def knots(self, theta: Float[Tensor, "*batch parameters"]) -> Knots:
        """Return the splines, one for each moved coordinate, that these outputs of the network stand for."""
        raw = self._bounded(torch.unflatten(theta, -1, (-1, self.sizes[1])).mT)
        widths, heights, log_slopes = torch.split(raw, [self.bins, self.bins, self.bins - 1], dim=-1)
        x, z = (self.radius * (self.grid + _partial_sums(_excess_of_softmax(part / 2))) for part in (widths, heights))
        return Knots(x, z, nn.functional.pad(log_slopes, (1, 1)).exp())


def spline(x: Float[Tensor, "*batch"], knots: Knots) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""Evaluate the spline and the logarithm of its slope; the identity outside the knots.

    In a bin of width w, height h, mean slope :math:`s = h / w` and slopes d, d' at its ends, with
    :math:`\xi = (x - x_k) / w` and :math:`\eta = \xi (1 - \xi)`,

    .. math:: z = z_k + h \frac{s \xi^2 + d \eta}{s + (d + d' - 2 s) \eta}

    Parameters
    ----------
    x
        Points, (...).
    knots
        One spline for each point, (..., knots).
    """
    inside, here = _bin(x, knots.x, knots)
    xi = torch.where(inside, (x - here.x) / here.width, 0.0)
    eta = xi * (1 - xi)
    denominator = here.mean_slope + here.excess * eta
    z = here.z + here.height * (here.mean_slope * xi.square() + here.slope * eta) / denominator
    return torch.where(inside, z, x), torch.where(inside, _log_slope(xi, here), 0.0)


def inverse_spline(z: Float[Tensor, "*batch"], knots: Knots) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Evaluate the inverse of :func:`spline` and the logarithm of its slope: the root of a quadratic equation."""
    inside, here = _bin(z, knots.z, knots)
    rise = torch.where(inside, z - here.z, 0.0)
    a = here.height * (here.mean_slope - here.slope) + rise * here.excess
    b = here.height * here.slope - rise * here.excess
    c = -here.mean_slope * rise
    # Of the two forms of the root, the one that does not subtract nearly equal numbers.
    xi = -2 * c / (b + (b.square() - 4 * a * c).sqrt())
    x = here.x + xi * here.width
    return torch.where(inside, x, z), torch.where(inside, -_log_slope(xi, here), 0.0)


class _Bin(NamedTuple):
    """The piece of a spline that a point lies on."""

    x: Tensor
    z: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    end_slope: Tensor
    mean_slope: Tensor
    excess: Tensor


def _bin(value: Tensor, edges: Tensor, knots: Knots) -> tuple[Tensor, _Bin]:
    """Find the piece on whose ``edges`` each value lies, and whether there is one; if not, any piece."""
    passed = (edges <= value.unsqueeze(-1)).sum(-1, keepdim=True)
    inside = ((passed > 0) & (passed < edges.shape[-1])).squeeze(-1)
    left = (passed - 1).clamp(0, edges.shape[-1] - 2)
    (x, end_x), (z, end_z), (slope, end_slope) = (
        (part.gather(-1, left).squeeze(-1), part.gather(-1, left + 1).squeeze(-1)) for part in knots
    )
    width, height = end_x - x, end_z - z
    mean_slope = height / width
    return inside, _Bin(x, z, width, height, slope, end_slope, mean_slope, slope + end_slope - 2 * mean_slope)


def _log_slope(xi: Tensor, here: _Bin) -> Tensor:
    eta = xi * (1 - xi)
    numerator = 2 * here.mean_slope * eta + here.slope * (1 - xi).square() + here.end_slope * xi.square()
    return 2 * (here.mean_slope / (here.mean_slope + here.excess * eta)).log() + numerator.log()


def _excess_of_softmax(raw: Float[Tensor, "*batch bins"]) -> Float[Tensor, "*batch bins"]:
    """Return twice what softmax is above 1 / bins, to full relative accuracy: the noise of knots limits an inverse."""
    rise = raw.expm1()
    return 2 * (rise - rise.mean(-1, keepdim=True)) / (raw.shape[-1] + rise.sum(-1, keepdim=True))


def _partial_sums(parts: Float[Tensor, "*batch bins"]) -> Float[Tensor, "*batch knots"]:
    return nn.functional.pad(parts[..., :-1].cumsum(-1), (1, 1))
