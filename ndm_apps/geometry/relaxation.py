r"""Geodesics in many dimensions, without second derivatives of the metric.

Newton's method of :func:`~ndm_apps.geometry.geodesic.geodesic` forms n columns of the Hessian at every chord. Where the
metric changes slowly along the curve, the Hessian is close to that of a constant metric, which is known in closed form,

.. math:: H \approx 2 N\, T \otimes \bar g, \qquad T = \mathrm{tridiag}(-1, 2, -1),

with :math:`\bar g` the mean of g along the straight line. Conjugate gradients with that as the metric on the space of
curves take one gradient and one solve a step: linear instead of quadratic convergence, at a small fraction of the price
where n is large.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.metric import Metric

_NUMBERS = 1 << 25  # entries of the metric held at a time
_ARMIJO = 0.1  # least share of the descent that the slope promises
_LEAST_STEP = 1e-4  # below it, rounding decides whether the energy falls


@dataclass(frozen=True)
class Relaxed:
    """Curves of least discrete energy between pairs of points, and the straight lines they started from.

    Attributes
    ----------
    points, straight
        Nodes at equal times, (pairs, points, n).
    length, straight_length
        Length of the curves, (pairs,).
    energy, straight_energy
        Integral of the squared speed over unit time, (pairs,).
    converged
        Whether no further step would lower the energy by more than the tolerance, (pairs,).
    """

    points: Float[Tensor, "pairs points n"]
    straight: Float[Tensor, "pairs points n"]
    length: Float[Tensor, " pairs"]
    straight_length: Float[Tensor, " pairs"]
    energy: Float[Tensor, " pairs"]
    straight_energy: Float[Tensor, " pairs"]
    converged: Bool[Tensor, " pairs"]


def relaxed_geodesic(
    metric: Metric,
    x: Float[Tensor, "pairs n"],
    y: Float[Tensor, "pairs n"],
    *,
    points: int = 9,
    iterations: int = 400,
    tolerance: float = 1e-6,
) -> Relaxed:
    r"""Find curves of least energy between pairs of points, from the straight lines.

    Parameters
    ----------
    metric
        (..., n) -> (..., n, n).
    x, y
        End points, (pairs, n).
    points
        Nodes of the curves, at least 3; the error of lengths falls like the square of their number.
    iterations
        Most steps.
    tolerance
        Fraction of its energy that a curve may still hope to lose when it has converged.

    References
    ----------
    Neuberger, "Sobolev Gradients and Differential Equations", 2nd edition, 2010.

    Examples
    --------
    >>> from ndm_apps.geometry import Sphere
    >>> x, y = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()  # a quarter of the equator
    >>> found = relaxed_geodesic(Sphere(2), x, y, points=65)
    >>> bool(found.converged), (found.length / torch.pi).round(decimals=3).item()
    (True, 0.5)
    """
    if points < 3 or iterations < 1:
        raise ValueError(f"points must be at least 3 and iterations at least 1, got {points} and {iterations}")
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"x and y must have one shape (pairs, n), got {tuple(x.shape)} and {tuple(y.shape)}")
    pairs = max(1, _NUMBERS // (points * x.shape[1] ** 2))
    parts = [
        _relax(metric, a, b, points, iterations, tolerance)
        for a, b in zip(torch.split(x.detach(), pairs), torch.split(y.detach(), pairs), strict=True)
    ]
    return Relaxed(*(torch.cat(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))


class _State(NamedTuple):
    """Of each curve: energy, length, gradient by its inner nodes, and the gradient raised by the metric of curves."""

    energy: Tensor
    length: Tensor
    gradient: Tensor
    raised: Tensor

    @property
    def promise(self) -> Tensor:
        """What the energy would lose if the metric of curves were its Hessian."""
        return (self.gradient * self.raised).sum((-2, -1)) / 2


def _relax(metric: Metric, x: Tensor, y: Tensor, points: int, iterations: int, tolerance: float) -> Relaxed:
    time = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)[:, None]
    straight = x[:, None] * (1 - time) + y[:, None] * time
    curve, size = straight.clone(), torch.ones_like(x[:, 0])
    with torch.no_grad():
        mean = torch.linalg.cholesky(metric((straight[:, 1:] + straight[:, :-1]) / 2).mean(1))
    inverse = _inverse_laplacian(points - 1).to(x)
    start = _state(metric, curve, inverse, mean)
    now = _State(*(part.clone() for part in start))
    direction = now.raised.clone()
    for _ in range(iterations):
        moving = ((now.promise > tolerance * now.energy) & (size > _LEAST_STEP)).nonzero().squeeze(-1)
        if not len(moving):
            break
        old = _State(*(part[moving] for part in now))
        trial = curve[moving]
        trial[:, 1:-1] -= size[moving, None, None] * direction[moving]
        new = _state(metric, trial, inverse, mean[moving])
        slope = (old.gradient * direction[moving]).sum((-2, -1))
        better = new.energy <= old.energy - _ARMIJO * size[moving] * slope
        # Polak and Ribiere's direction, or the gradient's after a step that failed or would lead uphill.
        turn = (new.gradient * (new.raised - old.raised)).sum((-2, -1)) / (2 * old.promise)
        conjugate = new.raised + turn.clamp(min=0)[:, None, None] * direction[moving]
        downhill = (new.gradient * conjugate).sum((-2, -1)) > 0
        size[moving] *= torch.where(better, 1.5, 0.5).to(size)
        direction[moving] = torch.where(
            better[:, None, None], torch.where(downhill[:, None, None], conjugate, new.raised), old.raised
        )
        curve[moving[better]] = trial[better]
        for kept, found in zip(now, new, strict=True):
            kept[moving[better]] = found[better]
    converged = now.promise <= tolerance * now.energy
    return Relaxed(curve, straight, now.length, start.length, now.energy, start.energy, converged)


def _state(metric: Metric, curve: Tensor, inverse: Tensor, mean: Tensor) -> _State:
    chords = curve.shape[1] - 1
    with torch.enable_grad():
        curve = curve.detach().requires_grad_()
        middle, chord = (curve[:, 1:] + curve[:, :-1]) / 2, curve.diff(dim=1)
        g = metric(middle)
        squares = ((g @ chord[..., None])[..., 0] * chord).sum(-1)
        energy = chords * squares.sum(-1)
        (gradient,) = torch.autograd.grad(energy.sum(), curve)
    inner = gradient[:, 1:-1]
    raised = torch.cholesky_solve((inverse @ inner).mT, mean).mT
    length = squares.detach().clamp(min=0).sqrt().sum(-1)
    return _State(energy.detach(), length, inner, raised)


def _inverse_laplacian(chords: int) -> Tensor:
    """Return the inverse of 2 N tridiag(-1, 2, -1), in closed form."""
    node = torch.arange(1, chords, dtype=torch.float64)
    low, high = torch.minimum(node[:, None], node), torch.maximum(node[:, None], node)
    return low * (chords - high) / (2 * chords**2)
