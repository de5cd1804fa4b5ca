"""The Neural Differential Manifold: a stack of manifold layers with a head."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates import alternating_couplings
from ndm_apps.engine.layer import Geometry, ManifoldLayer
from ndm_apps.engine.metric_net import MetricNet, StructureName

__all__ = ["NDM"]


class NDM(nn.Module):
    """A network each layer of which is a chart with a learned metric.

    The layers change coordinates by invertible maps, so all charts have the dimension of the input, and nothing of the
    input is lost before the head. With ``L_geo`` of :class:`~ndm_apps.engine.evolution.GeometricLoss` it is trained on
    ``L_task + lambda * L_geo``.

    Parameters
    ----------
    n
        Dimension of the input and of every chart.
    head
        Width of a linear head, or any module on the last chart's coordinates.
    depth
        Number of layers.
    metric_layers
        Numbers of the layers that carry a metric; all of them if not given.
    couplings, coupling_hidden
        Affine couplings in each coordinate map, and the hidden widths of their networks.
    metric_hidden, structure, eps
        Hidden widths, structure and floor of each Metric Net.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> import torch
    >>> outputs, geometries = NDM(4, head=3)(torch.zeros(5, 4))
    >>> outputs.shape, [geometry.g.shape for geometry in geometries]
    (torch.Size([5, 3]), [torch.Size([5, 4, 4]), torch.Size([5, 4, 4])])
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
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        carriers = set(range(depth) if metric_layers is None else metric_layers)
        if not carriers <= set(range(depth)):
            raise ValueError(f"metric_layers must be among 0 ... {depth - 1}, got {sorted(carriers)}")
        if isinstance(head, int) and head < 1:
            raise ValueError(f"head must be at least 1 or a module, got {head}")
        self.n = n
        self.layers = nn.ModuleList(
            ManifoldLayer(
                alternating_couplings(n, couplings, coupling_hidden),
                MetricNet(n, metric_hidden, structure, eps) if layer in carriers else None,
            )
            for layer in range(depth)
        )
        self.head = nn.Linear(n, head) if isinstance(head, int) else head

    def forward(self, x: Float[Tensor, "*batch n"]) -> tuple[Tensor, list[Geometry]]:
        """Return the head's output, and the geometry of each layer that carries a metric, first to last."""
        if x.ndim == 0 or x.shape[-1] != self.n:
            raise ValueError(f"x must have shape (..., {self.n}), got {tuple(x.shape)}")
        geometries = []
        for layer in self.layers:
            x, geometry = layer(x)
            if geometry is not None:
                geometries.append(geometry)
        return self.head(x), geometries
