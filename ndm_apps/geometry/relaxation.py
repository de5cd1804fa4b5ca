r"""Curves of least discrete energy without second derivatives of the metric, many at a time.

Newton's method of :mod:`ndm_apps.geometry.discrete_energy` forms n columns of the Hessian at every chord. Here the
steps are those of L-BFGS in the :class:`Sobolev metric <ndm_apps.geometry.sobolev.Sobolev>` on the space of curves, one
gradient each, every curve with its own length of step. The search begins on grids up to four times as coarse.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.discrete_energy import chords, energy_and_gradient, resample
from ndm_apps.geometry.finsler import Finsler, root
from ndm_apps.geometry.metric import Metric
from ndm_apps.geometry.sobolev import Memory, Sobolev
from ndm_apps.geometry.structured import as_finsler

_POINTS = 1 << 12  # chords worked on at a time
_ARMIJO = 0.1  # least share of the descent that the slope promises
_LEAST_STEP = 1e-3  # below it the direction is given up
_MANY = 8  # curves that are done are taken out when they are one in so many
_COARSE, _COARSE_STEPS = 1e-3, 15  # what may be left of the energy on a coarse grid, which is in error by more


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
    r"""Find curves of least energy between pairs of points, from the straight lines, and say how much was gained.

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
    finsler = as_finsler(metric)
    time = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)[:, None]
    straight = x.detach()[:, None] * (1 - time) + y.detach()[:, None] * time
    curve, converged = relax(finsler, straight, iterations, tolerance)
    (length, energy), (straight_length, straight_energy) = (_extent(finsler, c) for c in (curve, straight))
    return Relaxed(curve, straight, length, straight_length, energy, straight_energy, converged)


@torch.no_grad()
def relax(
    finsler: Finsler, curve: Float[Tensor, "P N+1 n"], iterations: int, tolerance: float, coarse: bool = True
) -> tuple[Float[Tensor, "P N+1 n"], Bool[Tensor, " P"]]:
    r"""Lower the energy of each curve with its ends fixed, by gradients alone.

    A curve has converged where the derivative of its energy is small in the norm that :math:`H_0` gives covectors,
    :math:`\tfrac12 \, dE^\top H_0^{-1} dE \le \epsilon E`: where the energy would fall by no more than the share
    :math:`\epsilon` if the metric stayed as it is. That its curve is a minimum and no saddle is not known.

    Parameters
    ----------
    finsler
        The norm.
    curve
        Curves to start from.
    iterations
        Most gradients for each curve on the finest grid.
    tolerance
        The share :math:`\epsilon`.
    coarse
        Whether to begin on grids twice and four times as coarse. What the steps there have taught of the second
        derivatives is carried on to the next grid.

    Returns
    -------
    tuple
        The curves, and for each whether it has converged.
    """
    # As many at a time as the cache holds what the metric is made of.
    numbers = torch.split(torch.arange(len(curve), device=curve.device), max(1, _POINTS // (curve.shape[1] - 1)))
    starts = (_start(finsler.part(some), curve[some], coarse) for some in numbers)
    found = zip(*(_relax(start, iterations, tolerance) for start in starts), strict=True)
    points, converged = (torch.cat(column) for column in found)
    return points, converged


def _start(finsler: Finsler, curve: Tensor, coarse: bool) -> "_Descent":
    """Go down on coarse grids first."""
    count = curve.shape[1] - 1
    if not coarse or count < 16:
        return _Descent(finsler, curve)
    before = _start(finsler, resample(curve, count // 2), coarse)
    for _ in range(_COARSE_STEPS):
        if bool((before.promise <= _COARSE * before.energy).all()):
            break
        before.step()
    better = resample(before.curve, count)
    # The interpolated curve may leave the chart.
    good = torch.isfinite(energy_and_gradient(finsler, better)[0])
    return _Descent(finsler, torch.where(good[:, None, None], better, curve), before.memory)


def _relax(descent: "_Descent", iterations: int, tolerance: float) -> tuple[Tensor, Tensor]:
    found, converged = descent.curve.clone(), torch.zeros_like(descent.lost)
    going = torch.arange(len(found), device=found.device)
    for turn in range(iterations + 1):
        rest = descent.promise <= tolerance * descent.energy
        over = rest | descent.lost
        # Curves that are done stay until they are many: taking them out copies all others.
        if turn == iterations or _MANY * int(over.sum()) >= len(going):
            found[going], converged[going] = descent.curve, rest
            going = going[~over]
            if not len(going):
                break
            descent.keep(~over)
        descent.step()
    return found, converged


class _Descent:
    """Curves on their way down by L-BFGS, each with its own length of step.

    ``promise`` is what the energy would lose if the metric stayed as it is.
    """

    def __init__(self, finsler: Finsler, curve: Tensor, memory: Memory | None = None) -> None:
        self.finsler, self.curve, self.grid = finsler, curve, Sobolev.along(finsler, curve)
        self.energy, gradient = energy_and_gradient(finsler, curve)
        self.gradient = self.grid.coordinates(gradient)
        self.promise = _product(self.gradient, self.gradient) / 2
        # A first step that promises more than all of the energy is too long.
        most = (self.energy / (2 * self.promise.clamp(min=torch.finfo(curve.dtype).tiny))).clamp(max=1)
        self.memory = Memory(self.gradient, most) if memory is None else memory.on(self.gradient)
        self.size, self.lost = torch.ones_like(self.energy), torch.zeros_like(self.energy, dtype=torch.bool)
        self.plain = torch.zeros_like(self.lost)  # whether the direction is that of the gradient alone
        self._turn()

    def keep(self, which: Tensor) -> None:
        """Go on with some of the curves."""
        for name in ("curve", "energy", "gradient", "promise", "size", "lost", "plain", "direction", "fall"):
            setattr(self, name, getattr(self, name)[which])
        self.finsler, self.grid = self.finsler.part(which), self.grid.part(which)
        self.memory.keep(which)

    def step(self) -> None:
        """Try one step of each curve; where the energy does not fall enough, the next one is shorter."""
        step = -self.size[:, None, None] * self.direction
        curve = self.curve + torch.nn.functional.pad(self.grid.displacement(step), (0, 0, 1, 1))
        energy, gradient = energy_and_gradient(self.finsler, curve)
        gradient = self.grid.coordinates(gradient)
        rounding = 16 * torch.finfo(energy.dtype).eps
        better = energy <= (1 + rounding) * self.energy - _ARMIJO * self.size * self.fall
        if bool(better.all()):
            self.size, self.plain = torch.ones_like(self.size), torch.zeros_like(self.plain)
        else:
            here = better[:, None, None]
            curve, gradient = torch.where(here, curve, self.curve), torch.where(here, gradient, self.gradient)
            energy = torch.where(better, energy, self.energy)
            # Where steps have become too short, the gradient's own direction is tried before the curve is given up.
            self.size = torch.where(better, 1, self.size / 2)
            short = self.size < _LEAST_STEP
            self.lost, self.plain = self.lost | (short & self.plain), (self.plain & ~better) | short
            self.size = torch.where(short, 1, self.size)
        self.curve, self.energy, self.gradient = curve, energy, gradient
        self.promise = _product(gradient, gradient) / 2
        self.memory.learn(step, gradient)
        self._turn()

    def _turn(self) -> None:
        """Turn to the direction of L-BFGS, or the gradient's where that one leads uphill or has been given up."""
        turned = self.memory.direction(self.gradient)
        fall, scale = _product(turned, self.gradient), self.memory.scale
        plain = self.plain | (fall <= 0)
        self.direction = torch.where(plain[:, None, None], scale[:, None, None] * self.gradient, turned)
        self.fall = torch.where(plain, 2 * scale * self.promise, fall)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1))


def _extent(finsler: Finsler, curve: Tensor) -> tuple[Tensor, Tensor]:
    """Length and energy."""
    with torch.no_grad():
        middle, chord = chords(curve)
        squares = finsler.square(finsler.coefficients(middle), chord)
        return root(squares).sum(-1), chord.shape[-2] * squares.sum(-1)
