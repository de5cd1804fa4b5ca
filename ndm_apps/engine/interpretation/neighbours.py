"""Whether neighbours by geodesic distance agree better about labels than neighbours by Euclidean distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ndm_apps.engine.interpretation.statistics import Estimate, difference_test, mean_estimate
from ndm_apps.engine.interpretation.view import View
from ndm_apps.geometry import relaxed_geodesic

__all__ = ["Neighbours", "neighbour_agreement"]

K = 5
CANDIDATES = 30  # nearest by Euclidean distance: among them the geodesic neighbours are looked for
SHORTLIST = 12  # of the candidates, those whose straight lines are shortest: their geodesics are computed


@dataclass(frozen=True)
class Neighbours:
    """Label agreement of the five nearest training samples with each query.

    Attributes
    ----------
    geodesic, euclidean
        Mean share of neighbours with the query's label.
    gain
        The difference, by query.
    shared
        Mean share of neighbours that both distances name.
    converged
        Share of the geodesics that converged.
    """

    geodesic: Estimate
    euclidean: Estimate
    gain: Estimate
    shared: Estimate
    converged: float


def neighbour_agreement(
    view: View,
    z: Float[Tensor, "samples n"],
    y: Int[Tensor, " samples"],
    train_z: Float[Tensor, "train n"],
    train_y: Int[Tensor, " train"],
    generator: torch.Generator,
    queries: int = 40,
) -> Neighbours:
    """Compare the five nearest training samples of random queries by two distances.

    The geodesic neighbours are looked for among the 30 nearest by Euclidean distance, and there, to save geodesics,
    among the 12 whose straight lines are shortest in the metric of the line's middle.

    Parameters
    ----------
    view
        The classifier.
    z, y
        Held-out samples in the coordinates of the view, and their labels.
    train_z, train_y
        Training samples and labels, at least 5.
    generator
        Draws the queries.
    queries
        How many, at most.

    Raises
    ------
    ValueError
        If there are fewer than 5 training samples.
    """
    if len(train_z) < K:
        raise ValueError(f"train_z must hold at least {K} samples, got {len(train_z)}")
    drawn = torch.randperm(len(z), generator=generator)[:queries].to(z.device)
    query, label = z[drawn], y[drawn]
    near = torch.cdist(query, train_z).topk(min(CANDIDATES, len(train_z)), largest=False).indices
    straight = _squared_length(view, query, train_z[near])
    short = near.gather(1, straight.topk(min(SHORTLIST, near.shape[1]), largest=False).indices)
    found = relaxed_geodesic(view.metric, query.repeat_interleave(short.shape[1], 0), train_z[short.flatten()])
    nearest = short.gather(1, found.length.reshape(short.shape).topk(K, largest=False).indices)
    geodesic, euclidean = ((train_y[chosen] == label[:, None]).double().mean(1) for chosen in (nearest, near[:, :K]))
    shared = (nearest[:, :, None] == near[:, None, :K]).any(2).double().mean(1)
    return Neighbours(
        mean_estimate(geodesic, generator),
        mean_estimate(euclidean, generator),
        difference_test(geodesic - euclidean, generator),
        mean_estimate(shared, generator),
        float(found.converged.double().mean()),
    )


@torch.no_grad()
def _squared_length(view: View, query: Tensor, others: Tensor) -> Tensor:
    """Return the squared length of straight lines to (queries, k, n) in the metric of their middles, (queries, k)."""
    rows = []
    for start, ends in zip(query, others, strict=True):
        chord = ends - start
        rows.append(((view.metric(start + chord / 2) @ chord[..., None])[..., 0] * chord).sum(-1))
    return torch.stack(rows)
