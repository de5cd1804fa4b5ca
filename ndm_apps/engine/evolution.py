r"""Evolution Layer: the geometric part of the loss, :math:`L = L_\text{task} + \lambda(t) L_\text{geo}`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.engine.layer import Geometry

__all__ = ["GeometricLoss", "GeometricTerms", "constant", "linear_warmup"]


class GeometricTerms(NamedTuple):
    """The geometric loss and its two terms before weighting."""

    total: Tensor
    curvature: Tensor
    volume: Tensor


class GeometricLoss(nn.Module):
    r"""Penalty on curvature, and on volume elements that differ from point to point.

    .. math::
        L_\text{geo} = a\, L_\text{curv} + b\, L_\text{vol}, \qquad
        L_\text{curv} = E[R^2], \qquad L_\text{vol} = \mathrm{Var}(\sqrt{\det g})

    over the points of the batch, averaged over layers.

    Parameters
    ----------
    curvature, volume
        The weights a and b. A term of weight zero is not computed, and reported as nan.
    curv_points
        Number of points, drawn anew each time, at which the curvature is evaluated (all if the batch has fewer);
        unbiased, since :math:`L_\text{curv}` is a mean. All points if not given.
    generator
        Source of the draw, on the CPU; torch's global one if not given.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> from ndm_apps.geometry import Sphere
    >>> x = torch.zeros(7, 2, dtype=torch.float64)
    >>> terms = GeometricLoss()(Geometry(x, torch.zeros(7), Sphere(2)))
    >>> round(terms.curvature.item(), 6), round(terms.volume.item(), 6)
    (4.0, 0.0)
    """

    def __init__(
        self,
        curvature: float = 1.0,
        volume: float = 1.0,
        *,
        curv_points: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, weight in (("curvature", curvature), ("volume", volume)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {weight}")
        if curv_points is not None and curv_points < 1:
            raise ValueError(f"curv_points must be at least 1, got {curv_points}")
        self.curvature, self.volume = curvature, volume
        self.curv_points, self.generator = curv_points, generator

    def forward(self, geometries: Geometry | Sequence[Geometry]) -> GeometricTerms:
        """Return the loss of one or several layers."""
        layers = [geometries] if isinstance(geometries, Geometry) else list(geometries)
        if not layers:
            raise ValueError("geometries must hold at least one layer, got none")
        skipped = layers[0].point.new_tensor(math.nan)
        total = layers[0].point.new_zeros(())
        curvature = volume = skipped
        if self.curvature:
            curvature = torch.stack([self._sample(layer).curvature.square().mean() for layer in layers]).mean()
            total = total + self.curvature * curvature
        if self.volume:
            volumes = [layer.log_volume.exp() for layer in layers]
            volume = torch.stack([part.var(correction=0) for part in volumes]).mean()
            total = total + self.volume * volume
        return GeometricTerms(total, curvature, volume)

    def _sample(self, geometry: Geometry) -> Geometry:
        count = geometry.log_abs_det.numel()
        if self.curv_points is None or self.curv_points >= count:
            return geometry
        draw = torch.randperm(count, generator=self.generator)[: self.curv_points]
        return geometry.at(draw.to(geometry.point.device))


def constant(value: float) -> Callable[[int], float]:
    """Return the schedule that is ``value`` at every step."""
    return lambda step: value


def linear_warmup(value: float, steps: int) -> Callable[[int], float]:
    """Return the schedule that rises from 0 at step 0 to ``value`` at ``steps`` and stays there.

    Examples
    --------
    >>> [linear_warmup(0.1, 2)(step) for step in range(4)]
    [0.0, 0.05, 0.1, 0.1]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return lambda step: value * min(step / steps, 1.0)
