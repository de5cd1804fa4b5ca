"""Where a classifier's space is curved: on a plane, at the samples, near the decision boundary, under noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.engine.interpretation.statistics import Estimate, mean_estimate, spearman, spearman_test
from ndm_apps.engine.interpretation.view import View

__all__ = [
    "CurvedSamples",
    "Slice",
    "Stability",
    "boundary_ranks",
    "curvature_of_samples",
    "flat_stability",
    "slice_of",
]

FLAT = 0.1  # share of the samples that are called flat: those of least |R|


@dataclass(frozen=True)
class Slice:
    """A plane of the chart, through the mean of the samples along their first two principal components.

    Attributes
    ----------
    first, second
        Coordinates of the grid along the two components, (k,).
    curvature, log_volume
        On the grid, (k, k), the first component changing along the rows.
    logits
        Of the classifier there, (k, k, classes).
    samples
        Projections of the samples onto the plane, (samples, 2).
    explained
        Share of the samples' variance that lies in the plane.
    """

    first: Float[Tensor, " k"]
    second: Float[Tensor, " k"]
    curvature: Float[Tensor, "k k"]
    log_volume: Float[Tensor, "k k"]
    logits: Float[Tensor, "k k classes"]
    samples: Float[Tensor, "samples 2"]
    explained: float


def slice_of(view: View, z: Float[Tensor, "samples n"], resolution: int = 25) -> Slice:
    """Look at the plane in which the samples spread most.

    Parameters
    ----------
    view
        The classifier.
    z
        Samples in the coordinates of the view, at least 3, in at least 2 dimensions.
    resolution
        Points of the grid along each side.

    Raises
    ------
    ValueError
        If there are too few samples or dimensions.
    """
    if z.ndim != 2 or len(z) < 3 or z.shape[1] < 2:
        raise ValueError(f"z must have shape (samples >= 3, n >= 2), got {tuple(z.shape)}")
    mean = z.mean(0)
    _, sizes, axes = torch.linalg.svd(z - mean, full_matrices=False)
    axes = axes[:2]
    samples = (z - mean) @ axes.mT
    low, high = samples.amin(0), samples.amax(0)
    fraction = torch.linspace(-0.05, 1.05, resolution, dtype=z.dtype, device=z.device)[:, None]
    sides = (low + fraction * (high - low)).mT
    plane = torch.stack((sides[0].expand(resolution, -1), sides[1, :, None].expand(-1, resolution)), dim=-1)
    grid = mean + plane.reshape(-1, 2) @ axes
    with torch.no_grad():
        logits = view.classify(grid)
    return Slice(
        first=sides[0],
        second=sides[1],
        curvature=view.curvature(grid).reshape(resolution, -1),
        log_volume=view.log_volume(grid).reshape(resolution, -1),
        logits=logits.reshape(resolution, resolution, -1),
        samples=samples,
        explained=float(sizes[:2].square().sum() / sizes.square().sum()),
    )


@dataclass(frozen=True)
class CurvedSamples:
    """The geometry at samples.

    Attributes
    ----------
    curvature, log_volume, margin
        At each sample, (samples,).
    flat
        Whether it is among the tenth of the samples with the least absolute curvature, (samples,).
    """

    curvature: Float[Tensor, " samples"]
    log_volume: Float[Tensor, " samples"]
    margin: Float[Tensor, " samples"]
    flat: Bool[Tensor, " samples"]


def curvature_of_samples(view: View, z: Float[Tensor, "samples n"]) -> CurvedSamples:
    """Measure curvature, volume element and margin at samples in the coordinates of the view."""
    curvature = view.curvature(z)
    return CurvedSamples(curvature, view.log_volume(z), view.margin(z), _flat(curvature))


@dataclass(frozen=True)
class Stability:
    """Whether the same samples are flat when their inputs are disturbed.

    Attributes
    ----------
    size
        Standard deviation of the noise over the samples' own.
    rank
        Rank correlation of the absolute curvature with and without noise, at each sample averaged over the draws.
    kept
        Share of the flat samples that are still among the flat ones.
    """

    size: float
    rank: float
    kept: Estimate


def flat_stability(
    view: View,
    x: Float[Tensor, "samples features"],
    generator: torch.Generator,
    sizes: Sequence[float] = (0.01, 0.03, 0.1, 0.3),
    draws: int = 2,
) -> list[Stability]:
    """Add noise of several sizes to inputs, and see whether the ranking by absolute curvature survives.

    Parameters
    ----------
    view
        The classifier.
    x
        Inputs.
    generator
        Source of the noise, on the CPU.
    sizes
        Standard deviations of the noise, in units of that of all entries of x about their column's mean.
    draws
        Independent draws of the noise for each size.
    """
    with torch.no_grad():
        curvature = view.curvature(view.encode(x))
        flat, unit = _flat(curvature), (x - x.mean(0)).square().mean().sqrt()
        found = []
        for size in sizes:
            correlations, kept = [], []
            for _ in range(draws):
                noise = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
                disturbed = view.curvature(view.encode(x + size * unit * noise))
                correlations.append(spearman(curvature.abs(), disturbed.abs()))
                kept.append(_flat(disturbed)[flat].double())
            shares = torch.stack(kept).mean(0)
            found.append(Stability(size, sum(correlations) / draws, mean_estimate(shares, generator)))
    return found


def boundary_ranks(samples: CurvedSamples, generator: torch.Generator) -> tuple[Estimate, Estimate]:
    """Return the rank correlations of absolute curvature and of volume element with the margin.

    Negative: larger near the decision boundary than in the interior of the classes.
    """
    return (
        spearman_test(samples.curvature.abs(), samples.margin, generator),
        spearman_test(samples.log_volume, samples.margin, generator),
    )


def _flat(curvature: Tensor) -> Tensor:
    few = max(1, round(FLAT * len(curvature)))
    chosen = torch.zeros_like(curvature, dtype=torch.bool)
    chosen[curvature.abs().argsort()[:few]] = True
    return chosen
