"""A classifier seen from one of its charts: how points get there, the metric there, and the classes from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.layer import ManifoldLayer
from ndm_apps.engine.network import NDM
from ndm_apps.engine.pulled_back import log_volume
from ndm_apps.geometry import Metric, scalar_curvature

__all__ = ["View", "view_of"]

_POINTS = 64  # points whose curvature is computed at a time: that of a full metric holds n^3 numbers for each


@dataclass(frozen=True)
class View:
    """What the questions are asked of.

    Attributes
    ----------
    encode
        Inputs to coordinates, (samples, features) -> (samples, n).
    metric
        The metric in these coordinates, (..., n) -> (..., n, n).
    classify
        Coordinates to logits, (..., n) -> (..., classes).
    """

    encode: Callable[[Tensor], Tensor]
    metric: Metric
    classify: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def curvature(self, z: Float[Tensor, "samples n"]) -> Float[Tensor, " samples"]:
        """Return the scalar curvature at points."""
        return torch.cat([scalar_curvature(self.metric, part) for part in torch.split(z, _POINTS)])

    @torch.no_grad()
    def log_volume(self, z: Float[Tensor, "samples n"]) -> Float[Tensor, " samples"]:
        r"""Return :math:`\log \sqrt{\det g}` at points."""
        return torch.cat([log_volume(self.metric, part) for part in torch.split(z, _POINTS)])

    @torch.no_grad()
    def margin(self, z: Float[Tensor, "samples n"]) -> Float[Tensor, " samples"]:
        """Return the logit of the likeliest class less that of the next: 0 on the decision boundary."""
        first, second = self.classify(z).topk(2, dim=-1).values.unbind(-1)
        return first - second


def view_of(network: NDM, carrier: int = -1) -> View:
    """Return the view from the chart of a layer.

    Parameters
    ----------
    network
        A classifier.
    carrier
        Position among the layers that carry a metric, as in the list that the network returns; the last if not said.

    Raises
    ------
    ValueError
        If there is no such layer.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> network, x = NDM(4, head=3), torch.zeros(5, 4)
    >>> view = view_of(network, 0)
    >>> torch.equal(view.classify(view.encode(x)), network(x)[0])
    True
    """
    number, metric = network.carrier(carrier)
    after = cast(list[ManifoldLayer], list(network.layers)[number + 1 :])

    def encode(x: Tensor) -> Tensor:
        point: Tensor = network(x)[1][carrier].point
        return point

    def classify(z: Tensor) -> Tensor:
        for layer in after:
            z, _ = layer.coordinates(z)
        logits: Tensor = network.head(z)
        return logits

    return View(encode, metric, classify)
