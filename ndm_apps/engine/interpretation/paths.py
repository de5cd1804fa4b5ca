"""Geodesics and straight lines between samples of different classes: what the classifier and the data say of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ndm_apps.engine.interpretation.view import View
from ndm_apps.geometry import relaxed_geodesic

__all__ = ["Interpolations", "Lines", "interpolations"]


@dataclass(frozen=True)
class Lines:
    """Curves between pairs of samples, at equal steps of time.

    Attributes
    ----------
    points
        Nodes, (pairs, points, n).
    length, energy
        In the metric, (pairs,).
    start, end
        Probability of the classes of the two ends along each curve, (pairs, points).
    nearest
        Euclidean distance to the nearest training sample over the mean distance of training samples from their own
        nearest, (pairs, points): 1 is where data are as dense as usual.
    """

    points: Float[Tensor, "pairs points n"]
    length: Float[Tensor, " pairs"]
    energy: Float[Tensor, " pairs"]
    start: Float[Tensor, "pairs points"]
    end: Float[Tensor, "pairs points"]
    nearest: Float[Tensor, "pairs points"]

    @property
    def other(self) -> Float[Tensor, "pairs points"]:
        """Probability of classes that are neither end's."""
        return (1 - self.start - self.end).clamp(min=0)


@dataclass(frozen=True)
class Interpolations:
    """Pairs of samples of different classes, joined by geodesics and by straight lines of the chart.

    Attributes
    ----------
    pairs
        Numbers of the samples, (pairs, 2).
    geodesic, straight
        The curves.
    curvature, log_volume
        Along the geodesics, (pairs, points).
    converged
        Of the geodesics, (pairs,).
    """

    pairs: Int[Tensor, "pairs 2"]
    geodesic: Lines
    straight: Lines
    curvature: Float[Tensor, "pairs points"]
    log_volume: Float[Tensor, "pairs points"]
    converged: Bool[Tensor, " pairs"]


def interpolations(
    view: View,
    z: Float[Tensor, "samples n"],
    y: Int[Tensor, " samples"],
    train_z: Float[Tensor, "train n"],
    generator: torch.Generator,
    pairs: int = 24,
    points: int = 17,
) -> Interpolations:
    """Join random samples of different classes.

    Parameters
    ----------
    view
        The classifier.
    z, y
        Held-out samples in the coordinates of the view, and their labels.
    train_z
        Training samples, at least 2, all different: where they are dense, data are.
    generator
        Draws the pairs.
    pairs, points
        How many pairs, and nodes on each curve.

    Raises
    ------
    ValueError
        If all samples have one label.
    """
    if not bool((y != y[:1]).any()):
        raise ValueError(f"y must hold at least two classes, got only {y.tolist()[:1]}")
    drawn = torch.randint(len(z), (5000, 2), generator=generator).to(y.device)
    drawn = drawn[y[drawn[:, 0]] != y[drawn[:, 1]]][:pairs]
    found = relaxed_geodesic(view.metric, z[drawn[:, 0]], z[drawn[:, 1]], points=points)
    apart = torch.cdist(train_z, train_z).fill_diagonal_(torch.inf).amin(1).mean()
    classes = y[drawn]

    def lines(nodes: Tensor, length: Tensor, energy: Tensor) -> Lines:
        with torch.no_grad():
            probability = view.classify(nodes).softmax(-1)
        start, end = (
            probability.gather(-1, one[:, None, None].expand(-1, points, 1))[..., 0] for one in classes.unbind(1)
        )
        nearest = torch.cdist(nodes.flatten(0, 1), train_z).amin(1).reshape(start.shape) / apart
        return Lines(nodes, length, energy, start, end, nearest)

    along = found.points.flatten(0, 1)
    return Interpolations(
        pairs=drawn,
        geodesic=lines(found.points, found.length, found.energy),
        straight=lines(found.straight, found.straight_length, found.straight_energy),
        curvature=view.curvature(along).reshape(-1, points),
        log_volume=view.log_volume(along).reshape(-1, points),
        converged=found.converged,
    )
