r"""What the learned geometry forbids: a bound on conserved momenta that solves no Killing equation.

A Killing field that leaves V keeps every function made of g and V alone. Where the differentials of

.. math:: R, \quad V, \quad |dV|^2, \quad \Delta V

have rank r, at most n - r directions are left to symmetries. The rank is that of exact functions, and what was learned
has errors: singular values change by no more than the size of the error of the matrix (Weyl). It is estimated from two
Lagrangians, each learned from one half of the trajectories.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.metric import evaluate
from ndm_apps.geometry.operators import function_jet
from ndm_apps.geometry.scalar import scalar_curvature
from ndm_apps.plugins.physics.kinetic.expansion import refit
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.learning import Learned

#: Singular values of less than this many errors are zero, ...
ERRORS = 3.0
#: ... and so are those below this, in natural units.
SMALL = 0.05


class Obstruction(NamedTuple):
    """How many directions are left to symmetries at almost every point, and the evidence.

    Attributes
    ----------
    directions
        n minus the median rank.
    singular_values
        Medians over the points, descending: changes over the spread of the points, each invariant in its natural unit.
    error
        Median of the size of their errors.
    """

    directions: int
    singular_values: tuple[float, ...]
    error: float


def obstruction(learned: Learned, points: Tensor, samples: int, stride: int) -> Obstruction | None:
    """Bound the number of directions of symmetry at a point.

    Parameters
    ----------
    learned
        What the dictionary solver found; None is returned for networks, whose third derivatives mean little.
    points
        Positions, where all three metrics should be positive definite; others are left out.
    samples, stride
        Length of a window and distance of the next one.
    """
    if learned.expansion is None:
        return None
    data = learned.fitting
    owners = np.unique(data.trajectory)
    halves = [
        refit(learned.expansion, data.take(part), learned.noise, samples, stride)
        for part in (owners[::2], owners[1::2])
    ]
    good = torch.stack([torch.linalg.eigvalsh(one.metric(points))[:, 0] > 0 for one in halves]).all(0)
    points = points[good]
    if not len(points):
        return None
    whole = _differentials(learned.lagrangian, points, learned.lagrangian)
    apart = _differentials(halves[0], points, learned.lagrangian) - _differentials(
        halves[1], points, learned.lagrangian
    )
    # Two halves differ by twice the error of the whole.
    error = torch.linalg.matrix_norm(apart, 2) / 2
    sizes = torch.linalg.svdvals(whole)
    rank = (sizes > (ERRORS * error).clamp_min(SMALL)[:, None]).sum(-1)
    medians = tuple(float(column) for column in sizes.median(0).values)
    return Obstruction(data.n - int(rank.median()), medians, float(error.median()))


def _differentials(lagrangian: Lagrangian, points: Tensor, reference: Lagrangian) -> Tensor:
    """Differentials of the invariants in an orthonormal frame, ``(points, n, invariants)``, in units of a reference.

    The unit of length is the spread of the points, that of the potential the kinetic energy.
    """
    value = evaluate(reference.metric, points)
    frame = value.orthonormal_frame()
    centred = points - points.mean(0)
    length = float((value.cholesky.mT @ centred.unsqueeze(-1)).square().sum(dim=(-2, -1)).mean().sqrt())
    energy = reference.kinetic_energy

    def invariants(q: Tensor) -> Tensor:
        jet = function_jet(lagrangian.metric, lagrangian.potential, q)
        curvature = scalar_curvature(lagrangian.metric, q)
        return torch.stack(
            (
                curvature * length**2,
                jet.value / energy,
                jet.gradient.square().sum(-1) * (length / energy) ** 2,
                jet.laplacian * length**2 / energy,
            ),
            -1,
        )

    return length * value_and_derivative(invariants, rows(points, frame), frame)[1]
