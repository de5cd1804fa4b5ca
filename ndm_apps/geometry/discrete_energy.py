r"""Curves of least discrete energy between fixed ends, many at a time.

A curve of N chords :math:`d_i = c_{i+1} - c_i` with midpoints :math:`m_i` has the energy
:math:`E = N \sum_i F^2(m_i, d_i)`. It is minimised over the interior nodes by Newton's method with
Levenberg-Marquardt damping, per curve; the Hessian is block tridiagonal. A Hessian costs more than n gradients, so each
serves for as many further steps as pay (V. E. Shamanskii, *Ukr. Math. J.* 19, 1967, 118-122), which only raises the
order of convergence above Newton's two. The search begins on a grid four times as coarse, and the Hessian found there,
interpolated, is the first on the finer one; often it is the last.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.block_tridiagonal import BlockCholesky, block_cholesky
from ndm_apps.geometry.finsler import Coefficients, Finsler
from ndm_apps.geometry.jets import rows, value_and_derivative

# Rows that the Hessian differentiates at once: more do not fit the cache, and those of long curves not the memory.
_ROWS = 8192
# Larger and larger dampings that are tried with one Hessian, 8 times as large each.
_ATTEMPTS = 6
# Hessians on a coarse grid: where they do not suffice, it is too coarse to help.
_COARSE = 12
# With as much a step changes nothing that can be measured.
_MOST_DAMPING = 1e9


def chords(curve: Float[Tensor, "*batch N+1 n"]) -> tuple[Float[Tensor, "*batch N n"], Float[Tensor, "*batch N n"]]:
    """Return midpoints and chords."""
    start, end = curve[..., :-1, :], curve[..., 1:, :]
    return (start + end) / 2, end - start


def resample(curve: Float[Tensor, "*batch N+1 n"], count: int) -> Float[Tensor, "*batch count+1 n"]:
    """Return the same curve with another number of chords, by polynomials through the six nearest nodes."""
    nodes = curve.shape[-2]
    order = min(6, nodes)
    place = torch.arange(count + 1, dtype=curve.dtype, device=curve.device) * (nodes - 1) / count
    first = (place.floor().long() - order // 2 + 1).clamp(0, nodes - order)
    weights = []
    for k in range(order):
        others = torch.tensor([j for j in range(order) if j != k], dtype=curve.dtype, device=curve.device)
        weights.append((((place - first).unsqueeze(-1) - others) / (k - others)).prod(-1))
    taken = torch.stack([curve[..., first + k, :] * w.unsqueeze(-1) for k, w in enumerate(weights)])
    return taken.sum(0)


def slopes(
    finsler: Finsler, middle: Float[Tensor, "*batch n"], chord: Float[Tensor, "*batch n"]
) -> tuple[Coefficients, Float[Tensor, "*batch n"], Float[Tensor, "*batch n"]]:
    """Return the coefficients, and the derivatives of F squared in the midpoint and in the chord."""
    c, pull = finsler.coefficients_and_pull(middle)
    return c, pull(finsler.square_by_coefficients(c, chord)), 2 * finsler.momentum(c, chord)


def energy_and_gradient(
    finsler: Finsler, curve: Float[Tensor, "*batch N+1 n"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch N-1 n"]]:
    """Return the energy, infinite for a curve that leaves the chart, and its gradient in the interior nodes."""
    middle, chord = chords(curve)
    count = chord.shape[-2]
    c, by_middle, by_chord = slopes(finsler, middle, chord)
    energy = count * finsler.square(c, chord).sum(-1)
    # Infinite, it loses every comparison.
    energy = torch.where(finsler.valid(c).all(-1) & torch.isfinite(energy), energy, torch.inf)
    start, end = by_middle / 2 - by_chord, by_middle / 2 + by_chord
    return energy, count * (end[..., :-1, :] + start[..., 1:, :])


class Hessian(NamedTuple):
    r"""Second derivatives of F squared along a curve, as functions of time: the velocity N d replaces the chord d.

    They depend on the number N of chords by their error alone, so that those of one grid do for another.
    """

    in_middle: Float[Tensor, "*batch N n n"]
    mixed: Float[Tensor, "*batch N n n"]
    in_chord: Float[Tensor, "*batch N n n"]

    def ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Hessian of the energy of each chord: twice in its start, twice in its end, and rows start, columns end."""
        count = self.mixed.shape[-3]
        middle, chord = self.in_middle / (4 * count), self.in_chord * count
        both, skew = (self.mixed + self.mixed.mT) / 2, (self.mixed - self.mixed.mT) / 2
        return middle - both + chord, middle + both + chord, middle + skew - chord

    def factor(self, damping: Float[Tensor, "*batch"]) -> BlockCholesky:
        """Factorise for the interior nodes, with ``damping`` times the always positive part added."""
        start, end, across = self.ends()
        positive = self.mixed.shape[-3] * (self.in_chord[..., :-1, :, :] + self.in_chord[..., 1:, :, :])
        diagonal = end[..., :-1, :, :] + start[..., 1:, :, :] + damping[..., None, None, None] * positive
        return block_cholesky(diagonal, across[..., 1:-1, :, :])

    def resample(self, count: int) -> "Hessian":
        """Return the same for another number of chords, by linear interpolation between midpoints."""
        finer = [torch.nn.functional.interpolate(part.flatten(-2).mT, count, mode="linear").mT for part in self]
        return Hessian(*(torch.unflatten(part, -1, self.mixed.shape[-2:]) for part in finer))


def hessian_at_start(finsler: Finsler, curve: Float[Tensor, "*batch N+1 n"]) -> Float[Tensor, "*batch n n"]:
    """Second derivatives, in the first node, of the energy minimised over the interior: those of a squared distance.

    A Cholesky factorisation that runs from the end of the curve to its start eliminates the interior.
    """
    start, end, across = hessian(finsler, curve).ends()
    diagonal = end[..., :-1, :, :] + start[..., 1:, :, :]
    pivot = block_cholesky(diagonal.flip(-3), across[..., 1:-1, :, :].mT.flip(-3)).diagonal[-1]
    w: Tensor = torch.linalg.solve_triangular(pivot, across[..., 0, :, :].mT, upper=False)
    return start[..., 0, :, :] - w.mT @ w


def hessian(finsler: Finsler, curve: Float[Tensor, "*batch N+1 n"]) -> Hessian:
    """Return the second derivatives along a curve."""
    shape = (*curve.shape[:-2], curve.shape[-2] - 1, curve.shape[-1])
    middle, chord = chords(curve.reshape(-1, *curve.shape[-2:]))
    count, n = shape[-2:]
    # Whole curves, since each may have its own metric; of long ones some chords.
    size = max(1, _ROWS // n)
    parts = []
    for curves in torch.split(torch.arange(len(middle), device=middle.device), max(1, size // count)):
        some, pieces = finsler.part(curves), (t[curves].split(size, 1) for t in (middle, count * chord))
        along = zip(*[_second_slopes(some, *piece) for piece in zip(*pieces, strict=True)], strict=True)
        parts.append([torch.cat(part, 1) for part in along])
    return Hessian(*(torch.cat(part).reshape(*shape, n) for part in zip(*parts, strict=True)))


def _second_slopes(finsler: Finsler, middle: Tensor, chord: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Second derivatives of F squared: in the midpoint, mixed (rows midpoint, columns chord), and in the chord."""
    n = chord.shape[-1]
    basis = torch.eye(n, dtype=chord.dtype, device=chord.device).expand(*chord.shape, n)
    many = rows(chord, basis)
    _, (twice_middle, mixed) = value_and_derivative(lambda y: slopes(finsler, y, many)[1:], rows(middle, basis), basis)
    return twice_middle, mixed, finsler.fibre_hessian(finsler.coefficients(middle), chord)


@torch.no_grad()
def minimise(
    finsler: Finsler, curve: Float[Tensor, "P N+1 n"], iterations: int, tolerance: float, guess: Hessian | None = None
) -> tuple[Float[Tensor, "P N+1 n"], Bool[Tensor, " P"], Hessian]:
    """Lower the energy of each curve with its ends fixed until what is left to gain is ``tolerance`` times the energy.

    Parameters
    ----------
    finsler : Finsler
        The norm.
    curve : Tensor
        Curves to start from.
    iterations : int
        Most Hessians for each curve.
    tolerance : float
        Relative to the energy.
    guess : Hessian, optional
        To begin with, that of a minimum on another grid; where it leads to rest no other is computed.

    Returns
    -------
    tuple
        The curves, for each whether it rests on a minimum, and the last Hessians.
    """
    energy, gradient = energy_and_gradient(finsler, curve)
    damping = torch.zeros_like(energy)
    converged = given_up = torch.zeros_like(energy, dtype=torch.bool)
    known = hessian(finsler, curve) if guess is None else guess
    for turn in range(iterations + (guess is not None)):
        active = (~converged & ~given_up).nonzero().squeeze(-1)
        if not len(active):
            break
        search = _Search(finsler.part(active), curve[active], energy[active], gradient[active])
        if turn:
            seen = hessian(search.finsler, search.curve)
            known = Hessian(*(whole.index_copy(0, active, part) for whole, part in zip(known, seen, strict=True)))
        else:
            seen = known
        attempts = 1 if guess is not None and not turn else _ATTEMPTS
        damped, rest, lost = search.descend(seen, damping[active], tolerance, attempts)
        curve, energy, gradient, damping, converged, given_up = (
            whole.index_copy(0, active, part)
            for whole, part in (
                (curve, search.curve),
                (energy, search.energy),
                (gradient, search.gradient),
                (damping, damped),
                (converged, rest),
                (given_up, lost),
            )
        )
    return curve, converged, known


class _Search:
    """Curves on their way down, with energy and gradient."""

    def __init__(self, finsler: Finsler, curve: Tensor, energy: Tensor, gradient: Tensor) -> None:
        self.finsler, self.curve, self.energy, self.gradient = finsler, curve, energy, gradient

    def descend(
        self, known: Hessian, damping: Tensor, tolerance: float, attempts: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Take steps with one Hessian, damped as it needs.

        Return the next damping, which curves rest on a minimum, and which on something else or cannot move.
        """
        moved = rest = saddle = torch.zeros_like(damping, dtype=torch.bool)
        for _ in range(attempts):
            downhill, still = self._steps(known.factor(damping), ~moved, tolerance)
            moved, rest, saddle = moved | downhill, rest | (still & (damping == 0)), saddle | (still & (damping > 0))
            stuck = ~moved & ~rest & ~saddle
            if not bool(stuck.any()):
                break
            damping = torch.where(stuck, (8 * damping).clamp(min=1e-2), damping)
        # Without damping Newton's last steps square the error; so a success soon sets it back to zero.
        calmer = torch.where(damping <= 1e-2, torch.zeros_like(damping), damping / 8)
        return torch.where(moved, calmer, damping), rest, ~moved & (saddle | (damping > _MOST_DAMPING))

    def _steps(self, factor: BlockCholesky, which: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Take as many steps as pay; return which curves have moved, and which of ``which`` are at rest."""
        eps = torch.finfo(self.energy.dtype).eps
        # The gradient knows the nodes to their last digits, of which the energy knows half: steps go on below the
        # tolerance, almost to the rounding of the gradient.
        floor = max(tolerance**2, eps**1.5)
        moved = torch.zeros_like(which)
        going, last = which & factor.positive, torch.full_like(self.energy, torch.inf)
        while True:
            step = factor.solve(self.gradient)
            # Twice the decrease that the quadratic model promises.
            promise = (self.gradient * step).sum(dim=(-2, -1))
            rest = which & factor.positive & (promise <= _rounding(self.curve).clamp(min=tolerance) * self.energy)
            # A step has paid if it left a quarter of the error at most.
            going = going & (promise > floor * self.energy) & (promise <= last / 16)
            if not bool(going.any()):
                return moved, rest
            interior = self.curve[:, 1:-1] - torch.where(going[:, None, None], step, torch.zeros_like(step))
            trial = torch.cat((self.curve[:, :1], interior, self.curve[:, -1:]), 1)
            energy, gradient = energy_and_gradient(self.finsler, trial)
            going, last = going & (energy <= self.energy * (1 + 16 * eps)), promise
            self.curve = torch.where(going[:, None, None], trial, self.curve)
            self.gradient = torch.where(going[:, None, None], gradient, self.gradient)
            self.energy = torch.where(going, energy, self.energy)
            moved = moved | going


def _rounding(curve: Float[Tensor, "P N+1 n"]) -> Float[Tensor, " P"]:
    """Share of the energy that rounding the nodes may add, at most 1e-4: what is left to gain where ends are close."""
    chord = torch.linalg.vector_norm(chords(curve)[1], dim=-1)
    digit = 2 * torch.finfo(curve.dtype).eps * curve.abs().amax(dim=(-2, -1))
    share: Tensor = (digit / chord.mean(-1).clamp(min=torch.finfo(curve.dtype).tiny)).square().clamp(max=1e-4)
    return share


@torch.no_grad()
def good_start(
    finsler: Finsler, curve: Float[Tensor, "P N+1 n"], iterations: int
) -> tuple[Float[Tensor, "P N+1 n"], Hessian | None]:
    """Replace each curve by the minimum near it on a grid four times as coarse, where that is found and lies lower."""
    count = curve.shape[-2] - 1
    if count < 16:
        return curve, None
    coarse, guess = good_start(finsler, resample(curve, count // 4), iterations)
    coarse, converged, known = minimise(finsler, coarse, min(iterations, _COARSE), 1e-4, guess)
    better = resample(coarse, count)
    lower = energy_and_gradient(finsler, better)[0] < energy_and_gradient(finsler, curve)[0]
    return torch.where((converged & lower)[:, None, None], better, curve), known.resample(count)
