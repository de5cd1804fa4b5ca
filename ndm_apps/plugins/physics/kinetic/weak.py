r"""The Euler-Lagrange equations in weak form, linear in the unknown coefficients of a Lagrangian.

For :math:`L = \tfrac12 g_{ij}(q) \dot q^i \dot q^j - V(q)` and a test function :math:`\psi` that vanishes at both ends
of a window,

.. math:: r_k = \int \dot\psi \, \partial_{\dot q^k} L + \psi \, \partial_{q^k} L \, dt = 0

along every motion: neither accelerations nor derivatives of data are needed. With the metric expanded in functions
:math:`\phi_m` and the potential in :math:`\chi_l`, the residuals are a matrix times the coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.plugins.physics.kinetic.motion import Windows

#: Numbers of one block of noise rows held at a time.
_BLOCK = 1 << 22


@final
@dataclass(frozen=True)
class Ansatz:
    """A Lagrangian with unknown coefficients: first those of g (pairs i <= j, functions fastest), then those of V.

    Attributes
    ----------
    metric, potential
        Functions, ``(..., n) -> (..., functions)``; a constant has no place among those of the potential.
    """

    metric: Dictionary
    potential: Dictionary


def pairs(n: int) -> tuple[Tensor, Tensor]:
    """Index pairs i <= j."""
    i, j = torch.triu_indices(n, n)
    return i, j


def kinetic_monomials(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return :math:`T_{ij} = v_i v_j / (1 + \delta_{ij})`, and its first and second derivatives by the velocities.

    Shapes ``(points, pairs)``, ``(points, n, pairs)``, ``(n, n, pairs)``.
    """
    n = v.shape[-1]
    i, j = pairs(n)
    half = torch.where(i == j, 0.5, 1.0).to(v.dtype)
    identity = torch.eye(n, dtype=v.dtype)
    slope = half * (identity[:, i] * v[:, None, j] + identity[:, j] * v[:, None, i])
    bend = half * (identity[:, None, i] * identity[:, j] + identity[:, None, j] * identity[:, i])
    return half * v[:, i] * v[:, j], slope, bend


def slopes(functions: Dictionary, q: Tensor) -> tuple[Tensor, Tensor]:
    """Values and first derivatives of functions, shapes ``(points, functions)`` and ``(points, n, functions)``."""
    identity = torch.eye(q.shape[-1], dtype=q.dtype).expand(*q.shape, -1)
    value, slope = value_and_derivative(functions, rows(q, identity), identity)
    return value[:, 0], slope


def second_slopes(functions: Dictionary, q: Tensor) -> Tensor:
    """Second derivatives of functions, shape ``(points, n, n, functions)``."""
    n = q.shape[-1]
    identity = torch.eye(n, dtype=q.dtype).expand(*q.shape, -1)
    first = identity.repeat_interleave(n, dim=-2)
    second = identity.repeat(1, n, 1)
    bend = value_and_derivative(lambda y: value_and_derivative(functions, y, second)[1], rows(q, first), first)[1]
    return torch.unflatten(bend, 1, (n, n))


def residual_matrix(ansatz: Ansatz, part: Windows, scale: Tensor, noise: tuple[Tensor, Tensor] | None = None) -> Tensor:
    r"""Return the weak residuals :math:`s_k r_k` of all windows as a matrix that multiplies the coefficients.

    Parameters
    ----------
    ansatz, part
        The Lagrangian and the windows.
    scale
        Size of each velocity s, shape ``(n,)``: momenta times velocities are energies, which can be compared.
    noise
        Standard deviations of errors of positions and velocities. What they add to the mean of a nonlinear term is
        taken off to second order.

    Returns
    -------
    Tensor
        Shape ``(windows * n, coefficients)``, divided by the root of the number of windows.
    """
    count, samples, n = part.q.shape
    q, v = part.q.reshape(-1, n), part.v.reshape(-1, n)
    monomial, turn, _ = kinetic_monomials(v)
    (phi, dphi), (_, dchi) = (_unbiased(f, q, noise) for f in (ansatz.metric, ansatz.potential))
    if noise is not None:
        i, j = pairs(n)
        monomial = monomial - torch.where(i == j, noise[1][i].square() / 2, 0.0)
    weighted = part.rate.reshape(-1, 1, 1) * turn
    along = torch.einsum("pkc,pm->pkcm", weighted, phi)
    along += torch.einsum("pc,pkm->pkcm", part.value.reshape(-1, 1) * monomial, dphi)
    force = -part.value.reshape(-1, 1, 1) * dchi
    total = torch.cat((along.flatten(2), force), -1).reshape(count, samples, n, -1).sum(1)
    return (scale[:, None] * total).flatten(0, 1) / count**0.5


def momentum_matrix(ansatz: Ansatz, part: Windows, scale: Tensor) -> Tensor:
    """Return :math:`s_k p_k` at all samples as a matrix that multiplies the coefficients, zero for those of V."""
    count, samples, n = part.q.shape
    q, v = part.q.reshape(-1, n), part.v.reshape(-1, n)
    _, turn, _ = kinetic_monomials(v)
    momenta = scale[:, None] * torch.einsum("pkc,pm->pkcm", turn, ansatz.metric(q)).flatten(2)
    unused = momenta.new_zeros(*momenta.shape[:2], ansatz.potential(q[:1]).shape[-1])
    return torch.cat((momenta, unused), -1).flatten(0, 1) / (count * samples) ** 0.5


def noise_gram(ansatz: Ansatz, part: Windows, scale: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
    """Return the matrix of the mean square that measurement errors give to the residuals, to first order.

    For the true coefficients c it makes c N c equal to the expectation of the mean square residual of c.
    """
    count, samples, n = part.q.shape
    q, v, rate, value = (t.reshape(count * samples, -1) for t in (part.q, part.v, part.rate, part.value))
    functions = ansatz.metric(q[:1]).shape[-1] * n * (n + 1) // 2 + ansatz.potential(q[:1]).shape[-1]
    block = max(1, _BLOCK // (2 * n * n * functions))
    total = q.new_zeros(functions, functions)
    for start in range(0, len(q), block):
        piece = slice(start, start + block)
        rows_of = _noise_rows(
            ansatz, q[piece], v[piece], rate[piece, :, None, None], value[piece, :, None, None], noise
        )
        weighted = (scale[:, None] * rows_of).reshape(-1, functions)
        total += weighted.mT @ weighted
    return total / count


def _noise_rows(
    ansatz: Ansatz, q: Tensor, v: Tensor, rate: Tensor, value: Tensor, noise: tuple[Tensor, Tensor]
) -> Tensor:
    """Differentiate the residuals by each measured number, times its error: ``(points, 2 n, n, coefficients)``."""
    monomial, turn, bend = kinetic_monomials(v)
    phi, dphi = slopes(ansatz.metric, q)
    ddphi, ddchi = second_slopes(ansatz.metric, q), second_slopes(ansatz.potential, q)
    by_v = rate[..., None] * torch.einsum("lkc,pm->plkcm", bend, phi)
    by_v = by_v + value[..., None] * torch.einsum("plc,pkm->plkcm", turn, dphi)
    by_q = rate[..., None] * torch.einsum("pkc,plm->plkcm", turn, dphi)
    by_q = by_q + value[..., None] * torch.einsum("pc,plkm->plkcm", monomial, ddphi)
    by_q, by_v = by_q.flatten(3), by_v.flatten(3)
    force = -value * ddchi
    at_q = torch.cat((by_q, force), -1) * noise[0][:, None, None]
    at_v = torch.cat((by_v, torch.zeros_like(force)), -1) * noise[1][:, None, None]
    return torch.cat((at_q, at_v), 1)


def _unbiased(functions: Dictionary, q: Tensor, noise: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Values and slopes less what errors of the positions add to their means."""
    value, slope = slopes(functions, q)
    if noise is None:
        return value, slope
    total = [(1.0 + q.shape[-1]) * value, (1.0 + q.shape[-1]) * slope]
    for shift in torch.diag(noise[0]):
        for moved in (q + shift, q - shift):
            total = [old - new / 2 for old, new in zip(total, slopes(functions, moved), strict=True)]
    return total[0], total[1]
