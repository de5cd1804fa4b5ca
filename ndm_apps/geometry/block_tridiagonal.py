"""Cholesky factorisation of symmetric block-tridiagonal matrices: O(T n^3), a batch at a time."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class BlockCholesky(NamedTuple):
    """Factor with blocks C_j on the diagonal and W_j^T below: A = L L^T."""

    diagonal: list[Float[Tensor, "*batch n n"]]
    above: list[Float[Tensor, "*batch n n"]]
    positive: Bool[Tensor, "*batch"]

    def solve(self, b: Float[Tensor, "*batch t n"]) -> Float[Tensor, "*batch t n"]:
        """Solve A x = b; meaningless where ``positive`` is False."""
        forward: list[Tensor] = []
        for j, factor in enumerate(self.diagonal):
            right = b[..., j, :].unsqueeze(-1)
            if j:
                right = right - self.above[j - 1].mT @ forward[-1]
            forward.append(torch.linalg.solve_triangular(factor, right, upper=False))
        x = [torch.linalg.solve_triangular(self.diagonal[-1].mT, forward[-1], upper=True)]
        for factor, w, right in zip(self.diagonal[-2::-1], self.above[::-1], forward[-2::-1], strict=True):
            x.append(torch.linalg.solve_triangular(factor.mT, right - w @ x[-1], upper=True))
        return torch.stack(x[::-1], -3).squeeze(-1)


def block_cholesky(diagonal: Float[Tensor, "*batch t n n"], above: Float[Tensor, "*batch t-1 n n"]) -> BlockCholesky:
    """Factorise the matrix with the given blocks on its diagonal and above it, the transposed ones below.

    Parameters
    ----------
    diagonal : Tensor
        Symmetric blocks, shape ``(..., t, n, n)``.
    above : Tensor
        Block j couples rows of block j to columns of block j + 1; shape ``(..., t - 1, n, n)``.

    Returns
    -------
    BlockCholesky
        Its ``positive`` says, for each matrix of the batch, whether it is positive definite.

    Examples
    --------
    >>> import torch
    >>> factor = block_cholesky(2 * torch.ones(3, 1, 1), -torch.ones(2, 1, 1))
    >>> factor.solve(torch.tensor([[1.0], [0.0], [1.0]])).squeeze(-1).round(decimals=4)
    tensor([1., 1., 1.])
    """
    factor, info = torch.linalg.cholesky_ex(diagonal[..., 0, :, :])
    factors, coupled, positive = [factor], [], info == 0
    for j in range(1, diagonal.shape[-3]):
        w: Tensor = torch.linalg.solve_triangular(factors[-1], above[..., j - 1, :, :], upper=False)
        factor, info = torch.linalg.cholesky_ex(diagonal[..., j, :, :] - w.mT @ w)
        factors.append(factor)
        coupled.append(w)
        positive = positive & (info == 0)
    return BlockCholesky(factors, coupled, positive)
