r"""Symmetries of a learned Lagrangian: Killing vectors of its metric, those that its potential keeps, their momenta.

A vector field :math:`\xi` with :math:`L_\xi g = 0` and :math:`dV(\xi) = 0` has the conserved momentum
:math:`g(\xi, \dot q)` (Noether): that, not zero curvature, is a flat direction of the geometry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ndm_apps.geometry.killing import KillingField, KillingFields, killing_fields
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.motion import Motion

Array = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Symmetries:
    """The symmetries of a Lagrangian.

    Attributes
    ----------
    metric, both
        Killing fields of the metric alone, and those that leave the potential as well.
    drifts
        Of the momentum of each of ``both``, on motions that took no part in finding it.
    """

    metric: KillingFields
    both: KillingFields
    drifts: tuple[float, ...]


def find_symmetries(
    lagrangian: Lagrangian, points: Tensor, angles: tuple[int, ...], judging: Motion, degree: int, tolerance: float
) -> Symmetries:
    """Find the symmetries of a Lagrangian among fields with polynomial components, and judge their momenta.

    Parameters
    ----------
    lagrangian
        What was learned.
    points
        Positions that the equations are set up on, shape ``(points, n)``; the metric is positive definite there.
    angles
        Coordinates measured modulo 2 pi.
    judging
        Held-out motions.
    degree, tolerance
        See :func:`~ndm_apps.geometry.killing_fields`.
    """
    of_metric = killing_fields(lagrangian.metric, points, degree, tolerance, angles=angles)
    both = killing_fields(
        lagrangian.metric,
        points,
        degree,
        tolerance,
        angles=angles,
        functions=[lagrangian.potential],
        units=[lagrangian.kinetic_energy],
    )
    drifts = tuple(drift(momentum(lagrangian, field, judging), judging.owners()) for field in both)
    return Symmetries(of_metric, both, drifts)


def momentum(lagrangian: Lagrangian, field: KillingField, data: Motion) -> Array:
    """Noether momentum g(xi, q') at all samples."""
    q, v = data.samples()
    value: Array = (lagrangian.momentum(q, v) * field(q)).sum(-1).numpy()
    return value


def drift(values: Array, owners: NDArray[np.intp]) -> float:
    """Mean standard deviation within trajectories over the standard deviation of their means."""
    parts = [values[owners == owner] for owner in np.unique(owners)]
    spread = float(np.std([part.mean() for part in parts]))
    within = float(np.mean([part.std() for part in parts]))
    return within / spread if spread > 0 else float("inf")
