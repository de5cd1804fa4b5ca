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

from ndm_apps.engine.frequent_directions import FrequentDirections
from ndm_apps.engine.symmetric import SymmetricSum

__all__ = ["NaturalGradientReadout"]


class NaturalGradientReadout(nn.Module):
    r"""Linear classifier on features :math:`\phi`, accumulated sample by sample and solved when asked.

    Kept are the counts :math:`n_c` and means :math:`m_c` of the classes and the within-class scatter
    :math:`W = \sum (\phi - m_c)(\phi - m_c)^\top`. With N samples, D features and :math:`\lambda` the ``shrinkage``:

    - ``"ridge"``, regression on one-hot labels: with the Gram matrix
      :math:`G = \sum \phi \phi^\top = W + \sum_c n_c m_c m_c^\top` and the rows of B the class sums, logits
      :math:`V \phi`,

      .. math:: V = \tfrac1N B\,\bigl(\tfrac1N G + \lambda \tfrac{\mathrm{tr}\,G}{N D} I\bigr)^{-1}

    - ``"lda"``, linear discriminant analysis: with :math:`S = \tfrac1N W` and
      :math:`P = (S + \lambda \tfrac{\mathrm{tr}\,S}{D} I)^{-1}` and the mean m of all samples, logits
      :math:`(m_c - m)^\top P (\phi - \tfrac12 (m_c + m)) + \log \pi_c`.

    Classes appear as their labels do. A class without samples has logit :math:`-\infty`. Read-outs of two streams merge
    into that of both, and the order of a stream matters to rounding only.

    A mini-batch of b samples of a class with n samples so far and mean m adds exactly b outer products to W, those of
    :math:`\phi_i - m - (1 - \sqrt{n / (n + b)}) (\bar\phi - m)`: nothing is subtracted later, so that float32 loses
    nothing where the means are large beside the spread.

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
    classes
        Labels from here on are refused; any label of at least 0 is welcome if not given.
    rank
        Keep W as a sketch of at most twice this rank and a diagonal
        (:class:`~ndm_apps.engine.frequent_directions.FrequentDirections`) instead of its D (D + 1) / 2 entries.
        Exact while there are no more than twice as many samples; then the order of a stream matters within the
        sketch's bound.
    dtype
        Of the sums and of the solution; float32 halves the memory and is several times as fast.

    References
    ----------
    Amari, "Natural gradient works efficiently in learning", Neural Computation 10, 1998.
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
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
        classes: int | None = None,
        rank: int | None = None,
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
        if classes is not None and classes < 1:
            raise ValueError(f"classes must be at least 1 or None, got {classes}")
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be at least 1 or None, got {rank}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.features, self.solver, self.shrinkage, self.prior = features, solver, shrinkage, prior
        self.rank, self._labels = rank, math.inf if classes is None else classes
        self.scatter: SymmetricSum | FrequentDirections = (
            SymmetricSum(features, dtype=dtype)
            if rank is None
            else FrequentDirections(features, rank=rank, dtype=dtype)
        )
        self.means: Tensor
        self.counts: Tensor
        self.trace: Tensor
        self.register_buffer("means", torch.zeros(0, features, dtype=dtype))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("trace", torch.zeros((), dtype=torch.float64))
        self._solution: tuple[Tensor, Tensor] | None = None

    @property
    def classes(self) -> int:
        """One more than the largest label so far."""
        return len(self.counts)

    @property
    def memory(self) -> int:
        """Bytes of the state, and of the copy of it that a solution needs for a while."""
        buffers = sum(buffer.nbytes for buffer in self.buffers())
        copy = self.scatter.packed if isinstance(self.scatter, SymmetricSum) else self.scatter.rows
        return buffers + copy.nbytes

    @torch.no_grad()
    def check(self, phi: Float[Tensor, "batch features"], labels: Int[Tensor, " batch"]) -> None:
        """Refuse samples that cannot be added.

        Raises
        ------
        ValueError
            If shapes do not fit, a label is not an integer of at least 0 and below ``classes``, or a feature is not
            finite or so large that sums of its square might not be.
        """
        if phi.ndim != 2 or phi.shape[1] != self.features:
            raise ValueError(f"phi must have shape (batch, {self.features}), got {tuple(phi.shape)}")
        if labels.shape != phi.shape[:1] or labels.dtype.is_floating_point or labels.dtype == torch.bool:
            raise ValueError(
                f"labels must be integers of shape ({len(phi)},), got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if not len(phi):
            return
        low, high = (int(end) for end in labels.aminmax())
        if low < 0:
            raise ValueError(f"labels must be at least 0, got {low}")
        if high >= self._labels:
            raise ValueError(f"labels must be below {self._labels}, got {high}")
        phi = phi.to(self.means)
        # One number tells. Its square leaves room for a trillion more of such mini-batches.
        if not torch.linalg.vector_norm(phi) < torch.finfo(phi.dtype).max ** 0.5 / 2**20:
            bad = ~torch.isfinite(phi).all(-1)
            if bad.any():
                raise ValueError(f"phi must be finite, got a value that is not in row {int(bad.nonzero()[0])}")
            most = phi.abs().max().item()
            raise ValueError(f"phi must be small enough for {phi.dtype} to add up squares, got values up to {most:.3g}")

    @torch.no_grad()
    def update(self, phi: Float[Tensor, "batch features"], labels: Int[Tensor, " batch"]) -> None:
        """Add samples.

        Raises
        ------
        ValueError
            As :meth:`check`. Nothing has been added then.
        """
        self.check(phi, labels)
        if not len(phi):
            return
        phi, labels = phi.to(self.means), labels.to(self.means.device, torch.long)
        present, labels, arriving = labels.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        before, mean = self._of(present)
        share = arriving / (before + arriving)
        sums = phi.new_zeros(len(present), self.features).index_add_(0, labels, phi)
        step = sums / arriving[:, None].to(phi) - mean
        rows = phi - (mean + (1 - (1 - share).sqrt())[:, None].to(phi) * step)[labels]
        self._put(present, before + arriving, mean + share[:, None].to(phi) * step)
        self.trace += torch.linalg.vector_norm(rows).double().square()
        self.scatter.update(rows)
        self._solution = None

    @torch.no_grad()
    def merge(self, other: NaturalGradientReadout) -> None:
        """Add the samples that another read-out of the same features has seen.

        Raises
        ------
        ValueError
            If it has other features, another ``rank``, or labels that are not below ``classes``.
        """
        if other.features != self.features:
            raise ValueError(f"other must have {self.features} features, got {other.features}")
        if other.rank != self.rank:
            raise ValueError(f"other must have rank {self.rank}, got {other.rank}")
        if other.classes > self._labels:
            raise ValueError(f"other must have labels below {self._labels}, got {other.classes - 1}")
        present = torch.nonzero(other.counts)[:, 0]
        arriving, theirs = (part.to(self.means.device) for part in other._of(present))
        present = present.to(self.means.device)
        before, mean = self._of(present)
        step = theirs.to(mean) - mean
        share = arriving / (before + arriving)
        rows = (before * share).sqrt()[:, None].to(mean) * step
        self._put(present, before + arriving, mean + share[:, None].to(mean) * step)
        self.trace += other.trace.to(self.trace) + rows.double().square().sum()
        self.scatter.merge(other.scatter)  # type: ignore[arg-type]
        self.scatter.update(rows[before > 0])
        self._solution = None

    @torch.no_grad()
    def fade(self, factor: float) -> None:
        r"""Let all samples so far count less: each by a factor in (0, 1].

        Applied before each mini-batch of b samples with :math:`2^{-b / h}`, it is recursive least squares with
        exponential forgetting of half-life h, for streams whose labels change their meaning.

        Raises
        ------
        ValueError
            If the factor is not in (0, 1].
        """
        if not 0 < factor <= 1:
            raise ValueError(f"factor must be in (0, 1], got {factor}")
        self.counts *= factor
        self.trace *= factor
        self.scatter.scale(factor)
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
        # Rows whose outer products are the scatter between the classes, which makes the Gram matrix of the one within.
        between = self.counts.sqrt()[:, None].to(self.means) * self.means
        gram_trace = self.trace + between.double().square().sum()
        trace = self.trace if self.solver == "lda" else gram_trace
        # Scatter that is nothing but rounding (one sample of each class) still needs a ridge above the rounding.
        floor = torch.finfo(self.means.dtype).eps ** 0.5 * gram_trace
        overall = (self.counts / total).to(self.means) @ self.means
        if self.solver == "lda":
            right = float(total) * (self.means - overall) * (self.counts > 0)[:, None]
        else:
            right = self.counts[:, None].to(self.means) * self.means
        try:
            weight = self.scatter.solve(
                right,
                ridge=float(self.shrinkage * torch.maximum(trace, floor) / self.features),
                rows=None if self.solver == "lda" else between,
            )
        except ValueError:
            raise ValueError(
                f"shrinkage must be larger for {int(total)} samples of {self.features} features, got {self.shrinkage}"
            ) from None
        bias = weight.new_zeros(len(weight))
        if self.solver == "lda":
            bias = -(weight * (self.means + overall)).sum(-1) / 2
            if self.prior == "empirical":
                bias = bias + (self.counts / total).log().to(bias)
        return weight, bias.masked_fill(self.counts == 0, -math.inf)

    def _of(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return counts and means of classes; zeros of those that have no place yet."""
        known = labels < self.classes
        counts, means = self.counts.new_zeros(len(labels)), self.means.new_zeros(len(labels), self.features)
        counts[known], means[known] = self.counts[labels[known]], self.means[labels[known]]
        return counts, means

    def _put(self, labels: Tensor, counts: Tensor, means: Tensor) -> None:
        """Set counts and means of classes, and make room for them."""
        missing = int(labels.max()) + 1 - self.classes if len(labels) else 0
        if missing > 0:
            # Both or neither: a label so large that there is no memory for it leaves all as it was.
            self.means, self.counts = (
                torch.cat([self.means, self.means.new_zeros(missing, self.features)]),
                torch.cat([self.counts, self.counts.new_zeros(missing)]),
            )
        self.counts[labels], self.means[labels] = counts, means

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Classes seen by the saved read-out are no error, they are its state.
        counts = state_dict.get(f"{prefix}counts")
        if counts is not None:
            self.means = self.means.new_zeros(len(counts), self.features)
            self.counts = self.counts.new_zeros(len(counts))
        self._solution = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _apply(self, fn: Any, recurse: bool = True) -> NaturalGradientReadout:
        before = self.means.device, self.means.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A move to where it is already (training loops ask for it all the time) costs no new solution.
        if (self.means.device, self.means.dtype) != before:
            self._solution = None
        return self
