r"""Metrics on the space of a model's outputs: what a natural gradient pulls back to the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["MetricName", "OutputMetric", "constant_metric", "output_metric"]

MetricName = Literal["gaussian", "categorical"]


@dataclass(frozen=True)
class OutputMetric:
    r"""A metric H on outputs f, (..., o), as three functions of batches.

    Attributes
    ----------
    root
        f -> a function of s, (..., o), that returns R s, where :math:`R R^\top = H(f)`.
    product
        f, v -> H(f) v, both (..., o).
    divergence
        f, change -> what the metric is the second derivative of, from f to f + change, (..., o) -> (...): the
        Kullback-Leibler divergence for a likelihood, half the squared length for any other metric.
    """

    root: Callable[[Tensor], Callable[[Tensor], Tensor]]
    product: Callable[[Tensor, Tensor], Tensor]
    divergence: Callable[[Tensor, Tensor], Tensor]


def output_metric(metric: MetricName | Callable[[Tensor], Tensor]) -> OutputMetric:
    r"""Return the Fisher metric of a likelihood by its name, or the metric that a function f -> (..., o, o) gives.

    Parameters
    ----------
    metric
        ``"gaussian"``: outputs are means, of variance 1, so the metric is the identity; ``"categorical"``: they are
        logits, and the metric is :math:`\mathrm{diag}(p) - p p^\top`; or a function whose values are symmetric
        positive definite matrices, such as a :class:`~ndm_apps.engine.MetricNet`.

    References
    ----------
    Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.

    Examples
    --------
    >>> logits = torch.zeros(2)
    >>> output_metric("categorical").product(logits, torch.tensor([1.0, 0.0]))
    tensor([ 0.2500, -0.2500])
    """
    if isinstance(metric, str) and metric in _FISHER:
        return _FISHER[metric]
    if not callable(metric):
        raise ValueError(f"metric must be one of {sorted(_FISHER)} or a function of the outputs, got {metric!r}")
    return _from_function(metric)


def _from_function(metric: Callable[[Tensor], Tensor]) -> OutputMetric:
    def matrix(outputs: Tensor) -> Tensor:
        g = metric(outputs)
        if g.shape != (*outputs.shape, outputs.shape[-1]):
            expected = (*outputs.shape, outputs.shape[-1])
            raise ValueError(f"metric must return matrices of shape {expected}, got {tuple(g.shape)}")
        return g

    def root(outputs: Tensor) -> Callable[[Tensor], Tensor]:
        factor, failures = torch.linalg.cholesky_ex(matrix(outputs))
        if failures.any():
            sample = failures.nonzero()[0].tolist()
            raise ValueError(f"metric must be positive definite, it is not at sample {sample}")
        return lambda s: _apply(factor, s)

    def product(outputs: Tensor, v: Tensor) -> Tensor:
        return _apply(matrix(outputs), v)

    return OutputMetric(root, product, lambda outputs, change: (change * product(outputs, change)).sum(-1) / 2)


def constant_metric(g: Tensor) -> OutputMetric:
    """Return the metric that is known as its matrices at the outputs, (..., o, o)."""
    return _from_function(lambda outputs: g)


def _apply(matrix: Tensor, v: Tensor) -> Tensor:
    return (matrix @ v[..., None]).squeeze(-1)


def _categorical_root(outputs: Tensor) -> Callable[[Tensor], Tensor]:
    p = outputs.softmax(-1)
    root = p.sqrt()
    return lambda s: root * s - p * (root * s).sum(-1, keepdim=True)


def _categorical_product(outputs: Tensor, v: Tensor) -> Tensor:
    p = outputs.softmax(-1)
    return p * (v - (p * v).sum(-1, keepdim=True))


def _categorical_divergence(outputs: Tensor, change: Tensor) -> Tensor:
    # log E[exp d] with E[d] = 0, arranged so that small changes lose no digits.
    p = outputs.softmax(-1)
    d = change - (p * change).sum(-1, keepdim=True)
    return (p * (d.expm1() - d)).sum(-1).log1p()


_FISHER = {
    "gaussian": OutputMetric(
        lambda outputs: lambda s: s, lambda outputs, v: v, lambda outputs, change: change.square().sum(-1) / 2
    ),
    "categorical": OutputMetric(_categorical_root, _categorical_product, _categorical_divergence),
}
