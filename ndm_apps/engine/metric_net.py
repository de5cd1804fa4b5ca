r"""Geometric Layer: Metric Nets, networks whose output at a point is the Riemannian metric there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.mlp import MLP
from ndm_apps.engine.mlp_curvature import Pattern, factor_curvature, random_signs
from ndm_apps.engine.mlp_jets import Layer
from ndm_apps.engine.scaled_curvature import conformal_curvature, diagonal_curvature, log_scale
from ndm_apps.geometry.metric import evaluate

__all__ = ["MetricNet"]

StructureName = Literal["cholesky", "diagonal", "low_rank", "block", "conformal"]

_CONDITION = {torch.float32: 1e4, torch.float64: 1e6}
"""Largest condition number by default."""

_KEPT = 0.99
"""How much of a raised eps is left a call later: batches that need it come back before it is gone."""


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

    :math:`\epsilon` does not depend on x, so curvature has the same closed form whatever its value. Training raises it
    through :meth:`bound_condition`, which :class:`~ndm_apps.engine.evolution.GeometricLoss` calls in training mode; a
    loop without that loss calls it itself, once per step and before the loss. It is saved with the weights.

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
    condition
        Largest condition number that :meth:`bound_condition` leaves, above 1; ``math.inf`` leaves any. If not given,
        1e4 in float32 and 1e6 in float64.

    Raises
    ------
    ValueError
        If an argument is out of its range; from the methods, if x has the wrong shape or g is not positive definite at
        some point (the message names the sample and the smallest eigenvalue).

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
        condition: float | None = None,
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
        if condition is not None and not condition > 1:
            raise ValueError(f"condition must be above 1, got {condition}")
        self.n, self.floor, self.condition = n, eps, condition
        self.structure = _STRUCTURES[structure](n, eps, rank or 1, block or 2)
        start = self.structure.identity()
        self.mlp = MLP(n, hidden, len(start))
        self.mlp.set_output(start, gain=0.1)

    @property
    def eps(self) -> float:
        """The multiple of the identity in g at present."""
        return self.structure.eps

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return the metric at ``x``."""
        return self.structure.metric(self._output(x))

    def log_volume(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        r"""Return :math:`\log \sqrt{\det g(x)}`."""
        with self._naming(x):
            return self.structure.log_volume(self._output(x))

    def scalar_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return the exact scalar curvature at ``x``, in closed form; autograd differentiates it once more."""
        with self._at(x) as (hidden, output, points):
            return self.structure.scalar_curvature(hidden, output, points).reshape(x.shape[:-1])

    def curvature_estimates(
        self, x: Float[Tensor, "*batch n"], probes: int, generator: torch.Generator | None = None, copies: int = 1
    ) -> Float[Tensor, " copies *batch"]:
        r"""Return unbiased estimates of the scalar curvature at ``x``, ``copies`` of them that are independent.

        Only the costliest sum of the closed form is estimated, from ``probes`` random vectors of signs that all points
        share (see :func:`~ndm_apps.engine.mlp_curvature.random_signs`). Where nothing is left to estimate, that is for
        surfaces, one hidden layer, ``probes`` as many as its units, and the structures ``"diagonal"`` and
        ``"conformal"``, all copies are the exact value.
        """
        with self._at(x) as (hidden, output, points):
            estimates = self.structure.curvature_estimates(hidden, output, points, probes, generator, copies)
            return estimates.reshape(copies, *x.shape[:-1])

    @torch.no_grad()
    def bound_condition(self, x: Float[Tensor, "*batch n"]) -> float:
        r"""Raise :math:`\epsilon` as far as it takes for ``cond(g) <= condition`` at ``x``, and return it.

        With :math:`g = A + \epsilon I` and the bound c, that is the largest
        :math:`(\lambda_\text{max}(A) - c\, \lambda_\text{min}(A)) / (c - 1)` over the points. Eigenvalues are computed
        at those points alone where :math:`\mathrm{tr} A` does not already tell that the bound holds: far from it, the
        call costs one evaluation of the network. What is not needed any more goes away by one percent a call, down to
        the ``eps`` of the constructor, so that one bad step does not blunt the metric for good.

        Raises
        ------
        ValueError
            If the metric is not finite at some point.
        """
        self._check(x)
        condition = self.condition or _CONDITION.get(x.dtype, math.inf)
        if x.numel() and condition < math.inf:
            least = max(self.floor, _KEPT * self.eps)
            needed = self.structure.needed_eps(self._output(x.reshape(-1, self.n)), condition, least)
            if not math.isfinite(needed):
                evaluate(self, x)
            self.structure.eps = needed
        return self.eps

    def get_extra_state(self) -> Tensor:
        """Return eps, which belongs to the metric as the weights do."""
        return torch.tensor(self.eps, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self.structure.eps = float(state)

    @contextmanager
    def _naming(self, x: Tensor) -> Iterator[None]:
        """Name the sample where a factorisation failed, and why."""
        try:
            yield
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch exports it without declaring it
            evaluate(self, x)
            raise

    def _output(self, x: Tensor) -> Tensor:
        self._check(x)
        output: Tensor = self.mlp(x)
        return output

    @contextmanager
    def _at(self, x: Tensor) -> Iterator[tuple[list[Layer], Layer, Tensor]]:
        """Give the layers of the network, and the points as one list; a metric that fails there names the sample."""
        self._check(x)
        if not bool(x.isfinite().all()):
            evaluate(self, x)
        *hidden, output = self.mlp.affine()
        with self._naming(x):
            yield hidden, output, x.reshape(-1, self.n)

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise ValueError(f"x must be a tensor of floating numbers, got {x.dtype}")
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
        return factor_curvature(hidden, output, Pattern(self.entries, self.pattern_shape[1]), x, self.eps)

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
        return factor_curvature(hidden, output, Pattern(self.entries, self.pattern_shape[1]), x, self.eps, signs)


class _Diagonal(_Structure):
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


class _Conformal(_Structure):
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
