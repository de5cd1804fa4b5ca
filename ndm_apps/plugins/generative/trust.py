"""Scores that might tell a bad image before a judge sees it, and how well each does: those that do not work as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.generative.immersed import log_volume, scalar_curvature
from ndm_apps.plugins.generative.judge import Judge
from ndm_apps.plugins.generative.metric import latent_metric
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.scores import Even, Reference, decoded, nearest

#: The share of images farthest from real ones that counts as far, and the points a path's scores are means over.
FAR, SPOTS = 0.2, 3
#: What each score is, for tables and captions.
MEANINGS = {
    "entropy": "entropy of the task head (labels)",
    "groups": "entropy of the head of groups",
    "density": "-log p(z)",
    "curvature": "scalar curvature R of the density metric",
    "curvature_size": "|R| of the density metric",
    "weight": "volume element of the geodesics' metric (log)",
    "pull_back_curvature": "scalar curvature R of the decoder's surface",
    "pull_back_curvature_size": "|R| of the decoder's surface",
    "pull_back_volume": "volume element of the decoder's surface (log)",
    "cycle": "distance of z to the code of its image",
    "pixel_entropy": "mean entropy of the pixels",
}
#: What paths have beside.
OF_PATHS = {"latent_chord": "distance of the codes at the ends"}


def point_scores(model: LatentModel, strengths: Mapping[str, float], z: Tensor) -> dict[str, Tensor]:
    """Return the scores of points (n, d), (n,) each: more is said to be worse, by a sign fixed before measuring.

    Parameters
    ----------
    model
        Whose points they are.
    strengths
        Of the metric: ``entropy``, ``density``, ``head``, and whether with ``labels``.
    """
    free = latent_metric(model, entropy=0.0, density=strengths["density"])
    images = decoded(model.decode, z)
    curvature, bent = free.curvature(z).detach(), scalar_curvature(model.decode, z)
    scores = {
        "groups": _entropy(model.groups(z)),
        "density": -model.log_density(z),
        "curvature": curvature,
        "curvature_size": curvature.abs(),
        "weight": latent_metric(model, **strengths).weight(z).log(),
        "pull_back_curvature": bent,
        "pull_back_curvature_size": bent.abs(),
        "pull_back_volume": log_volume(model.decode, z),
        "cycle": (model.encode(images).mean - z).norm(dim=-1),
    }
    if model.images:
        scores["pixel_entropy"] = _binary_entropy(images).flatten(1).mean(1)
    if model.classes:
        scores["entropy"] = _entropy(model.logits(z))
    return {name: scores[name].detach() for name in MEANINGS if name in scores}


def of_points(
    model: LatentModel, strengths: Mapping[str, float], z: Tensor, judge: Judge, reference: Reference, low: float
) -> dict[str, Any]:
    """Return how well each score of points (n, d) tells images of low confidence, and images far from real ones."""
    reading = judge.read(decoded(model.decode, z))
    far = nearest(reading.features, reference.features)
    targets = {"low": reading.confidence < low, "far": far > far.quantile(1 - FAR)}
    return _table(point_scores(model, strengths, z), targets)


def of_paths(
    model: LatentModel, strengths: Mapping[str, float], paths: Even, own: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return how well the means of scores along paths tell those with much of low confidence, and far from real.

    Parameters
    ----------
    model, strengths
        As :func:`point_scores`.
    paths
        Evenly taken.
    own
        Their :func:`~ndm_apps.plugins.generative.scores.path_scores`.
    """
    pairs, points, dimension = paths.z.shape
    spots = torch.linspace(0, points - 1, SPOTS + 2, device=paths.z.device).round().long()[1:-1]
    scores = point_scores(model, strengths, paths.z[:, spots].reshape(-1, dimension))
    means = {name: values.reshape(pairs, SPOTS).mean(1) for name, values in scores.items()}
    means["latent_chord"] = (paths.z[:, -1] - paths.z[:, 0]).norm(dim=-1)
    far = own["nearest_features"]
    targets = {"low": own["low"] > own["low"].median(), "far": far > far.quantile(1 - FAR)}
    return _table(means, targets)


def auroc(score: Tensor, target: Tensor) -> float | None:
    """Return the chance that a sample of the target scores above one that is not, ties counting half; None if one kind.

    Parameters
    ----------
    score, target
        Numbers and booleans, (n,).

    Examples
    --------
    >>> auroc(torch.tensor([1.0, 2.0, 3.0, 3.0]), torch.tensor([False, False, True, True]))
    1.0
    """
    hits, others = int(target.sum()), int((~target).sum())
    if not hits or not others:
        return None
    _, inverse, counts = score.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts.double() - 1) / 2
    return (ranks[inverse][target].sum().item() - hits * (hits + 1) / 2) / (hits * others)


def _table(scores: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Any]:
    found = {name: {key: auroc(values, bad) for key, bad in targets.items()} for name, values in scores.items()}
    return {"shares": {key: bad.double().mean().item() for key, bad in targets.items()}, "auroc": found}


def _entropy(logits: Tensor) -> Tensor:
    return torch.special.entr(logits.softmax(-1)).sum(-1)


def _binary_entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)
