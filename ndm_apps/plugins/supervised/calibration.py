"""Scores of predicted probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def calibration(logits: Tensor, labels: Tensor, bins: int = BINS) -> dict[str, float]:
    r"""Score predicted probabilities against labels.

    .. math::
        \text{ECE} = \sum_b \tfrac{n_b}{n} |\text{acc}_b - \text{conf}_b|, \quad
        \text{NLL} = -\tfrac1n \sum_i \log p_i(y_i), \quad
        \text{Brier} = \tfrac1n \sum_i \sum_c (p_i(c) - [c = y_i])^2,

    with the samples put into ``bins`` equal bins by the probability of the predicted class.

    Parameters
    ----------
    logits, labels
        (samples, classes) and (samples,).
    bins
        Number of bins of the ECE.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017, arXiv:1706.04599.
    Brier, "Verification of forecasts expressed in terms of probability", 1950.

    Examples
    --------
    >>> scores = calibration(torch.zeros(2, 2), torch.tensor([0, 1]))
    >>> [round(scores[name], 4) for name in ("ece", "nll", "brier")]
    [0.0, 0.6931, 0.5]
    """
    p = logits.double().softmax(1)
    at_label = torch.nn.functional.one_hot(labels, p.shape[1]).to(p)
    share, confidence, accuracy = reliability(logits, labels, bins)
    return {
        "ece": (share * (accuracy - confidence).abs()).sum().item(),
        "nll": torch.nn.functional.cross_entropy(logits.double(), labels).item(),
        "brier": (p - at_label).square().sum(1).mean().item(),
    }


def reliability(logits: Tensor, labels: Tensor, bins: int = BINS) -> tuple[Tensor, Tensor, Tensor]:
    """Return share of the samples, mean confidence and accuracy in each bin, (bins,) each; 0 in empty bins."""
    confidence, predicted = logits.double().softmax(1).max(1)
    home = (confidence * bins).long().clamp(max=bins - 1)
    count = torch.bincount(home, minlength=bins).double()
    means = [
        torch.bincount(home, weights=values, minlength=bins) / count.clamp(min=1)
        for values in (confidence, (predicted == labels).double())
    ]
    return count / len(labels), means[0], means[1]
