"""Groups of codes and their centres, by the distances of the latent space's metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from ndm_apps.geometry import FrechetMean, Metric, frechet_mean
from ndm_apps.geometry.discrete_energy import chords
from ndm_apps.geometry.finsler import root
from ndm_apps.geometry.structured import as_finsler

_CHORDS = 8  # of a straight line between neighbours
_ROUNDS = 100


@dataclass(frozen=True)
class Clusters:
    """Groups of points around some of them.

    Attributes
    ----------
    medoids
        Numbers of the points at the centres, (k,).
    labels
        Number of the group of each point, (n,).
    distance
        From each point to its centre along the graph of neighbours, (n,).
    """

    medoids: Tensor
    labels: Tensor
    distance: Tensor


def class_means(metric: Metric, z: Tensor, labels: Tensor, iterations: int = 15) -> FrechetMean:
    """Return the Frechet mean of the points (n, d) of each class, "the average shoe"; classes in ascending order.

    Parameters
    ----------
    metric
        Of the latent space, (..., d) -> (..., d, d).
    z, labels
        Points (n, d) and their classes (n,); as many of each are used as the rarest class has.
    iterations
        Most steps.

    Raises
    ------
    ValueError
        If there are no points, or as many labels as points are missing.

    References
    ----------
    Karcher, "Riemannian center of mass and mollifier smoothing", Comm. Pure Appl. Math. 30, 1977.
    """
    if len(z) == 0 or labels.shape != z.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(z)},), one for each of at least one point, got {tuple(labels.shape)}"
        )
    least = int(labels.unique(return_counts=True)[1].min())
    sets = torch.stack([z[labels == label][:least] for label in labels.unique()])
    return frechet_mean(metric, sets, iterations=iterations, method="gradient")


def geodesic_medoids(
    metric: Metric, z: Tensor, count: int, generator: torch.Generator, *, neighbours: int = 10
) -> Clusters:
    r"""Divide points into groups around medoids by the length of paths that hop between neighbours.

    The metric measures the straight lines from each point to its nearest neighbours; the shortest paths on that graph
    are no shorter than geodesics, and cost one pass through the metric for all pairs together. Medoids begin far from
    each other (k-means++) and move, in turn with the assignment, to where the sum of squared distances is least.

    Parameters
    ----------
    metric
        Of the latent space, (..., d) -> (..., d, d).
    z
        Points (n, d).
    count
        How many groups, from 1 to n.
    generator
        Draws the first medoids.
    neighbours
        Edges of each point. Where they leave the graph in pieces, points of different pieces are infinitely far apart.

    Raises
    ------
    ValueError
        If ``count`` or ``neighbours`` is out of range.

    References
    ----------
    Tenenbaum, de Silva, Langford, "A Global Geometric Framework for Nonlinear Dimensionality Reduction", Science 290,
    2000; Kaufman, Rousseeuw, "Finding Groups in Data", 1990.
    """
    for name, value, most in (("count", count, len(z)), ("neighbours", neighbours, len(z) - 1)):
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be from 1 to {most} for {len(z)} points, got {value}")
    squared = graph_distances(metric, z, neighbours).square()
    chosen = torch.randint(len(z), (1,), generator=generator, device=z.device)
    while len(chosen) < count:
        share = squared[chosen].amin(0)
        # A piece of the graph without a medoid is as far as can be.
        share = torch.where(share.isinf(), 1e6 * share[share.isfinite()].max().clamp(min=1), share)
        chosen = torch.cat((chosen, torch.multinomial(share, 1, generator=generator)))
    for _ in range(_ROUNDS):
        labels = squared[chosen].argmin(0)
        inside = [(labels == k).nonzero().squeeze(-1) for k in range(count)]
        moved = torch.stack([part[squared[part][:, part].sum(1).argmin()] for part in inside])
        if torch.equal(moved, chosen):
            break
        chosen = moved
    labels = squared[chosen].argmin(0)
    return Clusters(chosen, labels, squared[chosen].amin(0).sqrt())


def graph_distances(metric: Metric, z: Tensor, neighbours: int) -> Tensor:
    """Return lengths of the shortest paths from neighbour to neighbour between all points (n, d), (n, n)."""
    near = torch.cdist(z, z).topk(neighbours + 1, largest=False).indices[:, 1:]
    start, end = z.repeat_interleave(neighbours, 0), z[near.flatten()]
    time = torch.linspace(0, 1, _CHORDS + 1, dtype=z.dtype, device=z.device)[:, None]
    norm = as_finsler(metric)
    with torch.no_grad():
        middle, chord = chords(start[:, None] * (1 - time) + end[:, None] * time)
        length = root(norm.square(norm.coefficients(middle), chord)).sum(-1)
    rows = np.repeat(np.arange(len(z)), neighbours)
    graph = coo_matrix((length.double().cpu().numpy(), (rows, near.flatten().cpu().numpy())), shape=(len(z), len(z)))
    return torch.as_tensor(shortest_path(graph.tocsr(), directed=False)).to(z)
