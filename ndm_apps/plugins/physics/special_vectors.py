"""The special vectors of a space: those with as many entries of 0, or equal ones, as there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Most vectors that are compared in one space.
MOST_VECTORS = 40_000
#: Singular values of unit conditions below this do not determine a vector.
_SINGULAR = 1e-6


def determined(space: Array, known: Array, scale: Array) -> Iterator[tuple[Array, bool]]:
    """Yield known vectors, those of their space with entries of 0, and those with equal entries, each as rows.

    So many entries are 0 or equal that they determine the vector.
    """
    terms, many = known.shape
    yield known.T, False
    for tied in (False, True):
        conditions = terms**2 if tied else terms
        if space.shape[1] and comb(conditions, space.shape[1] - 1) <= MOST_VECTORS:
            yield _determined(space, scale, ties=tied), tied
            continue
        # Of a larger space, the combinations of as few of the known vectors as there is time for.
        fewer = [m for m in range(2, many + 1) if comb(many, m) * comb(conditions, m - 1) <= MOST_VECTORS]
        for chosen in combinations(range(many), max(fewer, default=many + 1)):
            yield _determined(known[:, list(chosen)], scale, ties=tied), tied


def _determined(space: Array, scale: Array, *, ties: bool) -> Array:
    """Return the vectors of a space that entries of 0 or, with ``ties``, equal ones determine, a row each."""
    terms, size = space.shape
    if size <= 1:
        return space.T[: 0 if ties else size]
    conditions = space * scale[:, None]
    if ties:
        one, other = np.triu_indices(terms, 1)
        unit = np.sqrt(scale[one] * scale[other])[:, None]
        conditions = np.concatenate(
            [conditions, (space[one] - space[other]) * unit, (space[one] + space[other]) * unit]
        )  # fmt: skip
    # In an orthonormal basis, so that no condition is lost in rounding.
    inverse = np.linalg.pinv(np.linalg.qr(scale[:, None] * space, mode="r"))
    rows = conditions @ inverse
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    _, sizes, right = np.linalg.svd(rows[np.array(list(combinations(range(len(rows)), size - 1)))])
    found = right[sizes[:, -1] > _SINGULAR, -1] @ (space @ inverse).T
    return found / np.abs(found).max(axis=1, keepdims=True)


def of_one_size(vectors: Array, halves: Array, equal: float) -> Array:
    """Return those with entries of one size (that of squares, halved) but for zeros, exactly so; each as a row."""
    found = []
    for unit in (np.ones(len(halves)), halves):
        sizes = np.abs(vectors) / unit
        least = np.where(sizes > 0.0, sizes, np.inf).min(axis=1)
        chosen = least >= (1.0 - equal) * sizes.max(axis=1)
        signs = np.sign(vectors[chosen & ((vectors != 0.0).sum(axis=1) > 1)])
        leading = np.take_along_axis(signs, np.argmax(signs != 0.0, axis=1)[:, None], axis=1)
        found.append(signs * leading * unit)
    return np.concatenate(found)
