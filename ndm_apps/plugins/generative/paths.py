"""Paths between points of the latent space: straight lines, great arcs and geodesics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ndm_apps.geometry import Metric, geodesic
from ndm_apps.plugins.generative.metric import LatentMetric
from ndm_apps.plugins.generative.pull_back import PullBack

_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Paths:
    """Geodesics between pairs of points, or from point to point along a row of stations.

    Attributes
    ----------
    points
        Nodes, at equal distances within each leg, (b, points, d).
    length, energy
        In the metric; of several legs, sums, (b,).
    converged
        Whether every leg came to rest, to the tolerance asked for, (b,).
    """

    points: Tensor
    length: Tensor
    energy: Tensor
    converged: Tensor


def line(x: Tensor, y: Tensor, points: int) -> Tensor:
    """Return straight lines between pairs of points (b, d), as nodes (b, points, d)."""
    time = _times(x, points)
    return (1 - time) * x[:, None] + time * y[:, None]


def slerp(x: Tensor, y: Tensor, points: int) -> Tensor:
    r"""Return great arcs between pairs of points (b, d) as seen from 0, as nodes (b, points, d).

    .. math:: c(t) = \frac{\sin((1 - t)\, \omega)}{\sin \omega}\, x + \frac{\sin(t\, \omega)}{\sin \omega}\, y

    with :math:`\omega` the angle between x and y. Where that is 0 or 180 degrees there is no one arc; the straight line
    is returned.

    References
    ----------
    White, "Sampling Generative Networks", 2016, arXiv:1609.04468.
    """
    time = _times(x, points)
    angle = torch.nn.functional.cosine_similarity(x, y, dim=-1).clamp(-1, 1).arccos()[:, None, None]
    sine = angle.sin()
    arc = (((1 - time) * angle).sin() * x[:, None] + (time * angle).sin() * y[:, None]) / sine
    return torch.where(sine > 1e-3, arc, line(x, y, points))


def geodesic_paths(
    metric: Metric,
    x: Tensor,
    y: Tensor,
    points: int = 33,
    *,
    through: Tensor | None = None,
    iterations: int = 20,
    tolerance: float | None = None,
) -> Paths:
    """Return geodesics between pairs of points (b, d), near their straight lines.

    Parameters
    ----------
    metric
        Of the latent space, (..., d) -> (..., d, d), such as :func:`~ndm_apps.plugins.generative.metric.latent_metric`.
    x, y
        End points, (b, d).
    points
        Nodes of each leg.
    through
        Stations on the way in their order, (b, k, d): the path is a geodesic from each to the next, with
        ``(k + 1) (points - 1) + 1`` nodes in all.
    iterations
        Most steps, in units of d gradients.
    tolerance
        Share of its energy that a path has at most left to lose where it has converged. By default 1e-5 in latent
        metrics, where 33 nodes put energies in error by 1e-3 of themselves and more, and nodes by ten times as much as
        what is left to lose does; else rounding.

    Raises
    ------
    ValueError
        If an end or station is not finite or further from all codes than that of an image would be, or shapes do not
        fit.
    """
    stations = [x, *([] if through is None else through.unbind(1)), y]
    if isinstance(metric, LatentMetric | PullBack):
        for name, points_of in zip(("x", *["through"] * (len(stations) - 2), "y"), stations, strict=True):
            metric.model.check(name, points_of)
    if tolerance is None and isinstance(metric, LatentMetric):
        tolerance = _TOLERANCE
    # The legs of one path lie one after another in memory, so that each keeps its path's classes.
    ends = torch.stack(stations, 1)
    legs = len(stations) - 1
    if legs > 1 and isinstance(metric, LatentMetric):
        metric = metric.part(torch.arange(len(x), device=x.device).repeat_interleave(legs))
    found = geodesic(
        metric,
        ends[:, :-1].flatten(0, 1),
        ends[:, 1:].flatten(0, 1),
        points,
        refinements=0,
        iterations=iterations,
        method="gradient",
        tolerance=tolerance,
    )
    nodes = found.points.detach().unflatten(0, (len(x), legs))
    path = torch.cat((nodes[:, :, :-1].flatten(1, 2), nodes[:, -1, -1:]), 1)
    length, energy = (t.detach().reshape(len(x), legs).sum(1) for t in (found.length, found.energy))
    return Paths(path, length, energy, found.converged.reshape(len(x), legs).all(1))


def _times(x: Tensor, points: int) -> Tensor:
    return torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)[:, None]
