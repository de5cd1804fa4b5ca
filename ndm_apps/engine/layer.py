"""One layer of a Neural Differential Manifold: a coordinate map and the metric in the coordinates it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap
from ndm_apps.engine.pulled_back import log_volume, value_and_jacobian
from ndm_apps.geometry import Metric, scalar_curvature

__all__ = ["Geometry", "ManifoldLayer"]


@dataclass(frozen=True, eq=False)
class Geometry:
    r"""Points of a chart and the Riemannian geometry there. What is not asked for is not computed.

    The geometries that :class:`~ndm_apps.engine.network.NDM` returns form a chain: the ``origin`` of each is the
    ``point`` of the one before it in the list, and of the first it is the network's input (behind its encoder). Layers
    in between that carry no metric are part of ``maps``. So for consecutive geometries ``a, b`` of the list, ``a.g``
    and ``b.pullback`` are two metrics at the same points in the same coordinates: the learned one of layer i, and
    :math:`J^\top g_{i+1} J` with :math:`J = \partial z_{i+1} / \partial z_i`.

    Attributes
    ----------
    point
        Coordinates z, (..., n).
    log_abs_det
        :math:`\log |\det J|` of the map from ``origin`` to ``point``, (...).
    metric
        The metric, (..., n) -> (..., n, n).
    origin
        The same points in the coordinates that the maps start from, (..., n); None for points that come from nowhere.
    maps
        Coordinate maps that lead from ``origin`` to ``point``, in the order they are applied.

    Raises
    ------
    ValueError
        From ``jacobian`` and ``pullback``, if there is no origin.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.engine.coordinates import Affine
    >>> from ndm_apps.geometry import Sphere
    >>> stretch = Affine.whitening(torch.zeros(2), torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
    >>> x = torch.zeros(2)
    >>> geometry = Geometry(*stretch(x), Sphere(2), origin=x, maps=(stretch,))
    >>> geometry.jacobian.tolist(), geometry.pullback.tolist()
    ([[0.5, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 4.0]])
    """

    point: Float[Tensor, "*batch n"]
    log_abs_det: Float[Tensor, "*batch"]
    metric: Metric
    origin: Float[Tensor, "*batch n"] | None = None
    maps: tuple[CoordinateMap, ...] = ()

    @cached_property
    def g(self) -> Float[Tensor, "*batch n n"]:
        """The metric at the points."""
        return self.metric(self.point)

    @cached_property
    def log_volume(self) -> Float[Tensor, "*batch"]:
        r"""Logarithm of the volume element, :math:`\log \sqrt{\det g}`."""
        return log_volume(self.metric, self.point)

    @cached_property
    def curvature(self) -> Float[Tensor, "*batch"]:
        """Scalar curvature, exact."""
        return scalar_curvature(self.metric, self.point)

    @cached_property
    def jacobian(self) -> Float[Tensor, "*batch n n"]:
        r"""Derivative of the points by where they come from, :math:`J_{ij} = \partial z_i / \partial x_j`.

        Differentiable with respect to the origin and the parameters of the maps.
        """
        if self.origin is None:
            raise ValueError("origin must be given for a jacobian or a pullback, got None")
        return value_and_jacobian(self.maps, self.origin)[1]

    @cached_property
    def pullback(self) -> Float[Tensor, "*batch n n"]:
        r"""The metric in the coordinates of the origin, :math:`J^\top g(z) J`."""
        return self.jacobian.mT @ self.g @ self.jacobian

    def chart(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Map points from the coordinates of the origin to those of this geometry."""
        for part in self.maps:
            x, _ = part(x)
        return x

    def at(self, index: Int[Tensor, " k"]) -> Geometry:
        """Return the geometry at some of the points, numbered as if the batch were one list."""
        points = self.point.reshape(-1, self.point.shape[-1])[index]
        origins = None if self.origin is None else self.origin.reshape(-1, points.shape[-1])[index]
        return Geometry(points, self.log_abs_det.reshape(-1)[index], self.metric, origins, self.maps)


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
    >>> from ndm_apps.engine.metric_net import MetricNet
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
        return z, None if self.metric is None else Geometry(z, log_abs_det, self.metric, x, (self.coordinates,))
