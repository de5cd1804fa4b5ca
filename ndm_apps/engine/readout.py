r"""Streaming read-outs in closed form: the natural-gradient step that needs no repeating.

For a linear read-out under squared error the Fisher metric is the Gram matrix of the features, so one natural-gradient
step of size one ends at the optimum. Sums over the samples are all it needs: it does not depend on their order.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["NaturalGradientReadout"]


class NaturalGradientReadout(nn.Module):
    r"""Linear classifier on features :math:`\phi`, accumulated sample by sample and solved when asked.

    With the Gram matrix :math:`G = \sum \phi \phi^\top`, class counts :math:`n_c`, class sums, class means :math:`m_c`,
    N samples and D features, and :math:`\lambda` the ``shrinkage``:

    - ``"ridge"``, regression on one-hot labels: logits :math:`W \phi`, with the rows of B the class sums,

      .. math:: W = \tfrac1N B\,\bigl(\tfrac1N G + \lambda \tfrac{\mathrm{tr}\,G}{N D} I\bigr)^{-1}

    - ``"lda"``, linear discriminant analysis: with the within-class scatter
      :math:`S = \tfrac1N (G - \sum_c n_c m_c m_c^\top)` and :math:`P = (S + \lambda \tfrac{\mathrm{tr}\,S}{D} I)^{-1}`,
      logits :math:`m_c^\top P \phi - \tfrac12 m_c^\top P m_c + \log \pi_c`.

    Classes appear as their labels do. A class without samples has logit :math:`-\infty`. All state are sums, so
    read-outs of two streams merge by addition, and the order of a stream matters to rounding only.

    Parameters
    ----------
    features
        D.
    solver
        ``"lda"`` or ``"ridge"``.
    shrinkage
        :math:`\lambda`, at least 0.
    prior
        :math:`\pi_c` for ``"lda"``: ``"uniform"``, or ``"empirical"`` for the class frequencies.
    dtype
        Of the sums and of the solution; float64 keeps long streams exact, float32 halves the memory.

    References
    ----------
    Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.
    Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed., 2009, sections 3.4 and 4.3.

    Examples
    --------
    >>> readout = NaturalGradientReadout(2, shrinkage=0.1)
    >>> readout.update(torch.tensor([[0.0, 1.0], [0.2, 0.8]]), torch.tensor([0, 0]))
    >>> readout.update(torch.tensor([[1.0, 0.0], [0.9, 0.2]]), torch.tensor([2, 2]))
    >>> readout(torch.tensor([[0.1, 0.9], [1.0, 0.1]])).argmax(-1).tolist(), readout.classes
    ([0, 2], 3)
    """

    def __init__(
        self,
        features: int,
        *,
        solver: Literal["lda", "ridge"] = "lda",
        shrinkage: float = 1e-3,
        prior: Literal["uniform", "empirical"] = "uniform",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"features must be at least 1, got {features}")
        if solver not in ("lda", "ridge"):
            raise ValueError(f"solver must be 'lda' or 'ridge', got {solver!r}")
        if not 0 <= shrinkage < math.inf:
            raise ValueError(f"shrinkage must be finite and not negative, got {shrinkage}")
        if prior not in ("uniform", "empirical"):
            raise ValueError(f"prior must be 'uniform' or 'empirical', got {prior!r}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.features, self.solver, self.shrinkage, self.prior = features, solver, shrinkage, prior
        self.gram: Tensor
        self.sums: Tensor
        self.counts: Tensor
        self.register_buffer("gram", torch.zeros(features, features, dtype=dtype))
        self.register_buffer("sums", torch.zeros(0, features, dtype=dtype))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.float64))
        self._solution: tuple[Tensor, Tensor] | None = None

    @property
    def classes(self) -> int:
        """One more than the largest label so far."""
        return len(self.counts)

    @torch.no_grad()
    def update(self, phi: Float[Tensor, "batch features"], labels: Int[Tensor, " batch"]) -> None:
        """Add samples.

        Raises
        ------
        ValueError
            If shapes do not fit, a label is not an integer of at least 0, or a feature is not finite. Nothing has been
            added then.
        """
        if phi.ndim != 2 or phi.shape[1] != self.features:
            raise ValueError(f"phi must have shape (batch, {self.features}), got {tuple(phi.shape)}")
        if labels.shape != phi.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"labels must be integers of shape ({len(phi)},), got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if not len(phi):
            return
        if labels.min() < 0:
            raise ValueError(f"labels must be at least 0, got {labels.min().item()}")
        if not torch.isfinite(phi).all():
            row = int((~torch.isfinite(phi)).any(-1).nonzero()[0])
            raise ValueError(f"phi must be finite, got a value that is not in row {row}")
        phi, labels = phi.to(self.gram), labels.to(self.gram.device, torch.long)
        self._grow(int(labels.max()) + 1)
        self.gram.addmm_(phi.mT, phi)
        self.sums.index_add_(0, labels, phi)
        self.counts.index_add_(0, labels, self.counts.new_ones(len(labels)))
        self._solution = None

    @torch.no_grad()
    def merge(self, other: NaturalGradientReadout) -> None:
        """Add the samples that another read-out of the same features has seen."""
        if other.features != self.features:
            raise ValueError(f"other must have {self.features} features, got {other.features}")
        self._grow(other.classes)
        self.gram += other.gram.to(self.gram)
        self.sums[: other.classes] += other.sums.to(self.sums)
        self.counts[: other.classes] += other.counts.to(self.counts)
        self._solution = None

    def solution(self) -> tuple[Float[Tensor, "classes features"], Float[Tensor, " classes"]]:
        """Return weights and biases; solved once for all the samples so far.

        Raises
        ------
        ValueError
            If there are no samples, or too few for a shrinkage of 0.
        """
        if self._solution is None:
            self._solution = self._solve()
        return self._solution

    def forward(self, phi: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch classes"]:
        """Return the logits, in the dtype of ``phi``."""
        weight, bias = (part.to(phi) for part in self.solution())
        return nn.functional.linear(phi, weight, bias)

    @torch.no_grad()
    def _solve(self) -> tuple[Tensor, Tensor]:
        total = self.counts.sum()
        if not total:
            raise ValueError("readout has no samples yet: call update first")
        seen = self.counts > 0
        means = self.sums / self.counts.clamp_min(1)[:, None].to(self.sums)
        scatter = self.gram / total
        # Scatter that is nothing but rounding (one sample of each class) still needs a ridge above the rounding.
        floor = torch.finfo(scatter.dtype).eps ** 0.5 * scatter.diagonal().mean()
        if self.solver == "lda":
            spread = means * (self.counts / total).sqrt()[:, None].to(means)
            scatter.addmm_(spread.mT, spread, alpha=-1)
        scatter.diagonal().add_(self.shrinkage * torch.maximum(scatter.diagonal().mean(), floor))
        factor, info = torch.linalg.cholesky_ex(scatter)
        if info.item():
            raise ValueError(
                f"shrinkage must be larger for {int(total)} samples of {self.features} features, got {self.shrinkage}"
            )
        right = means if self.solver == "lda" else self.sums / total
        weight = torch.cholesky_solve(right.mT, factor).mT
        bias = weight.new_zeros(len(weight))
        if self.solver == "lda":
            bias = -(weight * means).sum(-1) / 2
            if self.prior == "empirical":
                bias = bias + (self.counts / total).log().to(bias)
        return weight, bias.masked_fill(~seen, -math.inf)

    def _grow(self, classes: int) -> None:
        missing = classes - self.classes
        if missing > 0:
            self.sums = torch.cat([self.sums, self.sums.new_zeros(missing, self.features)])
            self.counts = torch.cat([self.counts, self.counts.new_zeros(missing)])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Classes seen by the saved read-out are no error, they are its state.
        counts = state_dict.get(f"{prefix}counts")
        if counts is not None:
            self.sums = self.sums.new_zeros(len(counts), self.features)
            self.counts = self.counts.new_zeros(len(counts))
        self._solution = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Any, recurse: bool = True) -> NaturalGradientReadout:
        before = self.gram.device, self.gram.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A move to where it is already (training loops ask for it all the time) costs no new solution.
        if (self.gram.device, self.gram.dtype) != before:
            self._solution = None
        return self
