"""What an independent judge says of paths between images: scores of each path, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ndm_apps.plugins.generative.frechet import frechet_distance
from ndm_apps.plugins.generative.judge import CHUNK, Judge, Reading

#: Parts that each part of a path is divided into when its length in features is measured.
FINER = 2
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reference:
    """Real images that nothing was trained on: flattened pixels (n, size) and the judge's features (n, 64)."""

    pixels: Tensor
    features: Tensor

    @classmethod
    def of(cls, images: Tensor, judge: Judge) -> Reference:
        """Make the reference of images (n, *shape)."""
        return cls(images.flatten(1), judge.read(images).features)


@dataclass(frozen=True)
class Even:
    """Paths at points uniform in the judge's features, and what they were like before.

    Attributes
    ----------
    z, images, reading
        Points (pairs, points, d), their images, and what the judge sees in them.
    length, chord
        Length of each path in features, and distance of its ends, (pairs,).
    steps
        Distances in features of the images at consecutive nodes of the path as it came, (pairs, nodes - 1).
    """

    z: Tensor
    images: Tensor
    reading: Reading
    length: Tensor
    chord: Tensor
    steps: Tensor


@torch.no_grad()
def decoded(decode: Decode, z: Tensor) -> Tensor:
    """Return the images at points (..., d), a part of them at a time."""
    parts = [decode(part) for part in z.flatten(0, -2).split(CHUNK)]
    return torch.cat(parts).unflatten(0, z.shape[:-1])


@torch.no_grad()
def even(paths: Tensor, points: int, decode: Decode, judge: Judge) -> Even:
    """Take paths at points that follow each other at equal distances as the judge sees them.

    A path that stays near its ends and then crosses quickly gains nothing by it, and one that lingers where it
    crosses loses nothing.

    Parameters
    ----------
    paths
        Nodes (pairs, nodes, d), joined by straight lines.
    points
        How many to take of each path, its ends among them.
    decode
        Points (..., d) to images.
    """
    fine = _finer(paths)
    features = judge.read(decoded(decode, fine)).features
    lengths = (features[:, 1:] - features[:, :-1]).norm(dim=-1)
    z = at_equal_lengths(fine, lengths, points)
    images = decoded(decode, z)
    nodes = features[:, ::FINER]
    return Even(
        z=z,
        images=images,
        reading=judge.read(images),
        length=lengths.sum(1),
        chord=(features[:, -1] - features[:, 0]).norm(dim=-1),
        steps=(nodes[:, 1:] - nodes[:, :-1]).norm(dim=-1),
    )


def at_equal_lengths(nodes: Tensor, lengths: Tensor, points: int) -> Tensor:
    """Return points (pairs, points, d) of broken lines (pairs, n, d) whose parts have the given lengths (pairs, n - 1).

    Examples
    --------
    >>> nodes = torch.tensor([[[0.0], [1.0], [2.0], [3.0]]])
    >>> at_equal_lengths(nodes, torch.tensor([[2.0, 2.0, 4.0]]), 5).flatten().tolist()
    [0.0, 1.0, 2.0, 2.5, 3.0]
    """
    along = torch.nn.functional.pad(lengths.cumsum(1), (1, 0))
    wanted = torch.linspace(0, 1, points, device=nodes.device, dtype=nodes.dtype) * along[:, -1:]
    part = (torch.searchsorted(along, wanted.contiguous()) - 1).clamp(0, lengths.shape[1] - 1)
    share = ((wanted - along.gather(1, part)) / lengths.gather(1, part).clamp_min(1e-12)).clamp(0, 1)[..., None]
    left, right = (nodes.gather(1, index[..., None].expand(-1, -1, nodes.shape[-1])) for index in (part, part + 1))
    return torch.lerp(left, right, share)


def path_scores(one: Even, ends: Tensor, judge: Judge, reference: Reference, low: float) -> dict[str, Tensor]:
    r"""Return the scores of each path, (pairs,).

    ``confidence`` (mean over its points) and ``low`` (share of points below the threshold); ``third`` (share of points
    that the judge takes for a class of neither end) and ``classes`` (how many it sees along the path); ``nearest`` and
    ``nearest_features`` (mean distance to the nearest real image, in pixels and in features); ``residual`` (mean
    distance to what the judge's autoencoder makes of it); ``ratio`` of length to chord in features; ``roughness``,
    :math:`n \sum_i s_i^2 / c^2` with the n steps :math:`s_i` of the path's own parametrisation and the chord c (the
    perceptual path length, 1 for a straight line at constant speed); ``unevenness``, the standard deviation of those
    steps over their mean.

    Parameters
    ----------
    one
        The paths.
    ends
        Classes of their ends, (pairs, 2).
    low
        Threshold of confidence.
    """
    reading = one.reading
    other = (reading.label[..., None] != ends[:, None]).all(-1)
    seen = torch.nn.functional.one_hot(reading.label, reading.probabilities.shape[-1]).amax(1)
    chord = one.chord.clamp_min(1e-12)
    pixels = one.images.flatten(2)
    return {
        "confidence": reading.confidence.mean(1),
        "low": (reading.confidence < low).to(pixels).mean(1),
        "third": other.to(pixels).mean(1),
        "classes": seen.sum(1).to(pixels),
        "nearest": nearest(pixels, reference.pixels).mean(1),
        "nearest_features": nearest(reading.features, reference.features).mean(1),
        "residual": judge.residual(one.images).mean(1),
        "ratio": one.length / chord,
        "roughness": one.steps.shape[1] * one.steps.square().sum(1) / chord.square(),
        "unevenness": one.steps.std(1) / one.steps.mean(1).clamp_min(1e-12),
    }


def nearest(points: Tensor, reference: Tensor) -> Tensor:
    """Return the distance (...) of points (..., n) to the nearest of the reference (m, n)."""
    flat = points.flatten(0, -2)
    found = [torch.cdist(part, reference).amin(1) for part in flat.split(CHUNK)]
    return torch.cat(found).unflatten(0, points.shape[:-1])


def interior_frechet(one: Even, chosen: Tensor, reference: Reference) -> float:
    """Return the Fréchet distance of the middle three quarters of chosen paths (booleans) to real images."""
    points = one.z.shape[1]
    edge = round((points - 1) / 8)
    return frechet_distance(one.reading.features[chosen, edge : points - edge].flatten(0, 1), reference.features)


def summary(
    scores: Mapping[str, Mapping[str, Tensor]], pairs: Mapping[str, Tensor], same: Tensor, against: tuple[str, ...]
) -> dict[str, Any]:
    """Return the means of scores over same-class and different-class pairs, and their differences pair by pair.

    Parameters
    ----------
    scores
        By path, then by score, one for each of the path's pairs.
    pairs
        By path, the indices of its pairs.
    same
        Which pairs are of one class, (pairs,).
    against
        Paths that every other is compared with; they are there for all pairs.

    Returns
    -------
    dict
        By path: ``same`` and ``different``, each with the means, their standard errors under ``error``, and under
        ``against`` by path and score ``[mean difference, its standard error]``.
    """
    found: dict[str, Any] = {}
    for path, own in scores.items():
        found[path] = {}
        index = pairs[path]
        for kind, chosen in (("same", same[index]), ("different", ~same[index])):
            part = {name: _mean(values[chosen]) for name, values in own.items()}
            others = [other for other in against if other != path and other in scores]
            found[path][kind] = {
                **{name: mean for name, (mean, _) in part.items()},
                "error": {name: error for name, (_, error) in part.items()},
                "against": {
                    other: {
                        name: list(_mean((values - scores[other][name][index])[chosen])) for name, values in own.items()
                    }
                    for other in others
                },
            }
    return found


def _mean(values: Tensor) -> tuple[float, float]:
    """Return the mean of values (n,) and its standard error."""
    values = values.double()
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return values.mean().item(), error


def _finer(paths: Tensor) -> Tensor:
    """Return paths with ``FINER`` parts in place of each part."""
    share = torch.arange(FINER, device=paths.device, dtype=paths.dtype)[:, None] / FINER
    between = torch.lerp(paths[:, :-1, None], paths[:, 1:, None], share)
    return torch.cat([between.flatten(1, 2), paths[:, -1:]], 1)
