"""One layer of a Neural Differential Manifold: a coordinate map and the metric in the coordinates it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.geometry import Metric, log_volume_element, scalar_curvature

__all__ = ["Geometry", "ManifoldLayer"]


@dataclass(frozen=True, eq=False)
class Geometry:
    r"""Points of a chart and the Riemannian geometry there. What is not asked for is not computed.

    Attributes
    ----------
    point
        Coordinates z, (..., n).
    log_abs_det
        :math:`\log |\det dz/dx|` of the layer's coordinate map, (...).
    metric
        The metric, (..., n) -> (..., n, n).
    """

    point: Float[Tensor, "*batch n"]
    log_abs_det: Float[Tensor, "*batch"]
    metric: Metric

    @cached_property
    def g(self) -> Float[Tensor, "*batch n n"]:
        """The metric at the points."""
        return self.metric(self.point)

    @cached_property
    def log_volume(self) -> Float[Tensor, "*batch"]:
        r"""Logarithm of the volume element, :math:`\log \sqrt{\det g}`."""
        if isinstance(self.metric, MetricNet):
            return self.metric.log_volume(self.point)
        return log_volume_element(self.metric, self.point)

    @cached_property
    def curvature(self) -> Float[Tensor, "*batch"]:
        """Scalar curvature, exact."""
        return scalar_curvature(self.metric, self.point)

    def at(self, index: Int[Tensor, " k"]) -> Geometry:
        """Return the geometry at some of the points, numbered as if the batch were one list."""
        points = self.point.reshape(-1, self.point.shape[-1])
        return Geometry(points[index], self.log_abs_det.reshape(-1)[index], self.metric)


class ManifoldLayer(nn.Module):
    """A coordinate map, and a metric in the new coordinates: ``x -> (z, Geometry)``.

    Parameters
    ----------
    coordinates
        Map of the points.
    metric
        Any module (..., n) -> (..., n, n), such as a :class:`~ndm_apps.engine.metric_net.MetricNet`; None for a layer
        that changes coordinates only and returns no geometry.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.engine.coordinates import Affine
    >>> z, geometry = ManifoldLayer(Affine(2), MetricNet(2))(torch.zeros(5, 2))
    >>> geometry.g.shape, geometry.curvature.shape
    (torch.Size([5, 2, 2]), torch.Size([5]))
    """

    def __init__(self, coordinates: CoordinateMap, metric: nn.Module | None) -> None:
        super().__init__()
        self.coordinates, self.metric = coordinates, metric

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Float[Tensor, "*batch n"], Geometry | None]:
        """Return the new coordinates and the geometry there."""
        z, log_abs_det = self.coordinates(x)
        return z, None if self.metric is None else Geometry(z, log_abs_det, self.metric)
