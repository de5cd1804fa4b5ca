r"""Curves of least discrete energy between fixed ends, many at a time.

A curve of N chords :math:`d_i = c_{i+1} - c_i` with midpoints :math:`m_i` has the energy
:math:`E = N \sum_i F^2(m_i, d_i)`. It is minimised over the interior nodes by Newton's method with
Levenberg-Marquardt damping, per curve; the Hessian is block tridiagonal. A Hessian costs more than n gradients, so each
serves for as many further steps as pay (V. E. Shamanskii, *Ukr. Math. J.* 19, 1967, 118-122), which only raises the
order of convergence above Newton's two. The search begins on a grid four times as coarse.
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


def chords(curve: Float[Tensor, "*batch N+1 n"]) -> tuple[Float[Tensor, "*batch N n"], Float[Tensor, "*batch N n"]]:
    """Return midpoints and chords."""
    start, end = curve[..., :-1, :], curve[..., 1:, :]
    return (start + end) / 2, end - start


def resample(curve: Float[Tensor, "*batch N+1 n"], count: int) -> Float[Tensor, "*batch count+1 n"]:
    """Return the same curve with another number of chords, by cubics through the four nearest nodes."""
    nodes = curve.shape[-2]
    order = min(4, nodes)
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
    c, pull = torch.func.vjp(finsler.coefficients, middle)  # type: ignore[misc]  # three only with has_aux=True
    by_middle: Tensor = pull(finsler.square_by_coefficients(c, chord))[0]
    return c, by_middle, 2 * finsler.momentum(c, chord)


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


class _Blocks(NamedTuple):
    """Hessian of the energy of each chord in its own two ends, and the part of it that is always positive."""

    start: Float[Tensor, "*batch N n n"]
    end: Float[Tensor, "*batch N n n"]
    across: Float[Tensor, "*batch N n n"]
    positive: Float[Tensor, "*batch N n n"]

    def interior(self) -> tuple[Tensor, Tensor]:
        """Return blocks on and above the diagonal for the interior nodes."""
        return self.end[..., :-1, :, :] + self.start[..., 1:, :, :], self.across[..., 1:-1, :, :]

    def factor(self, damping: Float[Tensor, "*batch"]) -> BlockCholesky:
        """Factorise for the interior nodes, with ``damping`` times the positive part added."""
        diagonal, above = self.interior()
        positive = self.positive[..., :-1, :, :] + self.positive[..., 1:, :, :]
        return block_cholesky(diagonal + damping[..., None, None, None] * positive, above)


def hessian_at_start(finsler: Finsler, curve: Float[Tensor, "*batch N+1 n"]) -> Float[Tensor, "*batch n n"]:
    """Second derivatives, in the first node, of the energy minimised over the interior: those of a squared distance.

    A Cholesky factorisation that runs from the end of the curve to its start eliminates the interior.
    """
    blocks = hessian(finsler, curve)
    diagonal, above = blocks.interior()
    pivot = block_cholesky(diagonal.flip(-3), above.mT.flip(-3)).diagonal[-1]
    w: Tensor = torch.linalg.solve_triangular(pivot, blocks.across[..., 0, :, :].mT, upper=False)
    return blocks.start[..., 0, :, :] - w.mT @ w


def hessian(finsler: Finsler, curve: Float[Tensor, "*batch N+1 n"]) -> _Blocks:
    """Return the Hessian of the energy, in blocks."""
    middle, chord = chords(curve)
    count, n = chord.shape[-2:]
    size = max(1, _ROWS // n)
    pieces = zip(*(torch.split(t.reshape(-1, n), size) for t in (middle, chord)), strict=True)
    parts = zip(*[_second_slopes(finsler, *piece) for piece in pieces], strict=True)
    in_middle, mixed, in_chord = (count * torch.cat(part).reshape(*chord.shape, n) for part in parts)
    in_middle, both, skew = in_middle / 4, (mixed + mixed.mT) / 2, (mixed - mixed.mT) / 2
    return _Blocks(in_middle - both + in_chord, in_middle + both + in_chord, in_middle + skew - in_chord, in_chord)


def _second_slopes(finsler: Finsler, middle: Tensor, chord: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Second derivatives of F squared: in the midpoint, mixed (rows midpoint, columns chord), and in the chord."""
    n = chord.shape[-1]
    basis = torch.eye(n, dtype=chord.dtype, device=chord.device).expand(*chord.shape, n)
    many = rows(chord, basis)
    _, (twice_middle, mixed) = value_and_derivative(lambda y: slopes(finsler, y, many)[1:], rows(middle, basis), basis)
    return twice_middle, mixed, finsler.fibre_hessian(finsler.coefficients(middle), chord)


@torch.no_grad()
def minimise(
    finsler: Finsler, curve: Float[Tensor, "P N+1 n"], iterations: int, tolerance: float
) -> tuple[Float[Tensor, "P N+1 n"], Bool[Tensor, " P"]]:
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

    Returns
    -------
    tuple of Tensor
        The curves, and for each whether it rests on a minimum.
    """
    energy, gradient = energy_and_gradient(finsler, curve)
    damping = torch.zeros_like(energy)
    converged = torch.zeros_like(energy, dtype=torch.bool)
    for _ in range(iterations):
        active = (~converged).nonzero().squeeze(-1)
        if not len(active):
            break
        search = _Search(finsler, curve[active], energy[active], gradient[active])
        blocks = hessian(finsler, search.curve)
        damped, moved = damping[active], torch.zeros_like(converged[active])
        rest = moved
        for _ in range(_ATTEMPTS):
            downhill, still = search.descend(blocks.factor(damped), ~moved, tolerance)
            rest, moved = rest | (still & (damped == 0)), moved | downhill
            stuck = ~moved & ~rest
            damped = torch.where(stuck, (8 * damped).clamp(min=1e-2), damped)
            if not bool(stuck.any()):
                break
        curve, energy, gradient = (
            whole.index_copy(0, active, part)
            for whole, part in ((curve, search.curve), (energy, search.energy), (gradient, search.gradient))
        )
        # Without damping Newton's last steps square the error; so a success soon sets it back to zero.
        calmer = torch.where(damped <= 1e-2, torch.zeros_like(damped), damped / 8)
        damping = damping.index_copy(0, active, torch.where(moved, calmer, damped))
        converged = converged.index_copy(0, active, rest)
    return curve, converged


class _Search:
    """Curves on their way down, with energy and gradient."""

    def __init__(self, finsler: Finsler, curve: Tensor, energy: Tensor, gradient: Tensor) -> None:
        self.finsler, self.curve, self.energy, self.gradient = finsler, curve, energy, gradient

    def descend(self, hessian: BlockCholesky, which: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Take steps with one Hessian for some curves; return which of all have moved, and which are at rest."""
        slack = 4 * torch.finfo(self.energy.dtype).eps
        moved = torch.zeros_like(hessian.positive)
        going, last = which & hessian.positive, torch.full_like(self.energy, torch.inf)
        while True:
            step = hessian.solve(self.gradient)
            # Twice the decrease that the quadratic model promises.
            promise = (self.gradient * step).sum(dim=(-2, -1))
            rest = which & hessian.positive & (promise <= tolerance * self.energy)
            # A step has paid if it left a quarter of the error at most. Rest is judged by the energy, which knows half
            # the digits of the nodes; the gradient knows them all, so the steps go on below.
            going = going & (promise > tolerance**2 * self.energy) & (promise <= last / 16)
            if not bool(going.any()):
                return moved, rest
            interior = self.curve[:, 1:-1] - torch.where(going[:, None, None], step, torch.zeros_like(step))
            trial = torch.cat((self.curve[:, :1], interior, self.curve[:, -1:]), 1)
            energy, gradient = energy_and_gradient(self.finsler, trial)
            going, last = going & (energy <= self.energy * (1 + slack)), promise
            self.curve = torch.where(going[:, None, None], trial, self.curve)
            self.gradient = torch.where(going[:, None, None], gradient, self.gradient)
            self.energy = torch.where(going, energy, self.energy)
            moved = moved | going


@torch.no_grad()
def good_start(finsler: Finsler, curve: Float[Tensor, "P N+1 n"], iterations: int) -> Float[Tensor, "P N+1 n"]:
    """Replace each curve by the minimum near it on a grid four times as coarse, where that is found and lies lower."""
    count = curve.shape[-2] - 1
    if count < 16:
        return curve
    coarse = good_start(finsler, resample(curve, count // 4), iterations)
    coarse, converged = minimise(finsler, coarse, iterations, tolerance=1e-4)
    better = resample(coarse, count)
    lower = energy_and_gradient(finsler, better)[0] < energy_and_gradient(finsler, curve)[0]
    return torch.where((converged & lower)[:, None, None], better, curve)
