r"""The metric on parameters that metrics on a model's values induce, by products only: it is never formed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ndm_apps.engine.natural_gradient.output_metric import OutputMetric

__all__ = ["Pullback", "Value", "conjugate_gradient", "flat", "place", "shaped"]


class Value(NamedTuple):
    """Something a model computes, (batch, ..., o), with the metric on its space."""

    value: Tensor
    metric: OutputMetric


class Pullback:
    r"""The pull-back to parameters of the metrics on a model's values, at one batch.

    .. math:: G v = \frac{1}{B} \sum_{b=1}^{B} \sum_k J_{kb}^\top\, g_k(z_{kb})\, J_{kb}\, v,
        \qquad J_{kb} = \partial z_{kb} / \partial \theta.

    For the Fisher metric of a likelihood on the outputs it is the Fisher metric on the parameters, which is the
    generalised Gauss-Newton matrix.

    Parameters
    ----------
    values
        What was computed, with its graph: the first dimension of each is the batch.
    parameters
        Tensors that require gradients.

    Attributes
    ----------
    parameters
        Those that the values depend on, :math:`\theta`.

    References
    ----------
    Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
    Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", Neural Computation 14, 2002.

    Examples
    --------
    >>> from ndm_apps.engine.natural_gradient.output_metric import output_metric
    >>> weight = torch.tensor([2.0], requires_grad=True)
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> Pullback([Value(weight * x, output_metric("gaussian"))], [weight]).product([torch.ones(1)])
    (tensor([5.]),)
    """

    def __init__(self, values: Sequence[Value], parameters: Sequence[Tensor]) -> None:
        self.values = values
        computed = [value.value for value in values]
        with torch.enable_grad():
            # J^T u is linear in u, so its own derivative by u, against v, is J v: no forward-mode pass is needed.
            self._cotangents = [torch.zeros_like(value, requires_grad=True) for value in computed]
            pulled = torch.autograd.grad(computed, parameters, self._cotangents, create_graph=True, allow_unused=True)
        reached = [(p, part) for p, part in zip(parameters, pulled, strict=True) if part is not None]
        self.parameters = [parameter for parameter, _ in reached]
        self._pulled = [part for _, part in reached]

    def push(self, tangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return J v for each value, for tangents v in the shapes of the parameters."""
        return torch.autograd.grad(self._pulled, self._cotangents, tangents, retain_graph=True, materialize_grads=True)

    def pull(self, cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the sum of J^T u over batch and values, in the shapes of the parameters."""
        return torch.autograd.grad(
            [value.value for value in self.values],
            self.parameters,
            cotangents,
            retain_graph=True,
            materialize_grads=True,
        )

    def product(self, tangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return G v, for tangents v in the shapes of the parameters."""
        pushed = self.push(tangents)
        with torch.no_grad():
            lowered = [
                metric.product(value, v) / len(value) for (value, metric), v in zip(self.values, pushed, strict=True)
            ]
        return self.pull(lowered)


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, start: Tensor, *, iterations: int, tolerance: float
) -> Tensor:
    r"""Return x with :math:`|M x - b| \le \text{tolerance}\, |b|`, or the best found in so many iterations.

    Parameters
    ----------
    product
        x -> M x for a symmetric positive semi-definite M, (n,) -> (n,).
    b, start
        Right-hand side, and the x to start from, (n,).

    References
    ----------
    Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

    Examples
    --------
    >>> m = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> x = conjugate_gradient(lambda x: m @ x, torch.tensor([3.0, 4.0]), torch.zeros(2), iterations=2, tolerance=0.0)
    >>> x.round(decimals=4)
    tensor([1., 1.])
    """
    x = start.clone()
    residual = b - product(x) if start.any() else b.clone()
    direction = residual.clone()
    square, enough = residual.dot(residual), tolerance**2 * b.dot(b)
    for _ in range(iterations):
        if square <= enough:
            break
        image = product(direction)
        curvature = direction.dot(image)
        if curvature <= 0:  # nothing but rounding is left
            break
        length = square / curvature
        x.addcmul_(direction, length)
        residual.addcmul_(image, length, value=-1)
        square, before = residual.dot(residual), square
        direction.mul_(square / before).add_(residual)
    return x


def flat(tensors: Iterable[Tensor | None]) -> Tensor:
    """Return tensors (those that there are) as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors if tensor is not None])


def shaped(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a vector in the shapes of tensors."""
    parts = torch.split(vector, [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]


def place(tensors: list[Tensor], vector: Tensor) -> None:
    """Copy the parts of a vector into tensors."""
    torch._foreach_copy_(tensors, shaped(vector, tensors))
