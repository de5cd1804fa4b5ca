"""Ways to draw images, and what each is worth: confidence, distance to real images, classes, and the share kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.generative.frechet import frechet_distance
from ndm_apps.plugins.generative.judge import Judge
from ndm_apps.plugins.generative.model import LatentModel
from ndm_apps.plugins.generative.paths import line
from ndm_apps.plugins.generative.scores import Decode, Reference, decoded, nearest

#: Of the points drawn, the share that rejection keeps; points taken of each path between two codes.
KEPT, OF_PATH = 0.5, 8
#: What each way is, for tables and captions.
MEANINGS = {
    "reconstruction": "codes of real images, decoded",
    "prior": "the prior of the training",
    "density": "the density of the aggregated posterior",
    "line": "points of straight lines between codes",
    "geodesic": "points of geodesics between codes",
    "walk": "Riemannian random walk from codes",
    "certain": "density, the half of least head entropy (labels)",
    "certain_by_class": "density, that half of each class (labels)",
    "dense": "density, the half of highest density",
}


def drawn(
    model: LatentModel,
    codes: Tensor,
    count: int,
    generator: torch.Generator,
    geodesics: Callable[[Tensor, Tensor], Tensor] | None,
    walk: Callable[[Tensor, torch.Generator], Tensor] | None,
) -> dict[str, tuple[Tensor, float]]:
    """Return points (count, d) drawn in each way, and the share that was kept of what was drawn.

    Parameters
    ----------
    model
        Whose latent space is drawn from.
    codes
        Of real images, (n, d): where paths end and walks start.
    count
        How many points.
    generator
        Of every choice.
    geodesics
        From ends (b, d) and (b, d) to paths (b, nodes, d); None to leave these out.
    walk
        From starts (b, d) to where walks end, (b, d); None to leave them out.
    """
    many = model.sample(math.ceil(count / KEPT), generator)
    found = {
        "prior": (model.prior.sample(count, generator), 1.0),
        "density": (many[:count], 1.0),
        "dense": (many[(-model.log_density(many)).argsort(stable=True)[:count]], count / len(many)),
    }
    if model.classes:
        probabilities = model.logits(many).softmax(-1)
        entropy, label = torch.special.entr(probabilities).sum(-1), probabilities.argmax(-1)
        kept = least_of_each(entropy, label, KEPT)
        found["certain"] = many[entropy.argsort(stable=True)[:count]], count / len(many)
        found["certain_by_class"] = many[kept][:count], len(kept) / len(many)
    starts, ends = (codes[_some(codes, math.ceil(count / OF_PATH), generator)] for _ in range(2))
    share = torch.rand(len(starts), OF_PATH, generator=generator, device=codes.device, dtype=codes.dtype)
    for name, between in (("line", lambda x, y: line(x, y, 2)), ("geodesic", geodesics)):
        if between is not None:
            found[name] = _on(between(starts, ends), share).flatten(0, 1)[:count], 1.0
    if walk is not None:
        found["walk"] = walk(codes[_some(codes, count, generator)], generator), 1.0
    return found


def least_of_each(score: Tensor, label: Tensor, share: float) -> Tensor:
    """Return the indices of the share of samples that score least within their class, in the order of the samples.

    Examples
    --------
    >>> least_of_each(torch.tensor([3.0, 1.0, 9.0, 8.0]), torch.tensor([0, 0, 1, 1]), 0.5).tolist()
    [1, 3]
    """
    kept = []
    for one in label.unique():
        own = (label == one).nonzero()[:, 0]
        kept.append(own[score[own].argsort(stable=True)[: math.ceil(share * len(own))]])
    return torch.cat(kept).sort().values


def sample_scores(
    images: Tensor, judge: Judge, reference: Reference, low: float, kept: float = 1.0
) -> dict[str, float | None]:
    """Return what images (n, *shape) are worth.

    ``confidence`` and ``low`` (share below the threshold), ``nearest`` (distance to the nearest real image, in pixels),
    ``frechet``, ``classes`` (as many equally frequent ones would have the entropy of the classes seen), and ``kept``.
    """
    reading = judge.read(images)
    share = torch.bincount(reading.label, minlength=reading.probabilities.shape[1]).double() / len(images)
    return {
        "confidence": reading.confidence.mean().item(),
        "low": (reading.confidence < low).double().mean().item(),
        "nearest": nearest(images.flatten(1), reference.pixels).mean().item(),
        "frechet": frechet_distance(reading.features, reference.features),
        "classes": torch.special.entr(share).sum().exp().item(),
        "kept": kept,
    }


def scored(
    points: dict[str, tuple[Tensor, float]], decode: Decode, judge: Judge, reference: Reference, low: float
) -> dict[str, Any]:
    """Return the scores of points drawn in several ways, in the order of ``MEANINGS``."""
    return {
        name: sample_scores(decoded(decode, z), judge, reference, low, kept)
        for name, (z, kept) in sorted(points.items(), key=lambda item: list(MEANINGS).index(item[0]))
    }


def _some(codes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(len(codes), (count,), generator=generator, device=codes.device)


def _on(paths: Tensor, share: Tensor) -> Tensor:
    """Return the points at shares (b, k) of the parameter of paths (b, nodes, d), (b, k, d)."""
    parts = paths.shape[1] - 1
    at = (share * parts).clamp(max=parts * (1 - 1e-6))
    index = at.long()[..., None].expand(-1, -1, paths.shape[-1])
    return torch.lerp(paths.gather(1, index), paths.gather(1, index + 1), (at - at.floor())[..., None])
