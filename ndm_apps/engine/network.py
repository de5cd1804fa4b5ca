"""The Neural Differential Manifold: a stack of manifold layers with a head."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates import CoordinateMap, FamilyName, alternating_couplings
from ndm_apps.engine.layer import Geometry, ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet, StructureName
from ndm_apps.engine.pulled_back import PulledBackMetric

__all__ = ["NDM"]


class NDM(nn.Module):
    r"""A network each layer of which is a chart with a learned metric.

    The layers change coordinates by invertible maps, so all charts have the same dimension and nothing is lost between
    the first and the head. With ``L_geo`` of :class:`~ndm_apps.engine.evolution.GeometricLoss` it is trained on
    ``L_task + lambda * L_geo``.

    Networks of other kinds join at both ends and in between: ``encoder`` is any module in front of the charts, a
    projection to fewer dimensions or a convolutional trunk; ``head`` is any module behind them; and layers not named in
    ``metric_layers`` change coordinates only.

    Parameters
    ----------
    n
        Dimension of every chart, and of the input if there is no encoder.
    head
        Width of a linear head, or any module on the last chart's coordinates.
    depth
        Number of layers.
    metric_layers
        Numbers of the layers that carry a metric; all of them if not given.
    couplings, coupling_hidden
        Couplings in each coordinate map, and the hidden widths of their networks.
    metric_hidden, structure, eps, rank, block, condition
        Of the Metric Nets; see :class:`~ndm_apps.engine.metric_net.MetricNet`.
    coordinates
        Family of the couplings: ``"affine"``, or ``"smooth"`` or ``"spline"``, which bend each coordinate.
    mixing
        Whether a learned rotation goes before each coupling; see
        :class:`~ndm_apps.engine.coordinates.OrthogonalMixing` for the optimiser it wants.
    normalise
        Whether a scaling of each coordinate goes before the couplings of each layer; :meth:`initialise` sets it.
    shared_metric
        Whether one Metric Net serves all layers that carry a metric.
    encoder
        Module from the input to ``(..., n)``. Geometry begins behind it.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> outputs, geometries = NDM(4, head=3)(torch.zeros(5, 4))
    >>> outputs.shape, [geometry.g.shape for geometry in geometries]
    (torch.Size([5, 3]), [torch.Size([5, 4, 4]), torch.Size([5, 4, 4])])

    A hybrid network: a projection, three changes of coordinates of which the last carries a metric, an ordinary head.

    >>> head = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 10))
    >>> net = NDM(4, head, depth=3, metric_layers=[2], coordinates="smooth", mixing=True, encoder=nn.Linear(64, 4))
    >>> outputs, geometries = net(torch.zeros(5, 64))
    >>> outputs.shape, len(geometries)
    (torch.Size([5, 10]), 1)
    """

    def __init__(
        self,
        n: int,
        head: int | nn.Module,
        *,
        depth: int = 2,
        metric_layers: Collection[int] | None = None,
        couplings: int = 2,
        coupling_hidden: Sequence[int] = (64,),
        metric_hidden: Sequence[int] = (64, 64),
        structure: StructureName = "cholesky",
        eps: float = 1e-2,
        rank: int | None = None,
        block: int | None = None,
        condition: float | None = None,
        coordinates: FamilyName = "affine",
        mixing: bool = False,
        normalise: bool = False,
        shared_metric: bool = False,
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        carriers = set(range(depth) if metric_layers is None else metric_layers)
        if not carriers <= set(range(depth)):
            raise ValueError(f"metric_layers must be among 0 ... {depth - 1}, got {sorted(carriers)}")
        if isinstance(head, int) and head < 1:
            raise ValueError(f"head must be at least 1 or a module, got {head}")

        def metric_net() -> MetricNet:
            return MetricNet(n, metric_hidden, structure, eps, rank=rank, block=block, condition=condition)

        shared = metric_net() if shared_metric else None
        self.n, self.encoder = n, encoder
        self.layers = nn.ModuleList(
            ManifoldLayer(
                alternating_couplings(
                    n, couplings, coupling_hidden, coordinates=coordinates, mixing=mixing, normalise=normalise
                ),
                (shared or metric_net()) if layer in carriers else None,
            )
            for layer in range(depth)
        )
        self.head = nn.Linear(n, head) if isinstance(head, int) else head

    def forward(self, x: Tensor) -> tuple[Tensor, list[Geometry]]:
        """Return the head's output, and the geometry of each layer that carries a metric, first to last.

        ``x`` has shape ``(..., n)``, or what the encoder takes.
        """
        z = self.encode(x)
        geometries: list[Geometry] = []
        origin, maps, volume = z, list[CoordinateMap](), z.new_zeros(z.shape[:-1])
        for layer in self._layers():
            maps.append(layer.coordinates)
            if layer.metric is None:
                z, log_abs_det = layer.coordinates(z)
                volume = volume + log_abs_det
            else:
                z, geometry = layer(z)
                volume = volume + geometry.log_abs_det
                geometries.append(replace(geometry, log_abs_det=volume, origin=origin, maps=tuple(maps)))
                origin, maps, volume = z, [], torch.zeros_like(volume)
        return self.head(z), geometries

    def encode(self, x: Tensor) -> Float[Tensor, "*batch n"]:
        """Return what the first chart is given: ``x`` itself, or the encoder's output."""
        z: Tensor = x if self.encoder is None else self.encoder(x)
        if z.ndim == 0 or z.shape[-1] != self.n:
            name = "x" if self.encoder is None else "encoder(x)"
            raise ValueError(f"{name} must have shape (..., {self.n}), got {tuple(z.shape)}")
        return z

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set what coordinate maps take from the data, on a sample of inputs; without ``normalise`` there is nothing.

        To be called once, before training.
        """
        z = self.encode(x)
        for layer in self._layers():
            layer.coordinates.initialise(z)
            z, _ = layer.coordinates(z)

    def global_metric(self, carrier: int = -1) -> PulledBackMetric:
        r"""Return the metric of one layer in the coordinates the first chart starts from, :math:`J^\top g J`.

        Those are the network's input, or what the encoder makes of it. It is a metric like any other, for curvature,
        geodesics and distances.

        Parameters
        ----------
        carrier
            Position among the layers that carry a metric, as in the list that :meth:`forward` returns.

        Raises
        ------
        ValueError
            If there is no such carrier.

        Examples
        --------
        >>> NDM(4, head=3).global_metric()(torch.zeros(5, 4)).shape
        torch.Size([5, 4, 4])
        """
        number, metric = self.carrier(carrier)
        return PulledBackMetric(metric, [layer.coordinates for layer in self._layers()][: number + 1])

    def carrier(self, carrier: int = -1) -> tuple[int, nn.Module]:
        """Return which layer is one of those that carry a metric, counted from 0 among all layers, and its metric.

        Parameters and errors are those of :meth:`global_metric`.

        Examples
        --------
        >>> NDM(4, head=3, depth=3, metric_layers=[1]).carrier()[0]
        1
        """
        found = [(number, layer.metric) for number, layer in enumerate(self._layers()) if layer.metric is not None]
        if not -len(found) <= carrier < len(found):
            raise ValueError(f"carrier must be one of the {len(found)} layers with a metric, got {carrier}")
        return found[carrier]

    def _layers(self) -> Iterable[ManifoldLayer]:
        return cast(Iterable[ManifoldLayer], self.layers)
