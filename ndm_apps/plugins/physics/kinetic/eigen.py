"""The directions in which a quadratic form is least, relative to another one that may have a null space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Directions with less of the norm than this part of its largest count as free of it.
DEGENERATE = 1e-13


class Least(NamedTuple):
    """Ratios of the two forms (square roots of eigenvalues), ascending, and the vectors as columns, of norm 1."""

    ratios: Tensor
    vectors: Tensor


def least_ratios(matrix: Tensor, gram: Tensor) -> Least:
    r"""Minimise :math:`|A c| / \sqrt{c^T N c}`; in the null space of N, c is free and makes :math:`|A c|` least.

    The matrix itself is decomposed, not :math:`A^T A`: ratios down to the rounding error are seen, not to its root.

    Parameters
    ----------
    matrix
        A, shape ``(rows, columns)``.
    gram
        N, shape ``(columns, columns)``, positive semidefinite.

    Examples
    --------
    >>> import torch
    >>> found = least_ratios(torch.diag(torch.tensor([3.0, 1.0, 5.0])), torch.diag(torch.tensor([1.0, 4.0, 0.0])))
    >>> found.ratios
    tensor([0.5000, 3.0000])
    """
    size = gram.diagonal().sqrt()
    free = size == 0
    size = torch.where(free, torch.ones_like(size), size)
    energy, basis = torch.linalg.eigh(gram / size[:, None] / size)
    basis = basis / size[:, None]
    known = energy > DEGENERATE * energy[-1]
    a = torch.linalg.qr(matrix, mode="r").R
    ranged, null = a @ (basis[:, known] / energy[known].sqrt()), a @ basis[:, ~known]
    if null.shape[1]:
        solution = torch.linalg.lstsq(null, ranged, driver="gelsd").solution
        ranged = ranged - null @ solution
    _, sigma, vh = torch.linalg.svd(ranged, full_matrices=False)
    inner = vh.mT.flip(1)
    vectors = basis[:, known] / energy[known].sqrt() @ inner
    if null.shape[1]:
        vectors = vectors - basis[:, ~known] @ (solution @ inner)
    return Least(sigma.flip(0), vectors)
