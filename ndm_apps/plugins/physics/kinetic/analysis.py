"""What follows from a learned Lagrangian: curvature, symmetries, quadratic laws, what is forbidden, chaos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from ndm_apps.geometry.killing import KillingFields, lie_algebra
from ndm_apps.geometry.lie_algebra import name_lie_algebra
from ndm_apps.geometry.metric import evaluate
from ndm_apps.geometry.quadratic_integrals import QuadraticIntegrals, quadratic_integrals
from ndm_apps.geometry.scalar import scalar_curvature
from ndm_apps.plugins.physics.kinetic.jacobi import growth_rate, isometry_residual, jacobi_metric
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.learning import Learned
from ndm_apps.plugins.physics.kinetic.motion import Motion
from ndm_apps.plugins.physics.kinetic.obstruction import Obstruction, obstruction
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.kinetic.symmetry import Symmetries, drift, find_symmetries
from ndm_apps.plugins.physics.kinetic.words import Named, name_fields

#: The Jacobi metric is looked at where at least this share of the range of the potential is left as kinetic energy.
MOVING = 0.1
#: Held-out pieces of motion that tell how fast neighbours separate.
FOLLOWED = 6


class NoGeometryError(ValueError):
    """The motions have no kinetic metric and potential."""


@final
@dataclass(frozen=True, eq=False)
class Geometry:
    """The geometry of a motion.

    Attributes
    ----------
    learned
        The Lagrangian it is the geometry of.
    points
        Positions that it is looked at on.
    curvature
        Scalar curvature of the metric there.
    symmetries, quadratic
        What is conserved by a symmetry, and by a law that is quadratic in the velocities.
    algebras
        Names of the Lie algebras of the symmetries of the metric, and of metric and potential; empty without any.
    bound
        What cannot be conserved; None for networks, which were not fitted to third derivatives.
    of_metric, of_both
        The simple ones among the symmetries of the metric, and of metric and potential.
    energy_drift, quadratic_drifts
        On held-out motions.
    energy, jacobi_curvature
        The median energy, and the scalar curvature of its Jacobi metric where the motion goes.
    isometry_residual, growth_rate
        How far the flow is from an isometry, and how fast held-out motions and their neighbours separate.
    """

    learned: Learned
    points: Tensor
    curvature: Tensor
    symmetries: Symmetries
    quadratic: QuadraticIntegrals
    algebras: tuple[str, str]
    bound: Obstruction | None
    of_metric: list[Named]
    of_both: list[Named]
    energy_drift: float
    quadratic_drifts: tuple[float, ...]
    energy: float
    jacobi_curvature: Tensor
    isometry_residual: float
    growth_rate: float


def analyse(learned: Learned, settings: KineticSettings, rng: np.random.Generator) -> Geometry:
    """Work out the geometry of a learned Lagrangian.

    Parameters
    ----------
    learned
        What the solver found.
    settings
        Of the method.
    rng
        Chooses the points.

    Raises
    ------
    NoGeometryError
        The motions have no Lagrangian of this form, or its metric is not positive definite where they go.
    """
    if not learned.solves:
        size = f"{learned.residual:.2g} {'times the noise' if learned.noisy else 'of the momenta'}"
        raise NoGeometryError(f"the best ones leave {size} on held-out trajectories")
    lagrangian, judging, angles = learned.lagrangian, learned.judging, learned.fitting.angles
    points = sample_points(learned.fitting, lagrangian, settings.points, rng)
    curvature = scalar_curvature(lagrangian.metric, points)
    symmetries = find_symmetries(lagrangian, points, angles, judging, settings.degree, settings.tolerance)
    quadratic = quadratic_integrals(
        lagrangian.metric,
        lagrangian.potential,
        points,
        settings.quadratic_degree,
        settings.tolerance,
        unit=lagrangian.kinetic_energy,
        angles=angles,
    )
    q, v = judging.samples()
    owners = judging.owners()
    energies = lagrangian.energy(q, v)
    energy = float(lagrangian.energy(*learned.fitting.samples()).median())
    inside = points[_kinetic_share(lagrangian, points, energy) > MOVING]
    pieces = list(zip(judging.q, judging.v, judging.step, strict=True))[:FOLLOWED]
    rates = [growth_rate(lagrangian, torch.from_numpy(a), torch.from_numpy(b), step) for a, b, step in pieces]
    some = torch.from_numpy(rng.choice(len(q), min(len(q), settings.points), replace=False))
    return Geometry(
        learned,
        points,
        curvature,
        symmetries,
        quadratic,
        (_algebra(symmetries.metric, points), _algebra(symmetries.both, points)),
        obstruction(learned, points[: settings.points // 2], settings.window, settings.stride),
        _named(learned, symmetries.metric, points),
        _named(learned, symmetries.both, points),
        drift(energies.numpy(), owners),
        tuple(drift(one(q, v).numpy(), owners) for one in quadratic),
        energy,
        scalar_curvature(jacobi_metric(lagrangian, energy), inside) if len(inside) else inside[:, 0],
        isometry_residual(lagrangian, q[some], v[some]),
        float(np.mean(rates)),
    )


def sample_points(data: Motion, lagrangian: Lagrangian, many: int, rng: np.random.Generator) -> Tensor:
    """Choose positions of the motion; the metric must be positive definite there.

    Raises
    ------
    NoGeometryError
        It is not: the motions have no kinetic energy of this form.
    """
    q = data.samples()[0]
    chosen = q[torch.from_numpy(rng.choice(len(q), min(many, len(q)), replace=False))]
    smallest = torch.linalg.eigvalsh(lagrangian.metric(chosen))[:, 0]
    if not bool((smallest > 0).all()):
        raise NoGeometryError(
            f"the metric of the best ones is not positive definite at {int((smallest <= 0).sum())} of "
            f"{len(chosen)} positions (smallest eigenvalue {float(smallest.min()):.3g}): it is no kinetic energy"
        )
    return chosen


def _kinetic_share(lagrangian: Lagrangian, q: Tensor, energy: float) -> Tensor:
    left = energy - lagrangian.potential(q)
    return left / left.max().clamp_min(torch.finfo(q.dtype).tiny)


def _named(learned: Learned, fields: KillingFields, points: Tensor) -> list[Named]:
    data = learned.fitting
    cholesky = evaluate(learned.lagrangian.metric, points).cholesky
    return name_fields([field(points) for field in fields], points, cholesky, data.names, data.angles)


def _algebra(fields: KillingFields, points: Tensor) -> str:
    return name_lie_algebra(lie_algebra(fields, points).structure) if len(fields) else ""
