r"""The Jacobi metric of fixed energy, and how far the motion is from an isometry of the geometry it was learned with.

Motions of energy E are geodesics of :math:`2 (E - V) g`. Nearby motions separate by the Jacobi equation along the
learned :math:`g` and :math:`V`,

.. math:: \nabla_t^2 J = -S J , \qquad S = R(\cdot, \dot q) \dot q + \mathrm{Hess}\, V .

On states :math:`(J, \nabla_t J)` with the metric :math:`G = \omega^2 |J|^2 + |\nabla_t J|^2` the flow f changes lengths
by :math:`L_f G = 2 \langle \nabla_t J, (\omega^2 - S) J \rangle`: it is an isometry where S is :math:`\omega^2` times
the identity, at all times. The greatest rate of growth in G is half of the largest :math:`|\omega^2 - s|/\omega`, s the
eigenvalues of S. Its mean along a motion bounds the Lyapunov exponents from above (for any one G), so that where it
vanishes there is no chaos; the converse fails.

As a detector it is weaker than a Lyapunov exponent of the same time. On orbits of Henon and Heiles of one energy
(seed 1000; ``python -m tests.plugins.physics.kinetic.bench_chaos``) the residual tells chaotic from regular ones with
an AUROC of 0.62, 0.84 and 0.93 at the energies 0.1, 0.125 and 0.145, the bound with 0.73, 0.85 and 0.93, an exponent
with 0.95, 0.89 and 0.99. It needs no tangent vectors: states alone, in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ndm_apps.geometry.curvature import riemann
from ndm_apps.geometry.metric import Metric, evaluate
from ndm_apps.geometry.operators import hessian
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian

#: Where the kinetic energy is below this part of the total range, the Jacobi metric is near its boundary V = E.
NEAR_BOUNDARY = 0.05


def jacobi_metric(lagrangian: Lagrangian, energy: float) -> Metric:
    """Return the metric 2 (E - V) g, defined where V < E. Its geodesics are the motions of energy E.

    Examples
    --------
    A body thrown in the field of gravity near the ground.

    >>> from ndm_apps.geometry import Euclidean, scalar_curvature
    >>> ball = Lagrangian(Euclidean(2), lambda q: q[..., 1], 1.0)
    >>> q = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    >>> scalar_curvature(jacobi_metric(ball, 1.0), q)
    tensor([4.], dtype=torch.float64)
    """

    def metric(q: Tensor) -> Tensor:
        return 2 * (energy - lagrangian.potential(q))[..., None, None] * lagrangian.metric(q)

    return metric


def stability(lagrangian: Lagrangian, q: Tensor, v: Tensor) -> Tensor:
    """Return S in an orthonormal frame of the learned metric, shape ``(points, n, n)``."""
    frame = evaluate(lagrangian.metric, q).orthonormal_frame()
    # R_abcd with R(u, v, v, u) the curvature of the plane of u and v, as the package has it.
    tidal = torch.einsum("pabcd,pb,pc->pad", riemann(lagrangian.metric, q), v, v)
    table: Tensor = frame @ (tidal + hessian(lagrangian.metric, lagrangian.potential, q)) @ frame.mT
    return (table + table.mT) / 2


def isometry_residual(lagrangian: Lagrangian, q: Tensor, v: Tensor) -> float:
    r"""Return the root mean square of :math:`|L_f G|` on states, least over :math:`\omega`, in units of :math:`\omega`.

    Examples
    --------
    The flow of an isotropic oscillator is a rotation of its states.

    >>> from ndm_apps.geometry import Euclidean
    >>> spring = Lagrangian(Euclidean(2), lambda q: 2 * q.square().sum(-1), 1.0)
    >>> q = torch.rand(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> isometry_residual(spring, q, q) < 1e-9
    True
    """
    values = torch.linalg.eigvalsh(stability(lagrangian, q, v))
    # With w = omega^2, the mean of (w - s)^2 over w^2 is least at w = mean(s^2) / mean(s).
    square, mean = float(values.square().mean()), float(values.mean())
    return (max(0.0, 1 - mean**2 / square)) ** 0.5 if mean > 0 and square > 0 else 1.0


def growth_rate(lagrangian: Lagrangian, q: Tensor, v: Tensor, step: float) -> float:
    r"""Return the mean rate at which nearby motions separate along one trajectory: a Lyapunov exponent of finite time.

    Linearises the learned equations of motion at every sample; between samples they are taken as constant.

    Parameters
    ----------
    lagrangian
        What was learned.
    q, v
        One trajectory, shape ``(samples, n)``.
    step
        Time between samples.
    """
    samples, n = q.shape
    state = torch.cat((q, v), -1)

    def flow(x: Tensor) -> Tensor:
        return torch.cat((x[..., n:], lagrangian.acceleration(x[..., :n], x[..., n:])), -1)

    slope = _jacobian(flow, state)
    # In units in which positions and velocities are alike.
    units = torch.cat((q.std(0), v.std(0)))
    slope = slope * units / units[:, None]
    middle = (slope[1:] + slope[:-1]) / 2
    tangent = torch.eye(2 * n, dtype=q.dtype)
    total = 0.0
    for one in torch.linalg.matrix_exp(middle * step):
        tangent = one @ tangent
        size = torch.linalg.matrix_norm(tangent, 2)
        total += float(size.log())
        tangent = tangent / size
    return total / ((samples - 1) * step)


def _jacobian(flow: Callable[[Tensor], Tensor], state: Tensor) -> Tensor:
    columns = [
        torch.func.jvp(flow, (state,), (direction.expand_as(state).clone(),))[1]
        for direction in torch.eye(state.shape[-1], dtype=state.dtype)
    ]
    return torch.stack(columns, -1)
