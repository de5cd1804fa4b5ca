r"""Sums of outer products, of which only the lower half is kept.

The matrix is cut into columns of blocks and of each column the part from the diagonal down is stored, one after the
other in one vector: about half of a square, every part a plain matrix to multiply with. Samples wait until there are
enough of them for one multiplication: one at a time they would cost a pass through the whole memory each.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["SymmetricSum"]

_WIDTH = 512  # of a column of blocks
_WAITING = 512  # rows multiplied at a time


class SymmetricSum(nn.Module):
    r"""Running sum :math:`A = \sum_i x_i x_i^\top` of samples in D dimensions, stored as its lower half.

    Up to 511 samples wait to be added; they are part of the state. What is read from the sum holds them too, and
    reading changes nothing: neither a saved and loaded stream nor one that is looked at more often differs from the
    plain one in a single bit. How the samples are cut into mini-batches does not matter to the bit either.

    Parameters
    ----------
    size
        D.
    dtype
        ``torch.float32`` or ``torch.float64``.

    Examples
    --------
    >>> total = SymmetricSum(2, dtype=torch.float64)
    >>> total.update(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    >>> total.dense().tolist()
    [[1.0, 2.0], [2.0, 5.0]]
    >>> total.solve(torch.tensor([[2.0, 6.0]]), ridge=1.0).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, size: int, *, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.size = size
        self.packed: Tensor
        self.waiting: Tensor
        entries = sum((size - start) * min(_WIDTH, size - start) for start in range(0, size, _WIDTH))
        self.register_buffer("packed", torch.zeros(entries, dtype=dtype))
        self.register_buffer("waiting", torch.zeros(_WAITING, size, dtype=dtype), persistent=False)
        self.filled = 0

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "batch size"]) -> None:
        """Add samples."""
        while len(rows):
            taken = rows[: _WAITING - self.filled]
            self.waiting[self.filled : self.filled + len(taken)] = taken
            self.filled += len(taken)
            rows = rows[len(taken) :]
            if self.filled == _WAITING:
                _add_outer(self._columns(self.packed), self.waiting)
                self.filled = 0

    @torch.no_grad()
    def merge(self, other: SymmetricSum) -> None:
        """Add another sum."""
        self.packed += other.packed.to(self.packed)
        self.update(other.waiting[: other.filled].to(self.waiting))

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the sum by a factor of at least 0."""
        self.packed *= factor
        self.waiting[: self.filled] *= math.sqrt(factor)

    def dense(self) -> Float[Tensor, "size size"]:
        """Return the whole matrix."""
        full = self.packed.new_zeros(self.size, self.size)
        start = 0
        for column in self._columns(self._total(self.packed.dtype)):
            full[start:, start : start + column.shape[1]] = column
            start += column.shape[1]
        return full.tril() + full.tril(-1).mT

    @torch.no_grad()
    def solve(
        self,
        right: Float[Tensor, "count size"],
        *,
        ridge: float,
        rows: Float[Tensor, "few size"] | None = None,
    ) -> Float[Tensor, "count size"]:
        r"""Return the rows of :math:`Y` with :math:`Y (A + U^\top U + \rho I) = R`, by a Cholesky factorisation.

        The factor takes the place of a copy as large as the sum itself. Where float32 does not suffice for it, one in
        float64 is tried.

        Parameters
        ----------
        right
            R.
        ridge
            :math:`\rho`.
        rows
            U, none if not given.

        Raises
        ------
        ValueError
            If the matrix is not positive definite to rounding.
        """
        for dtype in dict.fromkeys([self.packed.dtype, torch.float64]):
            columns = self._columns(self._total(dtype))
            if rows is not None and len(rows):
                _add_outer(columns, rows.to(columns[0]))
            for column in columns:
                column.diagonal().add_(ridge)
            if _cholesky(columns):
                return _substitute(columns, right.to(columns[0]).mT.clone()).mT.to(self.packed.dtype)
            del columns
        raise ValueError(f"ridge must be larger for a positive definite matrix of size {self.size}, got {ridge:.3g}")

    def get_extra_state(self) -> Tensor:
        """Return the samples that wait."""
        return self.waiting[: self.filled]

    def set_extra_state(self, state: Tensor) -> None:
        """Take over samples that wait."""
        self.filled = len(state)
        self.waiting[: self.filled] = state

    def _total(self, dtype: torch.dtype) -> Tensor:
        total = self.packed.to(dtype, copy=True)
        if self.filled:
            _add_outer(self._columns(total), self.waiting[: self.filled].to(dtype))
        return total

    def _columns(self, packed: Tensor) -> list[Tensor]:
        columns, offset = [], 0
        for start in range(0, self.size, _WIDTH):
            height, width = self.size - start, min(_WIDTH, self.size - start)
            columns.append(packed[offset : offset + height * width].view(height, width))
            offset += height * width
        return columns


def _add_outer(columns: list[Tensor], rows: Tensor) -> None:
    """Add the rows' sum of outer products to columns of blocks."""
    samples = rows.mT.contiguous()
    for column in columns:
        below = samples[len(samples) - len(column) :]
        column.add_(_product(below, below[: column.shape[1]]))


def _cholesky(columns: list[Tensor]) -> bool:
    """Turn columns of blocks into those of the Cholesky factor; false if there is none."""
    for index, column in enumerate(columns):
        width = column.shape[1]
        corner, info = torch.linalg.cholesky_ex(column[:width])
        if info.item():
            return False
        column[:width] = corner
        column[width:] = torch.linalg.solve_triangular(corner.mT, column[width:], upper=True, left=False)
        for later in columns[index + 1 :]:
            below = column[len(column) - len(later) :]
            later.sub_(_product(below, below[: later.shape[1]]))
    return True


def _substitute(columns: list[Tensor], x: Tensor) -> Tensor:
    """Solve with the Cholesky factor and its transpose, in place of the right-hand side ``(size, count)``."""
    for column in columns:
        width = column.shape[1]
        here, below = x[len(x) - len(column) :][:width], x[len(x) - len(column) + width :]
        here.copy_(torch.linalg.solve_triangular(column[:width].tril(), here, upper=False))
        below.sub_(column[width:] @ here)
    for column in reversed(columns):
        width = column.shape[1]
        here, below = x[len(x) - len(column) :][:width], x[len(x) - len(column) + width :]
        here.sub_(column[width:].mT @ below)
        here.copy_(torch.linalg.solve_triangular(column[:width].tril().mT, here, upper=True))
    return x


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T; for float32 on CPUs by oneDNN, twice as fast as MKL where that leaves wide registers unused."""
    if a.dtype == torch.float32 and a.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return nn.functional.linear(a.to_mkldnn(), b).to_dense()
    return a @ b.mT
