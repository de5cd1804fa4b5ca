"""Sparse vectors in a subspace: what turns a space of conserved quantities into short formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

Array = NDArray[np.float64]
Support = NDArray[np.intp]

LEVERAGES = 25
#: Vectors whose cosine exceeds this are one and the same but for noise.
_SAME = 0.999
#: Sizes of support that are tried.
SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 30, 40)


def sparse_vectors(space: Array, directions: Array, floor: float) -> list[Array]:
    r"""Return vectors of a space with few large entries, sparsest first.

    .. math:: \min_a \|V a\|_1 \quad\text{subject to}\quad c \cdot a = 1

    for c in ``directions`` and the rows of V with most leverage: a linear programme each (Spielman, Wang and Wright
    2012), solved by its dual, which is smaller:

    .. math:: \max_{|y|_\infty \le 1} t \quad\text{subject to}\quad V^T y = t c.

    Parameters
    ----------
    space
        V, of shape ``(terms, k)``; the size of an entry tells its importance.
    directions
        Combinations of its columns to start from, shape ``(k, any)``.
    floor
        Entries smaller than this part of the largest do not count as present.

    Examples
    --------
    >>> two = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    >>> [np.flatnonzero(abs(v) > 1e-9).tolist() for v in sparse_vectors(two, np.eye(2), 1e-6)][:2]
    [[0, 1], [2, 3]]
    """
    terms, size = space.shape
    if size == 1:
        return [space[:, 0]]
    basis, triangle = np.linalg.qr(space)
    starts = [triangle @ direction for direction in directions.T]
    leverage = np.linalg.norm(basis, axis=1)
    starts += [basis[row] for row in np.argsort(-leverage, kind="stable")[:LEVERAGES] if leverage[row] > 0]
    cost = np.append(np.zeros(terms), -1.0)
    limits = [(-1, 1)] * terms + [(None, None)]
    found: list[Array] = []
    for start in starts:
        equality = np.column_stack([basis.T, -start / np.linalg.norm(start)])
        solution = linprog(cost, A_eq=equality, b_eq=np.zeros(size), bounds=limits, method="highs-ds")
        if solution.success:
            vector = basis @ solution.eqlin.marginals
            found.append(vector / np.abs(vector).max())
    found.sort(key=lambda vector: int((np.abs(vector) > floor).sum()))
    distinct: list[Array] = []
    for vector in found:
        unit = vector / np.linalg.norm(vector)
        if all(abs(unit @ other) / np.linalg.norm(other) < _SAME for other in distinct):
            distinct.append(vector)
    return distinct


def supports(vector: Array) -> Iterator[Support]:
    """Yield the largest entries of a vector, few first."""
    order = np.argsort(-np.abs(vector), kind="stable")
    order = order[: np.count_nonzero(vector)]
    last = 0
    for size in SIZES:
        if min(size, len(order)) > last:
            last = min(size, len(order))
            yield np.sort(order[:last])


def shortest(support: Support, fit: Callable[[Support], Array | None]) -> tuple[Support, Array] | None:
    """Leave terms out one by one, least important first, for as long as what remains passes.

    Parameters
    ----------
    support
        Terms to begin with.
    fit
        Returns the importance of each term of a support if a formula with these terms passes, else None.

    Returns
    -------
    The shortest support found and the importance of its terms, or None if ``support`` itself does not pass.
    """
    importance = fit(support)
    if importance is None:
        return None
    removed = True
    while removed and len(support) > 1:
        removed = False
        for n in np.argsort(np.abs(importance), kind="stable"):
            fewer = np.delete(support, n)
            attempt = fit(fewer)
            if attempt is not None:
                support, importance, removed = fewer, attempt, True
                break
    return support, importance
