r"""Metrics in other coordinates: :math:`J^\top g J`, and what of their geometry is known without differentiating it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap
from ndm_apps.geometry import Metric, log_volume_element, scalar_curvature

__all__ = ["HasLogVolume", "PulledBackMetric", "log_volume", "value_and_jacobian"]


@runtime_checkable
class HasLogVolume(Protocol):
    """A metric that knows its volume element by a shorter way than factorising itself."""

    def log_volume(self, x: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch"]:
        r"""Return :math:`\log \sqrt{\det g(x)}`."""
        ...


class PulledBackMetric(nn.Module):
    r"""The metric :math:`J^\top g(\phi(x)) J` that coordinate maps :math:`\phi` bring back to where they start.

    Curvature is a scalar and the volume element a density, so both are read off in the coordinates where g lives:
    :math:`R(x) = R_g(\phi(x))` and :math:`\log\sqrt{\det} = \log\sqrt{\det g(\phi(x))} + \log|\det J|`.

    Parameters
    ----------
    metric
        The metric g, (..., n) -> (..., n, n).
    maps
        Coordinate maps in the order they are applied; none for the metric itself.

    Examples
    --------
    >>> from ndm_apps.engine.coordinates import Affine
    >>> from ndm_apps.geometry import Sphere, scalar_curvature
    >>> metric = PulledBackMetric(Sphere(2), [Affine.whitening(torch.zeros(2), 4 * torch.eye(2))])
    >>> x = torch.zeros(1, 2)
    >>> metric(x).tolist(), scalar_curvature(metric, x).round(decimals=4).tolist()
    ([[[1.0, 0.0], [0.0, 1.0]]], [2.0])
    """

    def __init__(self, metric: Metric, maps: Iterable[CoordinateMap]) -> None:
        super().__init__()
        self.metric, self.maps = metric, nn.ModuleList(maps)

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return the metric at ``x``."""
        z, derivative = value_and_jacobian(cast(Iterable[CoordinateMap], self.maps), x)
        return derivative.mT @ self.metric(z) @ derivative

    def log_volume(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        r"""Return :math:`\log \sqrt{\det (J^\top g J)}`."""
        z, log_abs_det = self._move(x)
        return log_volume(self.metric, z) + log_abs_det

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return the exact scalar curvature at ``x``."""
        return scalar_curvature(self.metric, self._move(x)[0])

    def _move(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(x.shape[:-1])
        for part in cast(Iterable[CoordinateMap], self.maps):
            x, log_abs_det = part(x)
            total = total + log_abs_det
        return x, total


def log_volume(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Return :math:`\log \sqrt{\det g(x)}`, from the metric itself if it has a method ``log_volume``."""
    return metric.log_volume(x) if isinstance(metric, HasLogVolume) else log_volume_element(metric, x)


def value_and_jacobian(
    maps: Iterable[CoordinateMap], x: Float[Tensor, "*batch n"]
) -> tuple[Float[Tensor, "*batch n"], Float[Tensor, "*batch n n"]]:
    r"""Return the points z that coordinate maps, in turn, make of ``x``, and :math:`J = \partial z / \partial x`."""
    vectors = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1])
    for part in maps:
        x, vectors = part.push_forward(x, vectors)
    return x, vectors.mT
