r"""Evolution Layer: the geometric part of the loss, :math:`L = L_\text{task} + \lambda(t) L_\text{geo}`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.compatibility import compatibility
from ndm_apps.engine.layer import Geometry
from ndm_apps.engine.metric_net import MetricNet
from ndm_apps.engine.parallel import ALONE, Workers

__all__ = ["GeometricLoss", "GeometricTerms", "volume_variance"]

T = TypeVar("T")


class GeometricTerms(NamedTuple):
    """The geometric loss and its three terms before weighting."""

    total: Tensor
    curvature: Tensor
    volume: Tensor
    compatibility: Tensor


class GeometricLoss(nn.Module):
    r"""Penalty on curvature, on volume elements that differ from point to point, and on charts that disagree.

    .. math::
        L_\text{geo} = a\, L_\text{curv} + b\, L_\text{vol} + c\, L_\text{compat}, \qquad
        L_\text{curv} = E[\rho(R)], \quad L_\text{vol} = \mathrm{Var}(\sqrt{\det g}), \quad
        L_\text{compat} = E\, |g_i - J^\top g_{i+1} J|^2_{g_i}

    over the points of the batch, averaged over layers. :math:`\rho(R) = R^2`, or with ``robust`` the Cauchy form
    :math:`\delta^2 \log(1 + (R / \delta)^2)`: the same near 0, and of bounded gradient where R is large. A form that
    grows like :math:`|R|` would not do: R scales as :math:`1 / g`, so :math:`|\nabla R|` grows with :math:`|R|` itself,
    while :math:`|\nabla \log R|` does not.

    In training mode each :class:`~ndm_apps.engine.metric_net.MetricNet` that is neither frozen nor in evaluation mode
    first has its condition number bounded at the points of the batch, before anything is factorised.

    Parameters
    ----------
    curvature, volume, compatibility
        The weights a, b and c. A term of weight zero is not computed, and reported as nan.
    robust
        :math:`\delta`, the scalar curvature from which on points count less; plain :math:`R^2` if not given. For a few
        outliers: it is too weak to hold back a metric that shrinks everywhere, see ``relative_volume``.
    relative_volume
        Whether :math:`L_\text{vol}` is divided by the square of the mean volume element. The plain variance is least
        where all volume is gone, and R, which scales as :math:`1 / g`, grows on the way there; the relative one does
        not depend on the scale of g.
    curv_points
        Number of points, drawn anew each time, at which the curvature is evaluated (all if the batch has fewer);
        unbiased, since :math:`L_\text{curv}` is a mean. All points if not given.
    every
        In training mode, evaluate the curvature at every so many calls only, with its weight multiplied by as much so
        that the mean gradient stays the same. In between the term is absent from the total, and reported as nan.
    generator
        Source of the draw, on the CPU; torch's global one if not given.
    workers
        The processes that share the points. The variance of volume elements and the bound on condition numbers are
        those of all of them; the other terms are means, which averaging gradients over the processes makes whole.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113. Karras et al., "Analyzing and improving the image
    quality of StyleGAN", 2020, arXiv:1912.04958 (a costly penalty at every k-th step).

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
        compatibility: float = 0.0,
        *,
        robust: float | None = None,
        relative_volume: bool = False,
        curv_points: int | None = None,
        every: int = 1,
        generator: torch.Generator | None = None,
        workers: Workers = ALONE,
    ) -> None:
        super().__init__()
        for name, weight in (("curvature", curvature), ("volume", volume), ("compatibility", compatibility)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {weight}")
        if robust is not None and not 0 < robust < math.inf:
            raise ValueError(f"robust must be positive and finite, got {robust}")
        if curv_points is not None and curv_points < 1:
            raise ValueError(f"curv_points must be at least 1, got {curv_points}")
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        self.curvature, self.volume, self.compatibility = curvature, volume, compatibility
        self.robust, self.relative_volume = robust, relative_volume
        self.curv_points, self.every, self.generator = curv_points, every, generator
        self.workers = workers
        self.calls = 0

    def forward(self, geometries: Geometry | Sequence[Geometry]) -> GeometricTerms:
        """Return the loss of one or several layers.

        Raises
        ------
        ValueError
            If there is no layer or no point, or a metric is not positive definite at some point: the message names the
            layer, by its position in ``geometries``, the sample, and its smallest eigenvalue.
        """
        layers = [geometries] if isinstance(geometries, Geometry) else list(geometries)
        if not layers:
            raise ValueError("geometries must hold at least one layer, got none")
        if not layers[0].point.numel():
            raise ValueError(f"geometries must hold at least one point, got shape {tuple(layers[0].point.shape)}")
        due = not self.training or self.calls % self.every == 0
        repeat = self.every if self.training else 1
        if self.training:
            self.calls += 1
            _at_each(layers, self._bound_condition)
        curvature = _mean(layers, self._curvature) if self.curvature and due else None
        volume = _mean(layers, self._volume) if self.volume else None
        agreement = compatibility(layers) if self.compatibility else None
        weighted = ((self.curvature * repeat, curvature), (self.volume, volume), (self.compatibility, agreement))
        zero = layers[0].point.new_zeros(())
        total = sum((weight * term for weight, term in weighted if term is not None), start=zero)
        return GeometricTerms(total, *(zero + math.nan if term is None else term for _, term in weighted))

    def _curvature(self, geometry: Geometry) -> Tensor:
        curvature = self._sample(geometry).curvature
        if self.robust is None:
            return curvature.square().mean()
        return self.robust**2 * (curvature / self.robust).square().log1p().mean()

    def _volume(self, geometry: Geometry) -> Tensor:
        return volume_variance(self.workers.gather(geometry.log_volume), relative=self.relative_volume)

    def _bound_condition(self, geometry: Geometry) -> None:
        # A frozen metric is to stay what it is.
        metric = geometry.metric
        if isinstance(metric, MetricNet) and metric.training and any(p.requires_grad for p in metric.parameters()):
            metric.structure.eps = self.workers.largest(metric.bound_condition(geometry.point))

    def _sample(self, geometry: Geometry) -> Geometry:
        count = geometry.log_abs_det.numel()
        if self.curv_points is None or self.curv_points >= count:
            return geometry
        draw = torch.randperm(count, generator=self.generator)[: self.curv_points]
        return geometry.at(draw.to(geometry.point.device))

    def get_extra_state(self) -> Tensor:
        """Return the number of calls so far, which decides when the curvature is next due."""
        return torch.tensor(self.calls)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.calls = int(state)


def volume_variance(log_volume: Float[Tensor, "*batch"], *, relative: bool = False) -> Tensor:
    r"""Return the variance of the volume elements :math:`\sqrt{\det g}` from their logarithms.

    They are taken relative to the largest one, which multiplies the result at the end: nothing overflows before the
    variance itself does. Where it would, the largest one counts as the largest number whose square can be summed, so
    that the value and its gradient stay finite and still ask for equal volumes. With ``relative`` the variance is
    divided by the square of the mean, and never exceeds the number of points.

    Examples
    --------
    >>> log_volume = torch.tensor([1.0, 3.0]).log()
    >>> volume_variance(log_volume).item(), volume_variance(log_volume, relative=True).item()
    (1.0, 0.25)
    >>> bool(volume_variance(torch.tensor([500.0, 501.0])).isfinite())
    True
    """
    if relative:
        log_mean = log_volume.flatten().logsumexp(0) - math.log(log_volume.numel())
        return ((log_volume - log_mean).exp() - 1).square().mean()
    largest = log_volume.detach().amax()
    limit = math.log(torch.finfo(log_volume.dtype).max / log_volume.numel()) / 2
    scaled = (log_volume - largest).exp()
    return ((scaled - scaled.mean()) * largest.clamp(max=limit).exp()).square().mean()


def _mean(layers: Sequence[Geometry], term: Callable[[Geometry], Tensor]) -> Tensor:
    return torch.stack(_at_each(layers, term)).mean()


def _at_each(layers: Sequence[Geometry], function: Callable[[Geometry], T]) -> list[T]:
    """Return the function's value at each layer; an error says at which one it happened."""
    values = []
    for number, layer in enumerate(layers):
        try:
            values.append(function(layer))
        except ValueError as error:
            raise ValueError(f"layer {number}: {error}") from error
    return values
