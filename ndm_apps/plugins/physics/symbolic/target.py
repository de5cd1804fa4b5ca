r"""What symbolic regression is to fit: of all functions of an invariant, the one that is nearest to a sum.

Any :math:`\psi(I)` of an invariant I is one as well, and a chart knows nothing better than one of them. As energies are
sums of functions of single columns, kinetic and potential, :math:`\psi` and :math:`f_j` are sought for which

.. math:: \psi(I) \quad \text{and} \quad \sum_j f_j(x_j)

correlate most (Breiman and Friedman 1985, there by alternation): the first canonical pair of polynomials in I and of
polynomials, of an angle trigonometric ones, in each column.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Degree of the function of the invariant and of known laws, of those of columns, and harmonics of an angle.
OF_LAWS, OF_COLUMN, HARMONICS = 5, 6, 3
#: Products of laws at most: with many known laws, the degree is less.
MOST = 60


def nearest_sum(invariant: Array, known: Array, values: Array, angles: NDArray[np.bool_]) -> Array:
    """Return the function of laws that is most nearly a sum of functions of columns, of mean 0 and variance 1.

    Parameters
    ----------
    invariant
        The values of an invariant, shape ``(samples,)``.
    known
        Those of laws that are known, ``(samples, laws)``: what is a function of these alone is left out.
    values
        The samples themselves, ``(samples, columns)``.
    angles
        Which columns are angles.

    Examples
    --------
    >>> x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> energy = x[:, 0] ** 2 + np.cosh(x[:, 1])
    >>> found = nearest_sum(np.exp(energy), np.empty((200, 0)), x, np.zeros(2, bool))
    >>> bool(abs(np.corrcoef(found, energy)[0, 1]) > 0.999999)
    True
    """
    laws = np.concatenate([invariant[:, None], known], axis=1)
    degree = max((d for d in range(1, OF_LAWS + 1) if comb(laws.shape[1] + d, d) <= MOST), default=1)
    functions, old = _powers(laws, degree), _powers(known, degree)
    sums = np.concatenate([_column(x, turns) for x, turns in zip(values.T, angles, strict=True)], axis=1)
    one, other = (_orthonormal(part - old @ (old.T @ part)) for part in (functions, sums))
    first = one @ np.linalg.svd(one.T @ other)[0][:, 0]
    return first / first.std()


def _powers(laws: Array, degree: int) -> Array:
    """Return an orthonormal basis of the polynomials in some laws, the constant among them."""
    total, basis = np.zeros(1, dtype=int), np.ones((len(laws), 1))
    for law in laws.T:
        powers = legvander(_unit(law), degree)
        total = (total[:, None] + np.arange(degree + 1)).ravel()
        basis = (basis[:, :, None] * powers[:, None, :]).reshape(len(laws), -1)[:, total <= degree]
        total = total[total <= degree]
    return np.linalg.qr(basis)[0]


def _column(x: Array, turns: bool) -> Array:
    if turns:
        return np.stack([f(k * x) for k in range(1, HARMONICS + 1) for f in (np.sin, np.cos)], axis=1)
    return legvander(_unit(x), OF_COLUMN)[:, 1:]


def _unit(x: Array) -> Array:
    return 2.0 * (x - x.min()) / max(float(np.ptp(x)), np.finfo(float).tiny) - 1.0


def _orthonormal(functions: Array) -> Array:
    """Return an orthonormal basis of what functions span, less their means; what others explain is left out."""
    vectors, sizes, _ = np.linalg.svd(functions - functions.mean(axis=0), full_matrices=False)
    return vectors[:, sizes > 1e-8 * sizes[0]]
