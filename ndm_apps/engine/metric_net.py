r"""Geometric Layer: Metric Nets, networks whose output at a point is the Riemannian metric there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.metric_structures import STRUCTURES, StructureName
from ndm_apps.engine.mlp import MLP
from ndm_apps.engine.mlp_jets import Layer
from ndm_apps.geometry.metric import evaluate

__all__ = ["MetricNet", "StructureName"]

_CONDITION = {torch.float32: 1e4, torch.float64: 1e6}
"""Largest condition number by default: gradients in float32 still point where those in float64 do."""

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
        if structure not in STRUCTURES:
            raise ValueError(f"structure must be one of {sorted(STRUCTURES)}, got {structure!r}")
        if not 0 < eps < 1:
            raise ValueError(f"eps must be between 0 and 1, got {eps}")
        for name, value, owner in (("rank", rank, "low_rank"), ("block", block, "block")):
            if value is not None and (structure != owner or value < 1):
                raise ValueError(f"{name} must be at least 1 and goes with structure {owner!r}, got {value}")
        if condition is not None and not condition > 1:
            raise ValueError(f"condition must be above 1, got {condition}")
        self.n, self.floor, self.condition = n, eps, condition
        self.structure = STRUCTURES[structure](n, eps, rank or 1, block or 2)
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

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # States from before eps could rise do not name it: it was the constructor's.
        state_dict.setdefault(f"{prefix}_extra_state", torch.tensor(self.floor, dtype=torch.float64))
        super()._load_from_state_dict(state_dict, prefix, *rest)

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
        if x.dtype != output[0].dtype:
            raise ValueError(f"x must have the dtype of the network, {output[0].dtype}, got {x.dtype}")
        with self._naming(x):
            yield hidden, output, x.reshape(-1, self.n)

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point():
            raise ValueError(f"x must be a tensor of floating numbers, got {x.dtype}")
        if x.ndim == 0 or x.shape[-1] != self.n:
            raise ValueError(f"x must have shape (..., {self.n}), got {tuple(x.shape)}")
