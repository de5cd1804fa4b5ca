"""All questions asked at once: flat numbers for a file, arrays for pictures, and one sentence of what they say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ndm_apps.engine.interpretation.curvature import (
    CurvedSamples,
    Slice,
    Stability,
    boundary_ranks,
    curvature_of_samples,
    flat_stability,
    slice_of,
)
from ndm_apps.engine.interpretation.layers import LayerDiscrepancy, layer_discrepancy
from ndm_apps.engine.interpretation.neighbours import neighbour_agreement
from ndm_apps.engine.interpretation.paths import Interpolations, interpolations
from ndm_apps.engine.interpretation.statistics import Estimate, difference_test, mean_estimate
from ndm_apps.engine.interpretation.verdict import verdict
from ndm_apps.engine.interpretation.view import view_of
from ndm_apps.engine.network import NDM

__all__ = ["Interpretation", "interpret"]

_SAMPLES, _TRAIN = 500, 2000  # looked at, drawn at random: of distances there are products of these
_WIDE = 200  # dimension beyond which geodesics, with n^2 numbers at each node, are few

Value = float | int | str | list[int] | None


@dataclass(frozen=True)
class Interpretation:
    """What :func:`interpret` found.

    Attributes
    ----------
    values
        Flat JSON. A mean or a rank correlation ``name`` has its 95 % interval in ``name_low`` and ``name_high``, the
        p-value of a test in ``name_p``, and the number of samples or pairs in ``name_n``. ``flat_samples`` are rows of
        x. ``verdict`` is a sentence.
    slice, samples, stability, interpolations, layers
        What the numbers are made from; ``interpolations`` is None where the samples are all of one class.
    labels
        Of the samples, (samples,).
    """

    values: dict[str, Value]
    slice: Slice
    samples: CurvedSamples
    stability: list[Stability]
    interpolations: Interpolations | None
    layers: LayerDiscrepancy
    labels: Int[Tensor, " samples"]


def interpret(
    network: NDM,
    x: Float[Tensor, "samples features"],
    y: Int[Tensor, " samples"],
    train_x: Float[Tensor, "train features"],
    train_y: Int[Tensor, " train"],
    generator: torch.Generator,
    *,
    weight: float,
    carrier: int = -1,
) -> Interpretation:
    r"""Ask a trained network what its geometry knows about its data.

    Parameters
    ----------
    network
        A classifier, in the dtype and on the device of the samples; float64 makes the ranks of small curvatures safe.
    x, y
        Held-out inputs and their labels, at least 10; of more than 500, so many are drawn.
    train_x, train_y
        What the network was trained on: where data are dense, and whose labels neighbours have. At least 5; of more
        than 2000, so many are drawn, and samples that are there twice count once.
    generator
        Source of all draws, on the CPU.
    weight
        Of the geometric loss in training, :math:`\lambda`; with 0 nothing has shaped the metric.
    carrier
        From which of the layers that carry a metric the classifier is looked at; the last if not said.

    Raises
    ------
    ValueError
        If there are too few samples, the numbers of samples and labels differ, the chart has one dimension, the network
        is no classifier, or the layer does not exist.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> x, y = torch.randn(60, 3), torch.arange(60) % 2
    >>> found = interpret(NDM(3, head=2), x[:20], y[:20], x[20:], y[20:], torch.Generator().manual_seed(0), weight=0.0)
    >>> found.values["samples"], found.values["boundary_curvature_rank_n"]
    (20, 20)
    """
    _check(x, y, train_x, train_y)
    view = view_of(network, carrier)
    rows = torch.randperm(len(x), generator=generator)[:_SAMPLES].sort().values.to(x.device)
    x, y = x[rows], y[rows]
    known = torch.randperm(len(train_x), generator=generator)[:_TRAIN].to(x.device)
    train_x, which = torch.unique(train_x[known], dim=0, return_inverse=True)
    train_y = torch.empty_like(train_y[: len(train_x)]).index_copy(0, which, train_y[known])
    with torch.no_grad():
        z, train_z = view.encode(x), view.encode(train_x)
        logits = network(x)[0]
    if logits.shape[1] < 2:
        raise ValueError(f"network must tell at least 2 classes apart, got {logits.shape[1]} output")
    samples = curvature_of_samples(view, z)
    stability = flat_stability(view, x, generator)
    rank, volume_rank = boundary_ranks(samples, generator)
    wide = z.shape[1] > _WIDE
    neighbours = neighbour_agreement(view, z, y, train_z, train_y, generator, queries=5 if wide else 40)
    several = bool((y != y[0]).any())
    joined = interpolations(view, z, y, train_z, generator, pairs=6 if wide else 24) if several else None
    layers = layer_discrepancy(network, x[:10] if wide else x)
    curvature, volume = samples.curvature.double(), samples.log_volume.double()
    n = z.shape[1]
    flat = samples.flat.nonzero().squeeze(-1)
    values: dict[str, Value] = {
        "samples": len(x),
        "train_samples": len(train_x),
        "dimension": n,
        "accuracy": float((logits.argmax(1) == y).double().mean()),
        "geometric_weight": float(weight),
        "curvature_mean": float(curvature.mean()),
        "curvature_sd": float(curvature.std()),
        "curvature_abs_max": float(curvature.abs().max()),
        "log_volume_sd": float(volume.std()),
        "flat_below": float(curvature[samples.flat].abs().max()),
        "flat_samples": rows[flat].tolist(),
        "flat_labels": y[flat].tolist(),
    }
    estimates: dict[str, Estimate] = {
        "boundary_curvature_rank": rank,
        "boundary_volume_rank": volume_rank,
        "neighbours_geodesic": neighbours.geodesic,
        "neighbours_euclidean": neighbours.euclidean,
        "neighbours_gain": neighbours.gain,
        "neighbours_shared": neighbours.shared,
    }
    for one in stability:
        values[f"flat_rank_noise_{one.size:g}"] = one.rank
        estimates[f"flat_kept_noise_{one.size:g}"] = one.kept
    if joined is not None:
        estimates |= _of_paths(joined, generator)
        length = joined.geodesic.length.double()
        values["curvature_at_data_scale"] = float(curvature.abs().mean() / (n * (n - 1)) * length.square().mean())
    for number, errors in enumerate(layers.consecutive):
        estimates[f"discrepancy_layers_{number}_{number + 1}"] = mean_estimate(errors, generator)
    for number, errors in enumerate(layers.overall[1:], start=2):
        estimates[f"discrepancy_layers_0_{number}"] = mean_estimate(errors, generator)
    values["global_condition_median"] = float(layers.condition.median())
    values["global_log_volume_sd"] = float(layers.log_volume.std())
    for name, estimate in estimates.items():
        values |= estimate.flat(name)
    converged = [neighbours.converged] + ([float(joined.converged.double().mean())] if joined is not None else [])
    values["geodesics_converged"] = min(converged)
    values["verdict"] = verdict(values)
    return Interpretation(values, slice_of(view, z), samples, stability, joined, layers, y)


def _check(x: Tensor, y: Tensor, train_x: Tensor, train_y: Tensor) -> None:
    for name, inputs, labels, least in (("x", x, y, 10), ("train_x", train_x, train_y, 5)):
        if len(inputs) < least or labels.shape != (len(inputs),):
            raise ValueError(
                f"{name} must hold at least {least} samples with a label each, got {len(inputs)} and labels "
                f"{tuple(labels.shape)}"
            )


def _of_paths(joined: Interpolations, generator: torch.Generator) -> dict[str, Estimate]:
    """Compare geodesics with straight lines, pair by pair."""
    curved, straight = joined.geodesic, joined.straight
    apart = (curved.points - straight.points).norm(dim=-1).amax(1)
    size = (straight.points[:, -1] - straight.points[:, 0]).norm(dim=-1)
    return {
        "paths_length_ratio": mean_estimate(curved.length / straight.length, generator),
        "paths_energy_ratio": mean_estimate(curved.energy / straight.energy, generator),
        "paths_apart": mean_estimate(apart / size, generator),
        "paths_other_class_geodesic": mean_estimate(curved.other.mean(1), generator),
        "paths_other_class_straight": mean_estimate(straight.other.mean(1), generator),
        "paths_other_class_gain": difference_test(curved.other.mean(1) - straight.other.mean(1), generator),
        "paths_nearest_geodesic": mean_estimate(curved.nearest.mean(1), generator),
        "paths_nearest_straight": mean_estimate(straight.nearest.mean(1), generator),
        "paths_nearest_gain": difference_test(curved.nearest.mean(1) - straight.nearest.mean(1), generator),
        "paths_curvature": mean_estimate(joined.curvature.mean(1), generator),
        "paths_curvature_range": mean_estimate(joined.curvature.amax(1) - joined.curvature.amin(1), generator),
        "paths_log_volume_range": mean_estimate(joined.log_volume.amax(1) - joined.log_volume.amin(1), generator),
    }
