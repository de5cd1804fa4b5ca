"""The Fréchet distance of two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    r"""Return the squared 2-Wasserstein distance of the normal distributions fitted to two sets of features.

    .. math:: \|m_a - m_b\|^2 + \mathrm{tr}\bigl(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}\bigr)

    The value is in squared units of the features, so it is comparable only between sets read by the same judge. It is
    biased upwards for few samples: compare sets of the same size.

    Parameters
    ----------
    a, b
        Features, (samples, n), at least two samples each.

    Raises
    ------
    ValueError
        If a set has fewer than two samples.

    References
    ----------
    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982. Heusel et al., "GANs
    trained by a two time-scale update rule converge to a local Nash equilibrium", 2017, arXiv:1706.08500.

    Examples
    --------
    >>> a = torch.tensor([[-1.0], [1.0]])
    >>> round(frechet_distance(a, a), 6), round(frechet_distance(a, a + 3), 6)
    (0.0, 9.0)
    """
    for features in (a, b):
        if len(features) < 2:
            raise ValueError(f"features: got {len(features)} samples, must be at least 2")
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    root = _root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    # On the CPU: not every device has double precision, which the roots of nearly singular covariances need.
    features = features.double().cpu()
    return features.mean(0), features.mT.cov().reshape(features.shape[1], features.shape[1])


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
