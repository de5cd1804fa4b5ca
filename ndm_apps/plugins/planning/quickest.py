r"""The quickest motion of a point mass near a first guess: least action in less and less time.

With :math:`v' = A v + B u,\; x' = x + \tau v'` the controls of a path :math:`x_0 \dots x_N` are linear in it,

.. math:: u_k = B^{-1} \left(x_{k+1} - (I + A) x_k + A x_{k-1}\right) / \tau,

and Gauss-Newton steps lower

.. math:: \sum_k |u_k|^2 + \rho \left(|u_k| - \bar u\right)_+^2 + \rho \left(|v_k| - \bar v\right)_+^2
          + w \left(\phi(x_k)\right)_+^2

with :math:`\phi` positive in walls. N falls until the bounds cannot be kept any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import bmat, csr_matrix, diags, eye, kron
from scipy.sparse.linalg import splu

from ndm_apps.plugins.planning.dynamics import Array

#: Weights of bounds and walls, Gauss-Newton steps for each N, and the factor from one N to the next.
BOUND, WALL, ITERATIONS, SHORTER = 30.0, 3000.0, 12, 0.94
#: How far a bound, or a wall in its own unit, may be overstepped.
SLACK = 0.05

Depth = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Mass:
    """The motion in free space: A, B, tau, and the bounds of controls and speeds, (n,) each."""

    decay: Array
    push: Array
    step: float
    force: Array
    most: Array


def quickest(mass: Mass, depth: Depth, guess: Array, v: Array) -> tuple[Array, Array]:
    """Return a quick motion and its controls.

    Parameters
    ----------
    mass
        What moves.
    depth
        Points (..., n) to how deep they are in walls, (...), in a unit of its own, and its gradient (..., n).
    guess
        Positions at each step, (N + 1, n), both ends included, which are kept.
    v
        Velocity at the start, (n,).

    Returns
    -------
    tuple
        Positions (N' + 1, n) and controls (N', n); in as many steps as the guess where even so many are too few.

    References
    ----------
    Betts, "Practical Methods for Optimal Control and Estimation Using Nonlinear Programming", SIAM 2010.

    Examples
    --------
    >>> mass = Mass(np.eye(1), np.eye(1), 1.0, np.ones(1), np.full(1, 99.0))
    >>> nowhere = lambda x: (np.full(x.shape[:-1], -1.0), np.zeros_like(x))
    >>> x, u = quickest(mass, nowhere, np.linspace(0.0, 55.0, 31)[:, None], np.zeros(1))
    >>> len(u)  # 1 + 2 + ... + 10 = 55 takes 10
    11
    """
    path, controls, over, deep = _eased(mass, depth, guess, v)
    # What is known of the walls may leave no way that is quite clear of them: then none that is deeper in.
    allowed = max(SLACK, deep)
    kept = path, controls
    while over <= SLACK and deep <= allowed:
        kept = path, controls
        steps = int(SHORTER * len(controls))
        if steps < 2:
            break
        path, controls, over, deep = _eased(mass, depth, _in_steps(path, steps), v)
    return kept


def _in_steps(path: Array, steps: int) -> Array:
    """Return a path in another number of steps."""
    old, new = np.linspace(0.0, 1.0, len(path)), np.linspace(0.0, 1.0, steps + 1)
    return np.stack([np.interp(new, old, column) for column in path.T], axis=-1)


def _eased(mass: Mass, depth: Depth, path: Array, v: Array) -> tuple[Array, Array, float, float]:
    """Return the path of least cost in as many steps, its controls, and how far it is over bounds and in walls."""
    steps, n = len(path) - 1, path.shape[1]
    nodes = np.concatenate((path[:1] - mass.step * v, path))
    inverse = np.linalg.inv(mass.push) / mass.force[:, None] / mass.step
    to_control = _banded(steps, (inverse @ mass.decay, -inverse @ (np.eye(n) + mass.decay), inverse))
    rate = np.diag(1 / (mass.most * mass.step))
    to_speed = _banded(steps, (0 * rate, -rate, rate))
    both = bmat([[to_control], [to_speed]]).tocsr()
    inner = slice(2 * n, (steps + 1) * n)
    slopes = both[:, inner]
    first = np.concatenate((np.ones(steps * n), np.zeros(steps * n)))

    def parts(nodes: Array) -> tuple[float, Array, Array, Array, Array]:
        values = both @ nodes.ravel()
        over = np.sign(values) * np.maximum(np.abs(values) - 1, 0.0)
        deep, slope = depth(nodes[2:-1])
        deep = np.maximum(deep, 0.0)
        cost = float((first * values**2).sum() + BOUND * (over @ over) * steps + WALL * (deep @ deep))
        return cost, values, over, deep, slope

    cost, values, over, deep, slope = parts(nodes)
    damping = 1e-6
    for _ in range(ITERATIONS):
        weights = first + BOUND * steps * (over != 0)
        gradient = slopes.T @ (first * values + BOUND * steps * over) + WALL * (deep[:, None] * slope).ravel()
        blocks = WALL * (deep > 0)[:, None, None] * slope[:, :, None] * slope[:, None, :]
        normal = slopes.T @ diags(weights) @ slopes + _block_diagonal(blocks)
        scale = normal.diagonal().mean()
        move = splu((normal + damping * scale * eye(normal.shape[0])).tocsc()).solve(gradient)
        tried = nodes.copy()
        tried[2:-1] -= move.reshape(-1, n)
        new = parts(tried)
        if new[0] < cost:
            won, nodes, (cost, values, over, deep, slope), damping = cost - new[0], tried, new, damping / 5
            if won < 1e-4 * cost:
                break
        else:
            damping *= 10
    controls = values[: steps * n].reshape(steps, n) * mass.force
    return nodes[1:], controls, float(np.abs(over).max()), float(deep.max(initial=0.0))


def _banded(steps: int, blocks: tuple[Array, Array, Array]) -> csr_matrix:
    """Return the matrix that combines nodes k, k + 1, k + 2 to row k."""
    shifts = (diags([np.ones(steps)], [offset], shape=(steps, steps + 2)) for offset in range(3))
    return sum(kron(shift, block) for shift, block in zip(shifts, blocks, strict=True)).tocsr()


def _block_diagonal(blocks: Array) -> csr_matrix:
    count, n = blocks.shape[:2]
    rows = np.broadcast_to(np.arange(count * n).reshape(count, n, 1), blocks.shape)
    columns = np.broadcast_to(np.arange(count * n).reshape(count, 1, n), blocks.shape)
    return csr_matrix((blocks.ravel(), (rows.ravel(), columns.ravel())), shape=(count * n, count * n))
