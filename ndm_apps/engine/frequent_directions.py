r"""Sums of outer products in bounded memory: the few largest directions, and the rest as a diagonal."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["FrequentDirections"]


class FrequentDirections(nn.Module):
    r"""Running sum :math:`A = \sum_i x_i x_i^\top` in D dimensions, kept as :math:`B^\top B + \mathrm{diag}(a)`.

    B has at most 2 l rows. When it is full, its squared singular values lose the (l+1)-th of them, :math:`\delta`, and
    those below vanish: l rows remain. Then

    .. math:: 0 \preceq A - B^\top B \preceq \textstyle\sum \delta\, I, \qquad
              \textstyle\sum \delta \le \frac{\mathrm{tr} A}{l + 1},

    and in general at most :math:`\mathrm{tr}(A - A_k) / (l + 1 - k)` with the best approximation :math:`A_k` of rank
    k. The diagonal of A is known exactly; a is what B lacks of it, so that :math:`\|A - B^\top B - \mathrm{diag}(a)\|`
    keeps the same bound and the trace is exact.

    Parameters
    ----------
    size
        D.
    rank
        l, at least 1.
    dtype
        ``torch.float32`` or ``torch.float64``.

    References
    ----------
    Liberty, "Simple and deterministic matrix sketching", KDD 2013.
    Ghashami, Liberty, Phillips and Woodruff, "Frequent directions: simple and deterministic matrix sketching", 2016.
    Luo, Chen, Zhang, Li and Zhang, "Robust frequent directions with application in online learning", JMLR 20, 2019.

    Examples
    --------
    >>> total = FrequentDirections(3, rank=1, dtype=torch.float64)
    >>> total.update(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    >>> total.dense().diagonal().tolist(), float(total.bound)
    ([9.0, 1.0, 1.0], 1.0)
    """

    def __init__(self, size: int, *, rank: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        self.size, self.rank = size, rank
        self.rows: Tensor
        self.diagonal: Tensor
        self.bound: Tensor
        self.register_buffer("rows", torch.zeros(2 * rank, size, dtype=dtype), persistent=False)
        self.register_buffer("diagonal", torch.zeros(size, dtype=dtype))
        self.register_buffer("bound", torch.zeros((), dtype=dtype))
        self.filled = 0

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "batch size"]) -> None:
        """Add samples."""
        self.diagonal += rows.square().sum(0)
        self._insert(rows)

    @torch.no_grad()
    def merge(self, other: FrequentDirections) -> None:
        """Add another sum; the bounds add up too, each at most its trace over l + 1."""
        self.diagonal += other.diagonal.to(self.diagonal)
        self.bound += other.bound.to(self.bound)
        self._insert(other.rows[: other.filled].to(self.rows))

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the sum by a factor of at least 0, and the bound with it."""
        self.rows[: self.filled] *= math.sqrt(factor)
        self.diagonal *= factor
        self.bound *= factor

    def dense(self) -> Float[Tensor, "size size"]:
        """Return the whole matrix."""
        rows = self.rows[: self.filled]
        return rows.mT @ rows + self._rest().diag()

    @torch.no_grad()
    def solve(
        self,
        right: Float[Tensor, "count size"],
        *,
        ridge: float,
        rows: Float[Tensor, "few size"] | None = None,
    ) -> Float[Tensor, "count size"]:
        """Do as :meth:`SymmetricSum.solve <ndm_apps.engine.symmetric.SymmetricSum.solve>`, by the Woodbury identity."""
        diagonal = self._rest() + ridge
        if diagonal.min() <= torch.finfo(diagonal.dtype).eps * self.diagonal.mean():
            raise ValueError(
                f"ridge must be larger for a positive definite matrix of size {self.size}, got {ridge:.3g}"
            )
        low = self.rows[: self.filled] if rows is None else torch.cat([self.rows[: self.filled], rows.to(self.rows)])
        # In coordinates where the diagonal is the identity: (I + L^T L)^-1 = I - L^T (I + L L^T)^-1 L.
        scale = diagonal.rsqrt()
        low, scaled = low * scale, right.to(scale) * scale
        inner = (low @ low.mT).double()
        inner.diagonal().add_(1)
        factor = torch.linalg.cholesky(inner)
        inside = torch.cholesky_solve((low @ scaled.mT).double(), factor).to(low)
        return (scaled - inside.mT @ low) * scale

    def get_extra_state(self) -> Tensor:
        """Return the rows in use."""
        return self.rows[: self.filled]

    def set_extra_state(self, state: Tensor) -> None:
        """Take over rows in use."""
        self.filled = len(state)
        self.rows[: self.filled] = state

    def _rest(self) -> Tensor:
        return (self.diagonal - self.rows[: self.filled].square().sum(0)).clamp_min(0)

    def _insert(self, rows: Tensor) -> None:
        while len(rows):
            if self.filled == len(self.rows):
                self._shrink()
            taken = rows[: len(self.rows) - self.filled]
            self.rows[self.filled : self.filled + len(taken)] = taken
            self.filled += len(taken)
            rows = rows[len(taken) :]

    def _shrink(self) -> None:
        # Through the small matrix B B^T: its eigenvectors are orthonormal whatever its rounding, so that errors stay
        # as small as its own, eps times the largest squared singular value.
        squares, vectors = torch.linalg.eigh((self.rows @ self.rows.mT).double())
        loss = squares[-self.rank - 1].clamp_min(0)
        kept = squares[-self.rank :]
        factors = ((kept - loss).clamp_min(0) / kept.clamp_min(torch.finfo(kept.dtype).tiny)).sqrt()
        self.rows[: self.rank] = (vectors[:, -self.rank :] * factors).mT.to(self.rows) @ self.rows
        self.bound += loss
        self.filled = self.rank
