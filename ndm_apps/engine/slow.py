r"""Functions that change least along a motion: invariants, and what comes nearest to them.

Among the functions :math:`H = v \cdot \theta(x)` of a dictionary theta, those whose mean square change is least in
proportion to their variance solve the generalised eigenproblem

.. math:: S v = \lambda C v, \qquad S = E[\Delta\theta\, \Delta\theta^T], \quad C = \mathrm{cov}(\theta).

lambda is 0 for a conserved quantity. With the covariance of noise in place of C it is Taubin's fit of level sets; the
smallest solutions of a time-lagged C are slow feature analysis and, for reversible motion, the slow modes of tICA.

References
----------
Wiskott, Sejnowski, "Slow feature analysis: unsupervised learning of invariances", Neural Computation 14, 2002.
Taubin, "Estimation of planar curves, surfaces and nonplanar space curves ...", IEEE TPAMI 13, 1991.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Directions of the dictionary with less than this part of its largest variance are dropped.
_DEGENERATE = 1e-11


def least_change(root: Array, metric: Array, degenerate: float = _DEGENERATE) -> tuple[Array, Array]:
    """Solve W v = lambda N v for W = R'R, given R.

    Parameters
    ----------
    root
        R, (rows, terms): kept as a root, for squaring would cost half the digits of small eigenvalues.
    metric
        N, symmetric and positive semi-definite, (terms, terms). Terms are scaled to one diagonal first.
    degenerate
        Directions in which N is less than this part of its largest eigenvalue are left out.

    Returns
    -------
    values, vectors
        The eigenvalues, ascending, and the vectors as columns, v'Nv = 1.

    Examples
    --------
    >>> values, vectors = least_change(np.diag([3.0, 1.0]), np.eye(2))
    >>> values, np.abs(vectors[:, 0])
    (array([1., 9.]), array([0., 1.]))
    """
    scale = 1.0 / np.sqrt(np.maximum(np.diag(metric), np.finfo(float).tiny))
    spread, turn = np.linalg.eigh(scale[:, None] * metric * scale)
    kept = spread > degenerate * spread[-1]
    basis = scale[:, None] * turn[:, kept] / np.sqrt(spread[kept])
    root = root @ basis
    if root.shape[0] < root.shape[1]:
        root = np.concatenate([root, np.zeros((root.shape[1] - root.shape[0], root.shape[1]))])
    _, singular, vectors = np.linalg.svd(root, full_matrices=False)
    return singular[::-1] ** 2, basis @ vectors[::-1].T


def slow_functions(before: Array, after: Array, count: int, degenerate: float = _DEGENERATE) -> tuple[Array, Array]:
    """Return the slowest functions of a dictionary, seen before and after a step from many states.

    Parameters
    ----------
    before, after
        The dictionary at the states and where they go, (states, terms). No constant among the terms.
    count
        How many functions.
    degenerate
        As in :func:`least_change`; larger where the dictionary was fitted to few or noisy states.

    Returns
    -------
    rates, coefficients
        lambda, ascending, (count,), and v of unit variance as columns, (terms, count); fewer where the dictionary has
        fewer independent terms.

    Raises
    ------
    ValueError
        Arrays of different shapes, or fewer states than two.

    Examples
    --------
    A rotation keeps the radius.

    >>> angle = np.linspace(0.0, 6.0, 50); radius = np.linspace(1.0, 2.0, 50) ** 7
    >>> point = lambda a: np.stack([radius * np.cos(a), radius * np.sin(a)], -1)
    >>> terms = lambda x: np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2], -1)
    >>> rates, v = slow_functions(terms(point(angle)), terms(point(angle + 0.3)), 1)
    >>> bool(rates[0] < 1e-12), (v[:, 0] / v[2, 0]).round(6) + 0.0
    (True, array([0., 0., 1., 1.]))
    """
    if before.ndim != 2 or before.shape != after.shape or len(before) < 2:
        raise ValueError(
            f"before and after must have one shape (states, terms), two states at least, "
            f"got {before.shape} and {after.shape}"
        )
    covariance = np.atleast_2d(np.cov(before, rowvar=False))
    change: Array = np.asarray(np.linalg.qr((after - before) / np.sqrt(len(before)), mode="r"))
    rates, vectors = least_change(change, covariance, degenerate)
    return rates[:count], vectors[:, :count]
