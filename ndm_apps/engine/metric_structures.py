"""The structures of Metric Nets: how the outputs of a network become a positive definite matrix."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.mlp_curvature import Pattern, column_blocks, factor_curvature, random_signs
from ndm_apps.engine.mlp_jets import Layer
from ndm_apps.engine.scaled_curvature import conformal_curvature, diagonal_curvature, log_scale

__all__ = ["STRUCTURES", "Structure", "StructureName"]

StructureName = Literal["cholesky", "diagonal", "low_rank", "block", "conformal"]


class Structure(nn.Module, ABC):
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
    def needed_eps(self, output: Float[Tensor, "B outputs"], condition: float, least: float) -> float:
        """Return the least eps from ``least`` on that keeps the condition number of g at or below ``condition``."""

    @abstractmethod
    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Float[Tensor, "B n"]) -> Float[Tensor, " B"]:
        """Return R for the network with these layers."""

    def curvature_estimates(
        self,
        hidden: list[Layer],
        output: Layer,
        x: Float[Tensor, "B n"],
        probes: int,
        generator: torch.Generator | None,
        copies: int,
    ) -> Float[Tensor, " copies B"]:
        """Return independent unbiased estimates of R; here R itself."""
        return self.scalar_curvature(hidden, output, x).expand(copies, -1)


class Factor(Structure):
    r""":math:`g = L L^\top + \epsilon I` where only the entries ``pattern`` of L are not zero."""

    def __init__(self, n: int, eps: float, pattern: Float[Tensor, "n m"]) -> None:
        super().__init__(n, eps)
        self.pattern_shape = tuple(pattern.shape)
        self.blocks = column_blocks(pattern)
        self.entries: Tensor
        self.register_buffer("entries", pattern.flatten().nonzero().squeeze(-1), persistent=False)

    def identity(self) -> Tensor:
        start = (1 - self.eps) ** 0.5 * torch.eye(*self.pattern_shape)
        outputs: Tensor = start.flatten()[self.entries]
        return outputs

    def metric(self, output: Tensor) -> Tensor:
        return self._square(output) + self.eps * torch.eye(self.n, dtype=output.dtype, device=output.device)

    def _square(self, output: Tensor) -> Tensor:
        flat = output.new_zeros(*output.shape[:-1], self.pattern_shape[0] * self.pattern_shape[1])
        factor = torch.unflatten(flat.index_copy(-1, self.entries, output), -1, self.pattern_shape)
        return factor @ factor.mT

    def log_volume(self, output: Tensor) -> Tensor:
        factor: Tensor = torch.linalg.cholesky(self.metric(output))
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def needed_eps(self, output: Tensor, condition: float, least: float) -> float:
        trace = output.square().sum(-1)
        if not bool(trace.isfinite().all()):
            return math.nan
        suspects = output[trace > (condition - 1) * least]
        if not len(suspects):
            return least
        values = torch.linalg.eigvalsh(self._square(suspects))
        return _needed(values[:, 0].clamp(min=0), values[:, -1], condition, least)

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        return factor_curvature(hidden, output, self._pattern(), x, self.eps)

    def curvature_estimates(
        self,
        hidden: list[Layer],
        output: Layer,
        x: Tensor,
        probes: int,
        generator: torch.Generator | None,
        copies: int,
    ) -> Tensor:
        weight, _ = output
        if self.n <= 2 or len(hidden) == 1 or probes >= weight.shape[1]:
            return super().curvature_estimates(hidden, output, x, probes, generator, copies)
        signs = random_signs((copies, probes, weight.shape[1]), generator, weight)
        return factor_curvature(hidden, output, self._pattern(), x, self.eps, signs)

    def _pattern(self) -> Pattern:
        return Pattern(self.entries, self.pattern_shape[1], self.blocks)


class Diagonal(Structure):
    r""":math:`g = \mathrm{diag}(e^{2 o}) + \epsilon I`."""

    def identity(self) -> Tensor:
        return torch.full((self.n,), 1 - self.eps).log() / 2

    def metric(self, output: Tensor) -> Tensor:
        return torch.diag_embed((2 * output).exp() + self.eps)

    def log_volume(self, output: Tensor) -> Tensor:
        return log_scale(output, self.eps)[0].sum(-1)

    def needed_eps(self, output: Tensor, condition: float, least: float) -> float:
        smallest, largest = (2 * output).exp().aminmax(dim=-1)
        return _needed(smallest, largest, condition, least)

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        return diagonal_curvature(hidden, output, x, self.eps)


class Conformal(Structure):
    r""":math:`g = (e^{2 o} + \epsilon) I`."""

    def identity(self) -> Tensor:
        return torch.full((1,), 1 - self.eps).log() / 2

    def metric(self, output: Tensor) -> Tensor:
        return torch.diag_embed(((2 * output).exp() + self.eps).expand(*output.shape[:-1], self.n))

    def log_volume(self, output: Tensor) -> Tensor:
        return self.n * log_scale(output, self.eps)[0].squeeze(-1)

    def needed_eps(self, output: Tensor, condition: float, least: float) -> float:
        return least if bool((2 * output).exp().isfinite().all()) else math.nan

    def scalar_curvature(self, hidden: list[Layer], output: Layer, x: Tensor) -> Tensor:
        return conformal_curvature(hidden, output, x, self.eps)


def _needed(smallest: Tensor, largest: Tensor, condition: float, least: float) -> float:
    r"""Return the least :math:`\epsilon` with :math:`\lambda_1 + \epsilon \le c (\lambda_0 + \epsilon)` everywhere."""
    needed = float(((largest - condition * smallest) / (condition - 1)).max())
    return needed if math.isnan(needed) else max(needed, least)


def _cholesky(n: int, eps: float, rank: int, block: int) -> Structure:
    return Factor(n, eps, torch.ones(n, n).tril())


def _block(n: int, eps: float, rank: int, block: int) -> Structure:
    group = torch.arange(n) // block
    return Factor(n, eps, (group[:, None] == group).float().tril())


def _low_rank(n: int, eps: float, rank: int, block: int) -> Structure:
    return Factor(n, eps, torch.cat([torch.eye(n), torch.ones(n, rank)], dim=1))


STRUCTURES: dict[str, Callable[[int, float, int, int], Structure]] = {
    "cholesky": _cholesky,
    "diagonal": lambda n, eps, rank, block: Diagonal(n, eps),
    "low_rank": _low_rank,
    "block": _block,
    "conformal": lambda n, eps, rank, block: Conformal(n, eps),
}
