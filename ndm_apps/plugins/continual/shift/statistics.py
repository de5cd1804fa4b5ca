r"""What tells foreign samples from a component's own: one number per sample and component, larger where foreign.

Each is a function of a :class:`Reading`, on the scale of :math:`|z|^2`, which the part along a heading is added on. The
conformal test is valid whatever the statistic: it only ranks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Reading(NamedTuple):
    r"""Samples as all components see them.

    Attributes
    ----------
    square
        Squared length :math:`|z|^2` of the whitened coordinates, ``(batch, components)``.
    log_det
        Log-determinant of each component's covariance, ``(components,)``.
    ratio
        Squared distance r from the embedding's subspace over its mean in the component, ``(batch, components)``.
    freedom
        :math:`n_\text{eff} = 2 \bar r^2 / \operatorname{Var} r` of each component, ``(components,)``: r is about
        :math:`\bar r / n_\text{eff}` times a chi-squared variable with so many degrees of freedom; 0 if r is constant.
    dimension
        Number d of coordinates.
    """

    square: Tensor
    log_det: Tensor
    ratio: Tensor
    freedom: Tensor
    dimension: int


Statistic = Callable[[Reading], Tensor]


def mahalanobis(reading: Reading) -> Tensor:
    r"""Return :math:`|z|^2 - d`: the scaled scalar curvature of the component's conformal metric."""
    return reading.square - reading.dimension


def residual(reading: Reading) -> Tensor:
    r"""Return :math:`n_\text{eff} (r / \bar r - 1)`, in the units of :func:`mahalanobis`."""
    return reading.freedom * (reading.ratio - 1)


def curvature(reading: Reading) -> Tensor:
    r"""Return :math:`\kappa = (|z|^2 - d) + n_\text{eff} (r / \bar r - 1)`: scaled curvature and normal residual."""
    return mahalanobis(reading) + residual(reading)


def nll(reading: Reading) -> Tensor:
    r"""Return :math:`|z|^2 + \log \det S + d \log 2 \pi`, twice the negative log-density in the embedding."""
    return reading.square + reading.log_det + reading.dimension * math.log(2 * math.pi)


STATISTICS: dict[str, Statistic] = {
    "curvature": curvature,
    "mahalanobis": mahalanobis,
    "nll": nll,
    "residual": residual,
}
