r"""The algebra that conserved quantities form under the Poisson bracket, in canonical coordinates.

.. math:: \{A, B\} = \sum_i \partial_{q_i} A \, \partial_{p_i} B - \partial_{p_i} A \, \partial_{q_i} B

The bracket of two conserved quantities is conserved. Where brackets are combinations of the quantities themselves, the
coefficients are the structure constants of a Lie algebra: so(3) for angular momentum and Runge-Lenz vector of the
planar Kepler problem on a shell of negative energy, so(4) in space, su(2) for the planar isotropic oscillator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import sympy
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ndm_apps.geometry.lie_algebra import name_lie_algebra

Array = NDArray[np.float64]
Law = sympy.Expr | Callable[[Tensor], Tensor]

#: Brackets that leave the span of the laws by more than this part do not close.
CLOSES = 0.05
#: Logarithm of the largest factor by which laws are rescaled beside their sizes before their algebra is named.
LARGEST_SCALE = 1.5


@final
@dataclass(frozen=True, eq=False)
class PoissonAlgebra:
    r"""Brackets of laws in terms of these laws.

    Attributes
    ----------
    structure
        :math:`\{I_i, I_j\} = c_{ijk} I_k`, shape ``(laws, laws, laws)``; on the shell of the mean energy if a
        Hamiltonian was given.
    defect
        Root mean square of what is left of the brackets, over that of the brackets: 0 where the algebra closes.
    name
        Of the Lie algebra, such as ``so(3)``; empty if it does not close.
    """

    structure: Array
    defect: float
    name: str


def poisson_bracket(
    a: sympy.Expr, b: sympy.Expr, positions: Sequence[sympy.Symbol], momenta: Sequence[sympy.Symbol]
) -> sympy.Expr:
    """Return the Poisson bracket of two expressions.

    Examples
    --------
    >>> x, y, px, py = sympy.symbols("x y px py")
    >>> poisson_bracket(x * py - y * px, px, (x, y), (px, py))
    py
    """
    pairs = zip(positions, momenta, strict=True)
    return sympy.expand(sum(a.diff(q) * b.diff(p) - a.diff(p) * b.diff(q) for q, p in pairs))


def poisson_algebra(
    laws: Sequence[Law],
    points: Array,
    symbols: Sequence[sympy.Symbol] = (),
    hamiltonian: Law | None = None,
) -> PoissonAlgebra:
    """Find the Lie algebra of conserved quantities.

    Parameters
    ----------
    laws
        Expressions in ``symbols``, or torch functions of states, ``(..., 2 n) -> (...)``; independent of each other.
    points
        States, shape ``(points, 2 n)``: positions first, then their canonical momenta, in the same order.
    symbols
        Names of the columns of ``points``.
    hamiltonian
        If given, structure constants may depend on it, in first order.

    Raises
    ------
    ValueError
        There is no law, the columns are not pairs, or there are too few points to tell the laws apart.

    Examples
    --------
    Angular momentum and the two components of the Runge-Lenz vector, at negative energies.

    >>> x, y, p, s = names = sympy.symbols("x y p s")
    >>> r, l = sympy.sqrt(x**2 + y**2), x * s - y * p
    >>> states = np.random.default_rng(0).uniform(0.3, 0.7, (50, 4))
    >>> found = poisson_algebra([l, s * l - x / r, -p * l - y / r], states, names, (p**2 + s**2) / 2 - 1 / r)
    >>> found.name, found.defect < 1e-9
    ('so(3)', True)
    """
    k, width = len(laws), points.shape[-1]
    if not k:
        raise ValueError("laws must hold at least one, got none")
    if width % 2:
        raise ValueError(f"points must have a column for each position and each momentum, got {width} columns")
    values, gradients = zip(*(_jet(law, points, symbols) for law in laws), strict=True)
    n = width // 2
    table = np.stack(gradients)
    brackets = np.einsum("apn,bpn->abp", table[..., :n], table[..., n:])
    brackets = brackets - brackets.transpose(1, 0, 2)
    features = np.stack(values, axis=-1)
    energy = np.zeros(len(points)) if hamiltonian is None else _jet(hamiltonian, points, symbols)[0]
    columns = features if hamiltonian is None else np.concatenate([features, energy[:, None] * features], axis=1)
    if len(points) < 2 * columns.shape[1]:
        raise ValueError(f"points must be at least {2 * columns.shape[1]} for {k} laws, got {len(points)}")
    # The sizes of the laws differ; the least norm among equally good solutions should not depend on them.
    scale = np.sqrt((columns**2).mean(axis=0))
    target = brackets.reshape(k * k, -1).T
    solution = np.linalg.lstsq(columns / scale, target, rcond=1e-9)[0] / scale[:, None]
    size = float(np.sqrt((target**2).mean()))
    defect = float(np.sqrt(((target - columns @ solution) ** 2).mean())) / size if size > 0 else 0.0
    structure = solution[:k] if hamiltonian is None else solution[:k] + float(energy.mean()) * solution[k:]
    constants = structure.T.reshape(k, k, k)
    name = name_lie_algebra(torch.from_numpy(_balanced(constants, scale[:k]))) if defect < CLOSES else ""
    return PoissonAlgebra(constants, defect, name)


def _balanced(constants: Array, sizes: Array) -> Array:
    """Rescale the laws so that none of the structure constants is much larger than the others.

    The names of algebras do not depend on the scales of their elements, but what is small beside rounding and errors
    does. The sum of squares is convex in the logarithms u of the scales; bounds keep zeros zero.
    """
    k = len(constants)
    squares = (constants * sizes / sizes[:, None] / sizes[:, None, None]) ** 2

    def weighed(u: Array) -> Array:
        return squares * np.exp(2 * (u[:, None, None] + u[:, None] - u))

    def slope(u: Array) -> Array:
        total = weighed(u)
        return 2 * (total.sum((1, 2)) + total.sum((0, 2)) - total.sum((0, 1))) + 2 * float(squares.mean()) * u

    def size(u: Array) -> float:
        return float(weighed(u).sum() + squares.mean() * (u**2).sum())

    u = minimize(size, np.zeros(k), jac=slope, method="L-BFGS-B", bounds=[(-LARGEST_SCALE, LARGEST_SCALE)] * k).x
    factors = np.exp(u) / sizes
    balanced: Array = constants * factors[:, None, None] * factors[:, None] / factors
    return balanced


def _jet(law: Law, points: Array, symbols: Sequence[sympy.Symbol]) -> tuple[Array, Array]:
    """Values and gradients, ``(points,)`` and ``(points, columns)``."""
    if isinstance(law, sympy.Expr):
        entries = sympy.lambdify(list(symbols), [law, *(law.diff(symbol) for symbol in symbols)], "numpy")
        rows = np.stack([np.broadcast_to(row, len(points)) for row in entries(*points.T)], axis=-1).astype(float)
        return rows[:, 0], rows[:, 1:]
    state = torch.from_numpy(points)
    gradient = torch.func.grad(lambda x: law(x).sum())(state)
    return law(state).numpy(), gradient.numpy()
