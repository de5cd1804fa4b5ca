r"""Chart compatibility: how far the metrics of consecutive layers agree about distances at the same points.

Two metrics g and h in the same coordinates differ by the matrix g - h, whose norm depends on the coordinates: shrink
both and it vanishes, although no pair of distances agrees any better. Measured in a g-orthonormal frame, with
:math:`g = C C^\top`, it becomes a scalar that all charts agree on,

.. math:: |g - h|^2_g = |I - C^{-1} h\, C^{-\top}|_F^2 = \mathrm{tr}\,(I - g^{-1} h)^2,

the square of the relative errors of h's principal squared lengths. This is the form used here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.engine.layer import Geometry

__all__ = ["ChartAgreement", "chart_agreement", "compatibility", "discrepancy", "pulled_back_metrics"]


class ChartAgreement(NamedTuple):
    """How far apart local and global geometry are, one number a layer: root mean square over the points.

    Attributes
    ----------
    local
        Each layer's metric against that of the layer before, (layers - 1,).
    overall
        Each layer's metric against that of the first, (layers - 1,).
    """

    local: Tensor
    overall: Tensor


def discrepancy(g: Float[Tensor, "*batch n n"], h: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch"]:
    r"""Return :math:`\mathrm{tr}\,(I - g^{-1} h)^2`: 0 where the metrics agree, the same in all coordinates.

    Parameters
    ----------
    g, h
        Two metrics at the same points in the same coordinates; g sets the unit.

    Raises
    ------
    ValueError
        If g is not positive definite somewhere.

    Examples
    --------
    >>> discrepancy(torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 3.0]])).item()
    4.0
    """
    cholesky, info = torch.linalg.cholesky_ex(g)
    if bool((info != 0).any()):
        sample = tuple((info != 0).nonzero()[0].tolist())
        raise ValueError(
            f"g must be positive definite, got smallest eigenvalue {_smallest(g[sample])} at sample {sample}"
        )
    half = torch.linalg.solve_triangular(cholesky, h, upper=False)
    framed: Tensor = torch.linalg.solve_triangular(cholesky, half.mT, upper=False)
    error = framed - torch.eye(g.shape[-1], dtype=g.dtype, device=g.device)
    return error.square().sum((-2, -1))


def compatibility(geometries: Sequence[Geometry]) -> Tensor:
    r"""Return :math:`L_\text{compat}`, the mean of :math:`|g_i - J^\top g_{i+1} J|^2_{g_i}` over points and layers.

    Parameters
    ----------
    geometries
        Layers of one network, first to last: at least two, the ``origin`` of each the ``point`` of the one before.

    Raises
    ------
    ValueError
        If there are fewer than two layers, or one does not say where its points come from.
    """
    layers = _chain(geometries)
    return torch.stack([discrepancy(one.g, after.pullback).mean() for one, after in pairwise(layers)]).mean()


def pulled_back_metrics(geometries: Sequence[Geometry]) -> Float[Tensor, "layers *batch n n"]:
    r"""Return every layer's metric in the coordinates that the first layer starts from, :math:`J_i^\top g_i J_i`.

    These are the network's input for an :class:`~ndm_apps.engine.network.NDM`, and the first layer's own chart for a
    first layer without origin. The last of them is the global metric that the network puts on its input.
    """
    metrics, jacobian = [], None
    for number, layer in enumerate(geometries):
        if number or layer.origin is not None:
            jacobian = layer.jacobian if jacobian is None else layer.jacobian @ jacobian
        metrics.append(layer.g if jacobian is None else jacobian.mT @ layer.g @ jacobian)
    return torch.stack(metrics)


def chart_agreement(geometries: Sequence[Geometry]) -> ChartAgreement:
    """Report how far the metrics of the layers are from one another.

    Examples
    --------
    >>> from ndm_apps.geometry import Euclidean
    >>> x = torch.zeros(5, 2)
    >>> layers = [Geometry(x, torch.zeros(5), Euclidean(2), origin=x) for _ in range(3)]
    >>> chart_agreement(layers)
    ChartAgreement(local=tensor([0., 0.]), overall=tensor([0., 0.]))
    """
    with torch.no_grad():
        metrics = pulled_back_metrics(_chain(geometries))
        against_last = [discrepancy(one, after).mean().sqrt() for one, after in pairwise(metrics)]
        against_first = [discrepancy(metrics[0], after).mean().sqrt() for after in metrics[1:]]
        return ChartAgreement(torch.stack(against_last), torch.stack(against_first))


def _chain(geometries: Sequence[Geometry]) -> list[Geometry]:
    layers = list(geometries)
    if len(layers) < 2:
        raise ValueError(f"geometries must hold at least two layers to compare, got {len(layers)}")
    for number, layer in enumerate(layers[1:], start=1):
        if layer.origin is None:
            raise ValueError(f"geometries must say where their points come from, got origin None at layer {number}")
    return layers


def _smallest(matrix: Tensor) -> str:
    finite = bool(torch.isfinite(matrix).all())
    return f"{float(torch.linalg.eigvalsh(matrix)[0]):.3g}" if finite else "nan"
