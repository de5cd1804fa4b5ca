"""Read-outs of several domains put together."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ndm_apps.engine import NaturalGradientReadout
from ndm_apps.plugins.continual.charts.pairs import blank


def total(readouts: Iterable[NaturalGradientReadout]) -> NaturalGradientReadout:
    """Return the read-out of all samples, whichever read-out has seen them."""
    first, *rest = readouts
    whole = blank(first)
    for readout in (first, *rest):
        whole.merge(readout)
    return whole


def shrunk(readout: NaturalGradientReadout, pooled: NaturalGradientReadout, strength: float) -> NaturalGradientReadout:
    r"""Return a read-out with the means of one and its scatter shrunk towards a pooled one.

    .. math:: \frac{S}{n} \leftarrow \frac{1}{n + k} \Bigl(S + k\, \frac{S_{\text{pooled}}}{N}\Bigr)

    with n and N samples: the pooled scatter counts as much as k, the ``strength``, samples.

    References
    ----------
    Friedman, "Regularized discriminant analysis", J. American Statistical Association 84, 1989.
    """
    count, everything = float(readout.counts.sum()), float(pooled.counts.sum())
    own = count / (count + strength)
    blend = blank(readout)
    for part, weight in ((readout, own), (pooled, own * strength / everything)):
        scaled = blank(readout).scatter
        scaled.merge(part.scatter)  # type: ignore[arg-type]
        # Sums are vectors, what is kept as rows enters by its square.
        for buffer in scaled.buffers():
            buffer.mul_(weight if buffer.ndim < 2 else math.sqrt(weight))
        blend.scatter.merge(scaled)  # type: ignore[arg-type]
        blend.trace += weight * part.trace
    blend.means, blend.counts = readout.means, readout.counts
    return blend


def mixture(logits: Tensor, log_weights: Tensor, *, solver: str) -> Tensor:
    r"""Combine experts: :math:`\log \sum_s w_s\, p_s(y)` for ``"lda"``, :math:`\sum_s w_s f_s` for ``"ridge"``.

    Parameters
    ----------
    logits
        Of each expert, ``(batch, experts, classes)``; minus infinity for classes never seen.
    log_weights
        ``(batch, experts)``, normalised.

    Examples
    --------
    >>> logits = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    >>> mixture(logits, torch.tensor([[0.9, 0.1]]).log(), solver="lda").exp().sum().item()
    1.0
    """
    if solver == "lda":
        return torch.logsumexp(torch.log_softmax(logits, -1) + log_weights[..., None], 1)
    weighted = logits * log_weights.exp()[..., None]
    return torch.where(logits.isneginf(), logits, weighted).sum(1)
