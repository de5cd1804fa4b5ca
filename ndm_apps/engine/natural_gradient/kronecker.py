r"""Kronecker-factored blocks of the metric on parameters, learned from the passes of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ndm_apps.engine.natural_gradient.products import Value
from ndm_apps.engine.parallel import Workers

__all__ = ["KroneckerBlocks", "LayerPass"]


class LayerPass(NamedTuple):
    """One use of a linear layer: what went in (detached) and what came out (with its graph)."""

    layer: nn.Linear
    inputs: Tensor
    output: Tensor


class KroneckerBlocks:
    r"""A block-diagonal model of the pull-back of metrics on a model's values, and its inverse.

    A linear layer with inputs a (a 1 appended for the bias) and pre-activations s has the block

    .. math:: A \otimes G, \qquad A = E[a a^\top], \qquad G = E[\nabla_s \ell\, \nabla_s \ell^\top],

    where :math:`\nabla_s \ell` is the gradient for a random cotangent :math:`R \sigma` of the values,
    :math:`R R^\top = g` and :math:`\sigma` random signs. Signs give the mean of targets drawn from the model, at less
    variance. Any other parameter that the values depend on has a diagonal block, from the squares of its gradients in
    the same backward pass.

    Parameters
    ----------
    model
        Whose parameters these are.
    samples
        Cotangents drawn for each pass; None for the exact G of linear layers, at one backward pass per output.
    decay
        Weight of the past in the moving averages, in [0, 1).
    refresh
        Number of observations between eigendecompositions; less at first.
    generator
        Source of the signs.
    workers
        The processes that share each mini-batch, and the factors of it all.

    References
    ----------
    Martens and Grosse, "Optimizing neural networks with Kronecker-factored approximate curvature", 2015,
    arXiv:1503.05671.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        samples: int | None,
        decay: float,
        refresh: int,
        generator: torch.Generator,
        workers: Workers,
    ) -> None:
        self._samples, self._generator, self._workers = samples, generator, workers
        # Not subclasses, which may compute their weight, or something else from it.
        self.layers = {m: _LinearBlock(m, decay, refresh, workers) for m in model.modules() if type(m) is nn.Linear}
        linear = {part for layer in self.layers for part in layer.parameters()}
        self._others: list[_DiagonalBlock] = [
            _DiagonalBlock(p, decay, workers) for p in model.parameters() if p not in linear and p.requires_grad
        ]
        self._blocks: list[_Block] = [*self.layers.values(), *self._others]

    def observe(self, passes: Sequence[LayerPass], values: Sequence[Value]) -> None:
        """Blend what one forward pass tells into the moving averages; its graph is left intact."""
        computed = [value.value for value in values]
        watched = [use.output for use in passes] + [block.parameter for block in self._others]
        gradients = [
            torch.autograd.grad(computed, watched, cotangents, retain_graph=True, allow_unused=True)
            for cotangents in self._cotangents(values)
        ]
        found: list[list[Tensor]] = [
            [part for part in parts if part is not None] for parts in zip(*gradients, strict=True)
        ]
        uses: dict[nn.Linear, list[tuple[Tensor, list[Tensor]]]] = {}
        for use, parts in zip(passes, found, strict=False):
            if parts:
                uses.setdefault(use.layer, []).append((use.inputs, parts))
        for layer, seen in uses.items():
            self.layers[layer].observe(seen, len(computed[0]))
        for block, parts in zip(self._others, found[len(passes) :], strict=True):
            if parts:
                block.observe(parts, len(computed[0]))

    def solve(self, gradients: Mapping[Tensor, Tensor], damping: Mapping[Tensor, float]) -> dict[Tensor, Tensor]:
        """Return the inverse of the damped blocks times the gradients, for the parameters that have a block."""
        solved: dict[Tensor, Tensor] = {}
        for block in self._blocks:
            if block.observed and block.parameter in gradients:
                solved.update(block.solve(gradients, damping[block.parameter]))
        return solved

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the moving averages and decompositions, block by block."""
        return [block.state for block in self._blocks]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Restore what :meth:`state_dict` of the blocks of the same model returned."""
        for block, state in zip(self._blocks, states, strict=True):
            block.state = {
                name: value.to(block.parameter, copy=True) if isinstance(value, Tensor) else value
                for name, value in state.items()
            }

    def _cotangents(self, values: Sequence[Value]) -> list[list[Tensor]]:
        """Return random cotangents of the values, whose second moments add up to the metrics."""
        roots = [value.metric.root(value.value.detach()) for value in values]
        if self._samples is not None:
            signs = [[self._signs(value.value) for value in values] for _ in range(self._samples)]
            scale = self._samples**-0.5
            return [
                [root(s.mul_(scale) if scale < 1 else s) for root, s in zip(roots, row, strict=True)] for row in signs
            ]
        exact = []
        for number, (root, value) in enumerate(zip(roots, values, strict=True)):
            for column in range(value.value.shape[-1]):
                cotangents = [torch.zeros_like(other.value) for other in values]
                # A sign for each sample leaves G as it is, and keeps samples apart in the diagonal blocks.
                cotangents[number][..., column] = self._signs(value.value[..., column])
                cotangents[number] = root(cotangents[number])
                exact.append(cotangents)
        return exact

    def _signs(self, like: Tensor) -> Tensor:
        # Drawn for the whole mini-batch: a sample's sign does not depend on which process holds the sample.
        whole = like.new_empty((self._workers.size * len(like), *like.shape[1:]))
        return self._workers.own(whole.random_(0, 2, generator=self._generator).mul_(2).sub_(1))


class _Block(ABC):
    """A block of the metric, with moving averages in ``state``; it goes with ``parameter``."""

    def __init__(self, parameter: Tensor, decay: float, workers: Workers) -> None:
        self.parameter, self._decay, self._workers = parameter, decay, workers
        self.state: dict[str, Any] = {"observed": 0}

    @property
    def observed(self) -> int:
        """Number of passes that went into the averages."""
        count: int = self.state["observed"]
        return count

    def _past(self) -> float:
        """Count one more pass, and return the weight of the past: at first that of a plain mean over all passes."""
        self.state["observed"] += 1
        return min(1 - 1 / self.observed, self._decay)

    @abstractmethod
    def solve(self, gradients: Mapping[Tensor, Tensor], damping: float) -> dict[Tensor, Tensor]:
        """Return the inverse of the damped block times the gradients."""


class _LinearBlock(_Block):
    """The factors of one linear layer, and their eigenvectors."""

    def __init__(self, layer: nn.Linear, decay: float, refresh: int, workers: Workers) -> None:
        super().__init__(layer.weight, decay, workers)
        # A bias that is not trained has no place in the block: the inverse would count on it to move, too.
        self._bias = layer.bias if layer.bias is not None and layer.bias.requires_grad else None
        self._refresh = refresh
        self.state["due"] = 1

    def observe(self, uses: Sequence[tuple[Tensor, Sequence[Tensor]]], batch: int) -> None:
        """Blend in the inputs and the gradients of each use in one pass; gradients of several uses are one sum."""
        state, past = self.state, self._past()
        factors = {"A": past, "G": past}
        for inputs, gradients in uses:
            rows = inputs.reshape(-1, inputs.shape[-1])
            if self._bias is not None:
                rows = nn.functional.pad(rows, (0, 1), value=1.0)
            self._add("A", rows, factors, (1 - past) / (len(rows) * len(uses)))
            for gradient in gradients:
                self._add("G", gradient.reshape(-1, gradient.shape[-1]), factors, (1 - past) / batch)
        self._workers.average([state["A"], state["G"]])
        if state["observed"] >= state["due"]:
            state["due"] = state["observed"] + min(state["observed"], self._refresh)
            a_values, state["A_vectors"] = _eigh(state["A"])
            g_values, state["G_vectors"] = _eigh(state["G"])
            state["values"] = torch.outer(g_values, a_values)

    def solve(self, gradients: Mapping[Tensor, Tensor], damping: float) -> dict[Tensor, Tensor]:
        """Return the natural gradient of weight and bias, in the eigenbasis of the factors."""
        weight, bias = self.parameter, self._bias
        a, g = self.state["A_vectors"], self.state["G_vectors"]
        gradient = gradients[weight]
        if bias is not None:
            column = gradients[bias] if bias in gradients else torch.zeros_like(bias)
            gradient = torch.cat([gradient, column[:, None]], dim=1)
        natural = g @ (g.mT @ gradient @ a).mul_(_inverse(self.state["values"], damping)) @ a.mT
        if bias is None:
            return {weight: natural}
        solved = {weight: natural[:, :-1], bias: natural[:, -1]}
        return solved if bias in gradients else {weight: solved[weight]}

    def _add(self, name: str, rows: Tensor, past: dict[str, float], weight: float) -> None:
        if name not in self.state:
            self.state[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
        self.state[name].addmm_(rows.mT, rows, beta=past[name], alpha=weight)
        past[name] = 1.0


class _DiagonalBlock(_Block):
    """The diagonal of the metric on one parameter."""

    def __init__(self, parameter: Tensor, decay: float, workers: Workers) -> None:
        super().__init__(parameter, decay, workers)
        self.state["diagonal"] = torch.zeros_like(parameter)

    def observe(self, gradients: Sequence[Tensor], batch: int) -> None:
        """Blend in gradients for random cotangents, each for a batch."""
        past = self._past()
        self.state["diagonal"].mul_(past)
        self._workers.add(gradients)
        for gradient in gradients:
            self.state["diagonal"].addcmul_(gradient, gradient, value=(1 - past) / (batch * self._workers.size))

    def solve(self, gradients: Mapping[Tensor, Tensor], damping: float) -> dict[Tensor, Tensor]:
        """Return the gradient over the damped diagonal."""
        return {self.parameter: gradients[self.parameter] * _inverse(self.state["diagonal"], damping)}


def _inverse(values: Tensor, damping: float) -> Tensor:
    """Return 1 / (values + damping); without damping, the pseudo-inverse."""
    if damping:
        return (values + damping).reciprocal_()
    return torch.where(values > 0, 1 / values, 0.0)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those that are zero to rounding set to zero, and eigenvectors."""
    values, vectors = torch.linalg.eigh(matrix)
    floor = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp_min(0)
    # Contiguous, as they are when restored: the layout decides how products are rounded.
    return torch.where(values > floor, values, 0.0), vectors.contiguous()
