r"""Geometric Layer: Metric Nets, networks whose output at a point is the Riemannian metric there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.mlp import MLP
from ndm_apps.engine.mlp_curvature import (
    Layer,
    conformal_curvature,
    diagonal_curvature,
    factor_curvature,
    log_scale,
)

__all__ = ["MetricNet"]

StructureName = Literal["cholesky", "diagonal", "low_rank", "block", "conformal"]


class MetricNet(nn.Module):
    r"""A learned metric: a tanh network followed by a map onto positive definite matrices.

    ================  ==========================================================  =======================
    ``structure``     :math:`g(x)`                                                network outputs
    ================  ==========================================================  =======================
    ``"cholesky"``    :math:`L L^\top + \epsilon I`, L lower triangular           n (n + 1) / 2
    ``"block"``       the same, L block diagonal                                  sum of b (b + 1) / 2
    ``"low_rank"``    :math:`\mathrm{diag}(d^2) + U U^\top + \epsilon I`          n (r + 1)
    ``"diagonal"``    :math:`\mathrm{diag}(e^{2 o}) + \epsilon I`                 n
    ``"conformal"``   :math:`(e^{2 o} + \epsilon) I`                              1
    ================  ==========================================================  =======================

    At the start g is close to the identity, so its volume element is close to 1 and its curvature to 0.

    Parameters
    ----------
    n
        Dimension.
    hidden
        Widths of the hidden layers, at least one.
    structure
        Which of the families above.
    eps
        The part of the identity that training cannot take away, between 0 and 1: the smallest eigenvalue of g.
    rank
        Columns r of U for ``"low_rank"``; 1 if not given.
    block
        Size b of the blocks for ``"block"`` (the last one may be smaller); 2 if not given.

    References
    ----------
    Zhang, "Neural Differential Manifold", 2025, arXiv:2510.25113.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = MetricNet(3, structure="diagonal")
    >>> x = torch.zeros(5, 3)
    >>> net(x).shape, net.scalar_curvature(x).shape
    (torch.Size([5, 3, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        n: int,
        hidden: Sequence[int] = (64, 64),
        structure: StructureName = "cholesky",
        eps: float = 1e-2,
        *,
        rank: int | None = None,
        block: int | None = None,
    ) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden must be one or more widths of at least 1, got {tuple(hidden)}")
        if structure not in _STRUCTURES:
            raise ValueError(f"structure must be one of {sorted(_STRUCTURES)}, got {structure!r}")
        if not 0 < eps < 1:
            raise ValueError(f"eps must be between 0 and 1, got {eps}")
        for name, value, owner in (("rank", rank, "low_rank"), ("block", block, "block")):
            if value is not None and (structure != owner or value < 1):
                raise ValueError(f"{name} must be at least 1 and goes with structure {owner!r}, got {value}")
        self.n, self.eps = n, eps
        self.structure = _STRUCTURES[structure](n, eps, rank or 1, block or 2)
        start = self.structure.identity()
        self.mlp = MLP(n, hidden, len(start))
        self.mlp.set_output(start, gain=0.1)

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return the metric at ``x``."""
        return self.structure.metric(self._output(x))

    def log_volume(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        r"""Return :math:`\log \sqrt{\det g(x)}`."""
        return self.structure.log_volume(self._output(x))

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return the exact scalar curvature at ``x``, in closed form; autograd differentiates it once more."""
        self._check(x)
        *hidden, output = self.mlp.affine()
        return self.structure.scalar_curvature(hidden, output, x.reshape(-1, self.n)).reshape(x.shape[:-1])

    def _output(self, x: Tensor) -> Tensor:
        self._check(x)
        output: Tensor = self.mlp(x)
        return output

    def _check(self, x: Tensor) -> None:
        if x.ndim == 0 or x.shape[-1] != self.n:
            raise ValueError(f"x must have shape (..., {self.n}), got {tuple(x.shape)}")


class _Structure(nn.Module, ABC):
    """How the outputs of a network become a metric."""

    def __init__(self, n: int, eps: float) -> None:
        super().__init__()
        self.n, self.eps = n, eps

    @abstractmethod
    def identity(self) -> Float[Tensor, " outputs"]:
        """Return the outputs for which the metric is the identity."""

    @abstractmethod
    def metric(self, output: Float[Tensor, "*batch outputs"]) -> Float[Tensor, "*batch n n"]:
        """Return g."""

    @abstractmethod
    def log_volume(self, output: Float[Tensor, "*batch outputs"]) -> Float[Tensor, "*batch"]:
        """Return the logarithm of the volume element of g."""

    @abstractmethod
    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Float[Tensor, "B n"]) -> Float[Tensor, " B"]:
        """Return R for the network with these layers."""


class _Factor(_Structure):
    r""":math:`g = L L^\top + \epsilon I` where only the entries ``pattern`` of L are not zero."""

    def __init__(self, n: int, eps: float, pattern: Float[Tensor, "n m"]) -> None:
        super().__init__(n, eps)
        self.pattern_shape = tuple(pattern.shape)
        self.entries: Tensor
        self.register_buffer("entries", pattern.flatten().nonzero().squeeze(-1), persistent=False)

    def identity(self) -> Tensor:
        start = (1 - self.eps) ** 0.5 * torch.eye(*self.pattern_shape)
        outputs: Tensor = start.flatten()[self.entries]
        return outputs

    def metric(self, output: Tensor) -> Tensor:
        flat = output.new_zeros(*output.shape[:-1], self.pattern_shape[0] * self.pattern_shape[1])
        factor = torch.unflatten(flat.index_copy(-1, self.entries, output), -1, self.pattern_shape)
        return factor @ factor.mT + self.eps * torch.eye(self.n, dtype=output.dtype, device=output.device)

    def log_volume(self, output: Tensor) -> Tensor:
        factor: Tensor = torch.linalg.cholesky(self.metric(output))
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        # Spread over all entries once per call: a gather inside would have a slow backward pass.
        rows = self.pattern_shape[0] * self.pattern_shape[1]
        weight, bias = (part.new_zeros(rows, *part.shape[1:]).index_copy(0, self.entries, part) for part in output)
        return factor_curvature(hidden, (weight, bias), x, self.eps)


class _Diagonal(_Structure):
    r""":math:`g = \mathrm{diag}(e^{2 o}) + \epsilon I`."""

    def identity(self) -> Tensor:
        return torch.full((self.n,), 1 - self.eps).log() / 2

    def metric(self, output: Tensor) -> Tensor:
        return torch.diag_embed((2 * output).exp() + self.eps)

    def log_volume(self, output: Tensor) -> Tensor:
        return log_scale(output, self.eps)[0].sum(-1)

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        return diagonal_curvature(hidden, output, x, self.eps)


class _Conformal(_Structure):
    r""":math:`g = (e^{2 o} + \epsilon) I`."""

    def identity(self) -> Tensor:
        return torch.full((1,), 1 - self.eps).log() / 2

    def metric(self, output: Tensor) -> Tensor:
        return torch.diag_embed(((2 * output).exp() + self.eps).expand(*output.shape[:-1], self.n))

    def log_volume(self, output: Tensor) -> Tensor:
        return self.n * log_scale(output, self.eps)[0].squeeze(-1)

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        return conformal_curvature(hidden, output, x, self.eps)


def _cholesky(n: int, eps: float, rank: int, block: int) -> _Structure:
    return _Factor(n, eps, torch.ones(n, n).tril())


def _block(n: int, eps: float, rank: int, block: int) -> _Structure:
    group = torch.arange(n) // block
    return _Factor(n, eps, (group[:, None] == group).float().tril())


def _low_rank(n: int, eps: float, rank: int, block: int) -> _Structure:
    return _Factor(n, eps, torch.cat([torch.eye(n), torch.ones(n, rank)], dim=1))


_STRUCTURES: dict[str, Callable[[int, float, int, int], _Structure]] = {
    "cholesky": _cholesky,
    "diagonal": lambda n, eps, rank, block: _Diagonal(n, eps),
    "low_rank": _low_rank,
    "block": _block,
    "conformal": lambda n, eps, rank, block: _Conformal(n, eps),
}
