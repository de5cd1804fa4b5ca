"""A map of the latent space: density, weight and curvature on a plane, with paths in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.generative.metric import LatentMetric
from ndm_apps.plugins.generative.model import LatentModel

#: Grid points along each side, and by how much of the triangle's size the map is larger than it.
POINTS, MARGIN = 90, 0.35
#: Points whose curvature is worked out together: second derivatives of all parts of the density are held for each.
CHUNK = 1000


class Plane(NamedTuple):
    """A plane in the latent space: origin (d,) and two orthonormal directions, (2, d)."""

    origin: Tensor
    basis: Tensor

    def coordinates(self, z: Tensor) -> Tensor:
        """Return the coordinates (..., 2) of points (..., d), projected."""
        return (z - self.origin) @ self.basis.mT

    def points(self, coordinates: Tensor) -> Tensor:
        """Return the points (..., d) at coordinates (..., 2)."""
        return self.origin + coordinates @ self.basis


def plane_through(corners: Tensor) -> Plane:
    """Return the plane through three points (3, d), or all of a plane.

    Examples
    --------
    >>> plane = plane_through(torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 0.0, 5.0]]))
    >>> plane.coordinates(torch.tensor([1.0, 0.0, 5.0])).abs().tolist()
    [0.0, 5.0]
    """
    sides = corners[1:] - corners[0]
    basis = torch.linalg.qr(sides.mT).Q.mT
    return Plane(corners[0], basis)


@torch.no_grad()
def latent_map(
    model: LatentModel, metric: LatentMetric, corners: Tensor, names: tuple[str, ...], paths: Mapping[str, Tensor]
) -> Picture:
    """Draw density, weight and curvature on the plane through three codes, and the paths between them.

    Parameters
    ----------
    model, metric
        Whose latent space and metric are drawn.
    corners
        Codes of three images, (3, d).
    names
        Of their classes.
    paths
        By name, between the corners, (paths, nodes, d); off the plane they are projected onto it.
    """
    plane = plane_through(corners)
    at = plane.coordinates(corners)
    low, high = at.amin(0), at.amax(0)
    margin = MARGIN * (high - low).max()
    sides = [torch.linspace(float(low[k] - margin), float(high[k] + margin), POINTS).to(corners) for k in (0, 1)]
    grid = plane.points(torch.stack(torch.meshgrid(*sides, indexing="xy"), -1))
    fields = {
        "log density of codes": model.log_density(grid),
        "log of the weight of length": metric.weight(grid).log(),
        "scalar curvature": torch.cat([metric.curvature(part) for part in grid.flatten(0, 1).split(CHUNK)]).view(
            POINTS, -1
        ),
    }
    figure = Figure(figsize=(11.4, 3.5), layout="constrained")
    panels = figure.subplots(1, len(fields), sharey=True)
    for axes, (title, values) in zip(panels, fields.items(), strict=True):
        _field(axes, title, _array(values), [_array(side) for side in sides])
        for number, (name, lines) in enumerate(paths.items()):
            for place, path in enumerate(lines):
                x, y = _array(plane.coordinates(path)).T
                axes.plot(x, y, color=f"C{number}", linewidth=1.7, label=name if place == 0 else None)
        for corner, name in zip(_array(at), names, strict=True):
            axes.plot(*corner, "o", color="white", markeredgecolor="black", markersize=5)
            axes.annotate(name, corner, xytext=(4, 4), textcoords="offset points", fontsize=9)
        axes.set_aspect("equal")
    panels[0].legend(fontsize="x-small", loc="upper left", frameon=True)
    dimension = corners.shape[1]
    where = (
        "the latent space"
        if dimension == 2
        else f"the plane through three codes in the latent space of {dimension} dimensions; paths are projected onto "
        "it, and what they meet off it is not seen"
    )
    return Picture(figure, f"Density of codes, how much the metric stretches lengths, and its curvature, on {where}.")


def _field(axes: Axes, title: str, values: np.ndarray, sides: list[np.ndarray]) -> None:
    axes.grid(False)
    signed = title == "scalar curvature"
    bound = float(np.quantile(np.abs(values), 0.98)) or 1.0
    least, most = (-bound, bound) if signed else np.quantile(values, [0.02, 1.0])
    colours = "coolwarm" if signed else "viridis"
    drawn = axes.pcolormesh(*sides, values, cmap=colours, vmin=least, vmax=most, shading="nearest", rasterized=True)
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
    axes.set_title(title)


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
