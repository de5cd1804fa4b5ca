"""Learns a Lagrangian in a dictionary: one generalised eigenproblem for each of a few dictionaries, simplest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ndm_apps.geometry.dictionary import polynomials
from ndm_apps.plugins.physics.kinetic.eigen import least_ratios
from ndm_apps.plugins.physics.kinetic.functions import has_distance, potential_functions
from ndm_apps.plugins.physics.kinetic.lagrangian import ExpandedMetric, ExpandedPotential, Lagrangian
from ndm_apps.plugins.physics.kinetic.motion import Motion, Windows, windows
from ndm_apps.plugins.physics.kinetic.weak import Ansatz, momentum_matrix, noise_gram, pairs, residual_matrix


class Tier(NamedTuple):
    """A dictionary: degrees of the polynomials of metric and potential, and functions of distance in the potential."""

    metric: int
    potential: int
    radial: bool = False


#: In the order they are tried.
TIERS = (Tier(0, 2), Tier(0, 4), Tier(0, 2, radial=True), Tier(2, 2), Tier(2, 4), Tier(4, 4))
#: A dictionary is as good as the best one if its squared residual on held-out motions is within this factor, ...
AS_GOOD_NOISY = 1.1
#: ... and at no noise, where errors of integration remain, within this one.
AS_GOOD_EXACT = 1e4
#: Squared residuals of this size, in units of the noise, belong to Lagrangians.
SOLVES_NOISY = 1.6
#: Residuals (not squared), in units of the momenta, that belong to Lagrangians at no noise.
SOLVES_EXACT = 3e-3
#: Coordinates whose velocities are within this factor of each other are in the same units.
SAME_UNITS = 3.0
#: So many windows tell what noise does to the residuals.
_NOISE_WINDOWS = 150


@final
@dataclass(frozen=True, eq=False)
class Expansion:
    """A Lagrangian found in a dictionary.

    Attributes
    ----------
    lagrangian
        The metric and the potential.
    tier
        The dictionary it was found in.
    residual
        Weak residual on held-out motions: root mean square, in units of the noise if there is any (1 is as good as can
        be), else of the momenta.
    noisy
        Which of the two.
    spectrum
        Least residuals on the motions that were fitted, in the same units.
    many
        How many Lagrangians solve the equations, independent of each other; more than one where each part of a system
        may be weighted on its own.
    """

    lagrangian: Lagrangian
    tier: Tier
    residual: float
    noisy: bool
    spectrum: Tensor
    many: int

    @property
    def solves(self) -> bool:
        """Whether the motions have a Lagrangian of this form."""
        return self.residual**2 < SOLVES_NOISY if self.noisy else self.residual < SOLVES_EXACT


def fit_expansion(
    fitting: Motion, judging: Motion, noise: tuple[Tensor, Tensor] | None, samples: int, stride: int
) -> Expansion:
    """Learn a Lagrangian in the simplest dictionary that explains held-out motions as well as the largest one does.

    Parameters
    ----------
    fitting, judging
        Motions that are fitted, and motions that choose the dictionary.
    noise
        Standard deviations of errors of positions and velocities; None if there are none.
    samples, stride
        Length of a window and distance of the next one.

    Raises
    ------
    ValueError
        No trajectory is as long as a window, or there are too few.
    """
    train, test = windows(fitting, samples, stride), windows(judging, samples, stride)
    q, v = fitting.samples()
    scale = v.std(0, correction=0)
    tried = []
    for tier in TIERS:
        if tier.radial and not has_distance(q, fitting.angles, None if noise is None else noise[0]):
            continue
        ansatz = _ansatz(q, tier, fitting.angles)
        if len(train) * fitting.n <= 2 * _unknowns(ansatz, q):
            continue
        matrix, gram = _problem(ansatz, train, scale, noise)
        found = least_ratios(matrix, gram)
        held_out, held_gram = _problem(ansatz, test, scale, noise)
        first = found.vectors[:, 0]
        residual = float(torch.linalg.vector_norm(held_out @ first) / (first @ held_gram @ first).sqrt())
        tried.append((tier, ansatz, found, residual, gram))
    if not tried:
        raise ValueError(f"there are {len(train)} windows of {samples} samples: too few to learn a metric from")
    best = min(residual for *_, residual, _ in tried)
    slack = AS_GOOD_EXACT**0.5 if noise is None else AS_GOOD_NOISY**0.5
    tier, ansatz, found, residual, _ = next(one for one in tried if one[3] <= slack * best)
    limit = SOLVES_EXACT if noise is None else SOLVES_NOISY**0.5
    many = max(1, int((found.ratios < limit).sum()))
    lagrangian = _lagrangian(ansatz, found.vectors[:, :many], q, v)
    return Expansion(lagrangian, tier, residual, noise is not None, found.ratios, many)


def refit(found: Expansion, part: Motion, noise: tuple[Tensor, Tensor] | None, samples: int, stride: int) -> Lagrangian:
    """Learn a Lagrangian again from other motions, in the dictionary that was found."""
    q, v = part.samples()
    ansatz = _ansatz(q, found.tier, part.angles)
    vectors = least_ratios(*_problem(ansatz, windows(part, samples, stride), v.std(0, correction=0), noise)).vectors
    return _lagrangian(ansatz, vectors[:, : found.many], q, v)


def _ansatz(q: Tensor, tier: Tier, angles: tuple[int, ...]) -> Ansatz:
    return Ansatz(polynomials(q, tier.metric, angles), potential_functions(q, tier.potential, tier.radial, angles))


def _problem(
    ansatz: Ansatz, part: Windows, scale: Tensor, noise: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    if noise is None:
        momenta = momentum_matrix(ansatz, part, scale)
        return residual_matrix(ansatz, part, scale), momenta.mT @ momenta
    some = part.take(torch.linspace(0, len(part) - 1, min(len(part), _NOISE_WINDOWS)).long())
    return residual_matrix(ansatz, part, scale, noise), noise_gram(ansatz, some, scale, noise)


def _unknowns(ansatz: Ansatz, q: Tensor) -> int:
    n = q.shape[-1]
    return ansatz.metric(q[:1]).shape[-1] * n * (n + 1) // 2 + ansatz.potential(q[:1]).shape[-1]


def _lagrangian(ansatz: Ansatz, vectors: Tensor, q: Tensor, v: Tensor) -> Lagrangian:
    """Choose among Lagrangians the one whose metric is nearest to a multiple of the identity."""
    n, m = q.shape[-1], ansatz.metric(q[:1]).shape[-1]
    i, j = pairs(n)
    table = vectors.new_zeros(vectors.shape[1], n, n, m)
    table[:, i, j] = table[:, j, i] = torch.unflatten(vectors[: m * len(i)].mT, 1, (len(i), m))
    # Velocities that differ much are in different units; where they do not, the user's units are the better choice.
    spread = v.std(0, correction=0)
    if float(spread.max() / spread.min()) < SAME_UNITS:
        spread = torch.ones_like(spread)
    sampled = torch.einsum("aijm,pm->apij", table, ansatz.metric(q)) * spread[:, None] * spread
    target = torch.eye(n, dtype=q.dtype).expand(len(q), n, n).reshape(-1, 1)
    weights = torch.linalg.lstsq(sampled.flatten(1).mT, target).solution[:, 0]
    coefficients = torch.einsum("a,aijm->ijm", weights, table)
    unit = ExpandedMetric(coefficients, ansatz.metric)(q).diagonal(dim1=-2, dim2=-1).mean(0).max()
    metric = ExpandedMetric(coefficients / unit, ansatz.metric)
    potential = ExpandedPotential(vectors[m * len(i) :] @ weights / unit, ansatz.potential)
    kinetic = torch.einsum("pij,pi,pj->p", metric(q), v, v) / 2
    return Lagrangian(metric, potential, float(kinetic.square().mean().sqrt()))
