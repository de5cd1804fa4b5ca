"""The least quadratic cost of linear dynamics."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_discrete_are

from ndm_apps.plugins.planning.dynamics import Array


def value_matrix(a: Array, b: Array, q: Array, r: Array, steps: int | None = None) -> Array:
    r"""Return P, x^T P x being the least sum of x^T Q x + u^T R u under x' = A x + B u.

    .. math:: P \leftarrow Q + A^T P A - A^T P B (R + B^T P B)^{-1} B^T P A

    Parameters
    ----------
    a, b, q, r
        Matrices (n, n), (n, m), (n, n), (m, m).
    steps
        Of the episode; None: without end.

    Examples
    --------
    >>> value_matrix(np.eye(1), np.eye(1), np.eye(1), np.eye(1)).round(4).tolist()
    [[1.618]]
    >>> value_matrix(np.eye(1), np.eye(1), np.eye(1), np.eye(1), steps=2).tolist()
    [[1.5]]
    """
    if steps is None:
        return solve_discrete_are(a, b, q, r)
    p = np.zeros_like(q)
    for _ in range(steps):
        through = b.T @ p @ a
        p = q + a.T @ p @ a - through.T @ np.linalg.solve(r + b.T @ p @ b, through)
    return p
