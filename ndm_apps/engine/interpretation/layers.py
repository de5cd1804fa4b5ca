r"""How far the metrics of consecutive layers are from being one tensor, and the metric they put on the input."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.compatibility import discrepancy, pulled_back_metrics
from ndm_apps.engine.network import NDM

__all__ = ["LayerDiscrepancy", "layer_discrepancy"]

_NUMBERS = 1 << 22


@dataclass(frozen=True)
class LayerDiscrepancy:
    r"""Local against global geometry at samples.

    Attributes
    ----------
    consecutive
        :math:`|g_i - J^\top g_{i+1} J|_{g_i} / \sqrt n`, the root mean square relative error of the n principal squared
        lengths; the same in all coordinates, (layers - 1, samples).
    overall
        The same of each layer's metric against that of the first one, (layers - 1, samples).
    condition
        Condition number of the last metric, pulled back to the input, (samples,).
    log_volume
        Logarithm of the volume element of the last metric, pulled back to the input, (samples,).
    """

    consecutive: Float[Tensor, "pairs samples"]
    overall: Float[Tensor, "pairs samples"]
    condition: Float[Tensor, " samples"]
    log_volume: Float[Tensor, " samples"]


def layer_discrepancy(network: NDM, x: Float[Tensor, "samples features"]) -> LayerDiscrepancy:
    """Compare the metrics of all layers at samples, in the coordinates of the input.

    Parameters
    ----------
    network
        The network, with a metric on one layer at least.
    x
        Inputs.
    """
    with torch.no_grad():
        # Points at a time: a Jacobian and a metric of each layer at each point are held.
        points = max(1, _NUMBERS // x.shape[1] ** 2)
        parts = [_compare(pulled_back_metrics(network(part)[1])) for part in torch.split(x, points)]
    return LayerDiscrepancy(*(torch.cat(column, dim=-1) for column in zip(*parts, strict=True)))


def _compare(metrics: Float[Tensor, "layers samples n n"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    root = metrics.shape[-1] ** 0.5
    none = metrics.new_zeros(0, metrics.shape[1])
    consecutive = [discrepancy(one, after).sqrt() / root for one, after in pairwise(metrics)]
    overall = [discrepancy(metrics[0], after).sqrt() / root for after in metrics[1:]]
    spectrum = torch.linalg.eigvalsh(metrics[-1])
    return (
        torch.stack(consecutive) if consecutive else none,
        torch.stack(overall) if overall else none,
        spectrum[:, -1] / spectrum[:, 0],
        spectrum.log().sum(-1) / 2,
    )
