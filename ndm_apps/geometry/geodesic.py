r"""Geodesics between two points, distances and logarithms.

A curve of N chords :math:`d_i = c_{i+1} - c_i` with midpoints :math:`m_i` has the discrete energy
:math:`E = N \sum_i d_i^T g(m_i) d_i`. It is minimised over the interior nodes by Newton's method with
Levenberg-Marquardt damping, per pair; the Hessian is block tridiagonal. Node positions, length, energy and the
discrete momentum at the start (J. E. Marsden, M. West, *Acta Numerica* 10, 2001, section 1.3) all have errors in even
powers of 1/N, so that doubling N and Richardson's extrapolation raise the order from 2 to 4 and 6.

The last Newton step is taken with gradients on and the Hessian held fixed: it does not move the solution, and by the
implicit function theorem it carries the derivative with respect to the end points and the parameters of the metric.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.block_tridiagonal import BlockCholesky, block_cholesky
from ndm_apps.geometry.exponential import GeodesicWarning
from ndm_apps.geometry.jets import contraction_gradient, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, check_vector, evaluate

_RICHARDSON = {0: (1.0,), 1: (-1 / 3, 4 / 3), 2: (1 / 45, -20 / 45, 64 / 45)}


@dataclass(frozen=True)
class Geodesic:
    """Geodesics between pairs of points, each with its own report.

    Attributes
    ----------
    points : Tensor
        Nodes at equal times, both ends included, shape ``(..., points, n)``.
    velocity : Tensor
        Initial velocity for unit time, the logarithm of the end point, shape ``(..., n)``.
    length : Tensor
        Shape ``(...)``.
    energy : Tensor
        Integral of the squared speed over unit time, shape ``(...)``; the square of the length for a geodesic.
    converged : Tensor
        Whether the minimisation came to rest on a minimum on every grid, and the grids agree; shape ``(...)``. Where
        it is False the other fields describe the best curve found, which need not be a geodesic.
    """

    points: Float[Tensor, "*batch points n"]
    velocity: Float[Tensor, "*batch n"]
    length: Float[Tensor, "*batch"]
    energy: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]


def geodesic(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    y: Float[Tensor, "*batch n"],
    points: int = 33,
    refinements: int = 1,
    initial: Float[Tensor, "*batch points n"] | None = None,
    iterations: int = 60,
) -> Geodesic:
    r"""Find the curve of least energy between pairs of points, near an initial curve.

    .. math:: E(c) = \int_0^1 g_{c}(\dot c, \dot c) \, dt, \quad c(0) = x, \; c(1) = y

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x, y : Tensor
        End points, shape ``(..., n)``; shapes broadcast.
    points : int, default 33
        Nodes of the curve returned, at least 3.
    refinements : {0, 1, 2}, default 1
        Doublings of the grid for extrapolation; the error falls like ``points`` to the power -2, -4, -6.
    initial : Tensor, optional
        Curve to start from, shape ``(..., points, n)``; only its interior is read. By default the straight line of
        the chart, along which the metric must then be defined. Local minima near other curves are geodesics too.
    iterations : int, default 60
        Most Newton steps on each grid, at least 1.

    Returns
    -------
    Geodesic
        Tensors differentiable (once) with respect to the end points and the parameters of the metric.

    Raises
    ------
    ValueError
        If an argument is not what it should be, or the metric is not one along the initial curve.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)  # a quarter of the equator
    >>> path = geodesic(Sphere(2), x, y, points=17)
    >>> path.points[8], path.length / torch.pi, path.converged
    (tensor([0.7071, 0.7071], dtype=torch.float64), tensor(0.5000, dtype=torch.float64), tensor(True))
    """
    for name, value, least in (("points", points, 3), ("iterations", iterations, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer, at least {least}, got {value!r}")
    if refinements not in _RICHARDSON:
        raise ValueError(f"refinements must be 0, 1 or 2, got {refinements!r}")
    for name, end in (("x", x), ("y", y)):
        evaluate(metric, end, name)
    check_vector("y", y, x)
    x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
    time = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device).unsqueeze(-1)
    curve = x.detach().unsqueeze(-2) * (1 - time) + y.detach().unsqueeze(-2) * time
    if initial is not None:
        if initial.shape != curve.shape or initial.dtype != x.dtype:
            want, got = (tuple(t.shape) for t in (curve, initial))
            raise ValueError(f"initial must have shape {want} and dtype {x.dtype}, got {got} and {initial.dtype}")
        curve = torch.cat((curve[..., :1, :], initial.detach()[..., 1:-1, :], curve[..., -1:, :]), -2)
    levels: list[Geodesic] = []
    for level in range(refinements + 1):
        if level:
            curve = _refine(curve)
        evaluate(metric, _chords(curve)[0], "initial" if level == 0 else "midpoints")
        curve, converged = _minimise(metric, curve, iterations)
        levels.append(_describe(metric, x, y, curve, converged))
    weights = _RICHARDSON[refinements]
    coarse, fine = levels[0], levels[-1]
    agree = (fine.energy - coarse.energy).abs() <= 0.05 * fine.energy
    converged = torch.stack([level.converged for level in levels]).all(0) & (agree if refinements else True)
    # What has not converged is not extrapolated: two curves of different shape have no common limit.
    unmixed = [float(k == refinements) for k in range(refinements + 1)]
    mixed = [
        torch.where(converged, torch.full_like(fine.energy, w), torch.full_like(fine.energy, u))
        for w, u in zip(weights, unmixed, strict=True)
    ]
    return Geodesic(
        points=_sum(mixed, [level.points[..., :: 2**k, :] for k, level in enumerate(levels)]),
        velocity=_sum(mixed, [level.velocity for level in levels]),
        length=_sum(mixed, [level.length for level in levels]),
        energy=_sum(mixed, [level.energy for level in levels]),
        converged=converged,
    )


def distance(metric: Metric, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Length of the geodesic between pairs of points that is near their straight line; order 6 on 16 chords.

    Parameters, errors and gradients are those of :func:`geodesic`. Where the search fails, the length of the best
    curve found is returned, an upper bound of the distance up to discretisation, with a ``GeodesicWarning``.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Hyperbolic
    >>> x, y = torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    >>> (distance(Hyperbolic(2, model="half_space"), x, y) / torch.tensor(2.0).log()).round(decimals=6)
    tensor(1., dtype=torch.float64)
    """
    path = geodesic(metric, x, y, points=17, refinements=2)
    _warn("distance", path, "the length of the best curve found")
    return path.length


def log_map(metric: Metric, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    r"""Find the velocity of the geodesic from x that is at y after unit time, :math:`\exp_x(\log_x y) = y`.

    Parameters, errors and gradients are those of :func:`geodesic`; order 6 on 16 chords. Where the search fails, the
    velocity of the best curve found is returned with a ``GeodesicWarning``.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> pole, equator = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    >>> (log_map(Sphere(2), pole, equator) / torch.pi).round(decimals=6)
    tensor([0.2500, 0.0000], dtype=torch.float64)
    """
    path = geodesic(metric, x, y, points=17, refinements=2)
    _warn("log_map", path, "the velocity of the best curve found")
    return path.velocity


def _warn(name: str, path: Geodesic, instead: str) -> None:
    failed = ~path.converged
    if bool(failed.any()):
        where = f", first at sample {tuple(failed.nonzero()[0].tolist())}" if failed.ndim else ""
        message = f"{name}: {int(failed.sum())} of {failed.numel()} geodesics did not converge{where}; {instead}"
        warnings.warn(f"{message} is returned there", GeodesicWarning, stacklevel=3)


def _chords(curve: Tensor) -> tuple[Tensor, Tensor]:
    start, end = curve[..., :-1, :], curve[..., 1:, :]
    return (start + end) / 2, end - start


def _refine(curve: Tensor) -> Tensor:
    inner = torch.stack((curve[..., :-1, :], _chords(curve)[0]), -2).flatten(-3, -2)
    return torch.cat((inner, curve[..., -1:, :]), -2)


def _energy(metric: Metric, curve: Tensor) -> Tensor:
    middle, chord = _chords(curve)
    cholesky, info = torch.linalg.cholesky_ex(metric(middle))
    squares = (cholesky.mT @ chord.unsqueeze(-1)).square().sum(dim=(-3, -2, -1)) * chord.shape[-2]
    # A curve that leaves the chart has no energy; infinite, it loses every comparison.
    return torch.where(((info == 0).all(-1)) & torch.isfinite(squares), squares, torch.inf)


def _gradient(metric: Metric, curve: Tensor) -> Tensor:
    middle, chord = _chords(curve)
    n_chords = chord.shape[-2]
    by_chord = 2 * n_chords * (metric(middle) @ chord.unsqueeze(-1)).squeeze(-1)
    pair = chord.unsqueeze(-2)
    by_middle = n_chords * contraction_gradient(metric, middle, pair, pair).squeeze(-2)
    start, end = by_middle / 2 - by_chord, by_middle / 2 + by_chord
    return end[..., :-1, :] + start[..., 1:, :]


def _hessian(metric: Metric, curve: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Blocks on and above the diagonal of the Hessian of the energy, and the always positive part of the former."""
    middle, chord = _chords(curve)
    n_chords, n = chord.shape[-2:]
    basis = torch.eye(n, dtype=curve.dtype, device=curve.device).expand(*chord.shape, n)
    chords = rows(chord, basis)

    def pulls(y: Tensor) -> tuple[Tensor, Tensor]:
        pair = chords.unsqueeze(-2)
        lowered = (metric(y) @ chords.unsqueeze(-1)).squeeze(-1)
        return lowered, contraction_gradient(metric, y, pair, pair).squeeze(-2)

    (_, _), (mixed, middle_twice) = value_and_derivative(pulls, rows(middle, basis), basis)
    mixed, middle_twice = 2 * n_chords * mixed, n_chords / 4 * middle_twice  # mixed: rows middle, columns chord
    chord_twice = 2 * n_chords * metric(middle)
    both = (mixed + mixed.mT) / 2
    start, end = middle_twice - both + chord_twice, middle_twice + both + chord_twice
    across = middle_twice + (mixed - mixed.mT) / 2 - chord_twice
    diagonal = end[..., :-1, :, :] + start[..., 1:, :, :]
    return diagonal, across[..., 1:-1, :, :], chord_twice[..., :-1, :, :] + chord_twice[..., 1:, :, :]


@torch.no_grad()
def _minimise(metric: Metric, curve: Tensor, iterations: int) -> tuple[Tensor, Bool[Tensor, "*batch"]]:
    eps = torch.finfo(curve.dtype).eps
    energy = _energy(metric, curve)
    damping = torch.zeros_like(energy)
    converged = torch.zeros_like(energy, dtype=torch.bool)
    gradient, blocks = _gradient(metric, curve), _hessian(metric, curve)
    for _ in range(iterations):
        factor = _factor(blocks, damping)
        step = factor.solve(gradient)
        # Twice the decrease that the quadratic model promises. Below rounding there is nothing left to gain.
        promise = (gradient * step).sum(dim=(-2, -1))
        rest = factor.positive & (damping == 0) & (promise <= 64 * eps * energy)
        converged = converged | rest
        if bool(converged.all()):
            break
        usable = factor.positive & torch.isfinite(promise) & ~converged
        move = torch.where(usable[..., None, None], step, torch.zeros_like(step))
        trial = torch.cat((curve[..., :1, :], curve[..., 1:-1, :] - move, curve[..., -1:, :]), -2)
        trial_energy = _energy(metric, trial)
        better = usable & (trial_energy <= energy * (1 + 4 * eps))
        curve = torch.where(better[..., None, None], trial, curve)
        energy = torch.where(better, trial_energy, energy)
        # Without damping Newton's last steps square the error; so a success soon sets it back to zero.
        calmer = torch.where(damping < 1e-2, torch.zeros_like(damping), damping / 8)
        damping = torch.where(converged, damping, torch.where(better, calmer, (4 * damping).clamp(min=1e-2)))
        if bool(better.any()):
            gradient, blocks = _gradient(metric, curve), _hessian(metric, curve)
    return curve, converged


def _factor(blocks: tuple[Tensor, Tensor, Tensor], damping: Tensor) -> BlockCholesky:
    diagonal, above, positive = blocks
    return block_cholesky(diagonal + damping[..., None, None, None] * positive, above)


def _describe(metric: Metric, x: Tensor, y: Tensor, curve: Tensor, converged: Tensor) -> Geodesic:
    with torch.no_grad():
        factor = _factor(_hessian(metric, curve), torch.zeros_like(curve[..., 0, 0]))
    interior = curve[..., 1:-1, :].detach()
    nodes = torch.cat((x.unsqueeze(-2), interior, y.unsqueeze(-2)), -2)
    step = factor.solve(_gradient(metric, nodes))
    step = torch.where(converged[..., None, None], step, torch.zeros_like(step))
    nodes = torch.cat((x.unsqueeze(-2), interior - step, y.unsqueeze(-2)), -2)
    middle, chord = _chords(nodes)
    count = chord.shape[-2]
    g = metric(middle)
    white = torch.linalg.cholesky_ex(g)[0].mT @ chord.unsqueeze(-1)
    first = chord[..., :1, :]
    pull = contraction_gradient(metric, middle[..., 0, :], first, first).squeeze(-2)
    momentum = count * ((g[..., 0, :, :] @ first.mT).squeeze(-1) - pull / 4)
    velocity = torch.cholesky_solve(momentum.unsqueeze(-1), evaluate(metric, x).cholesky).squeeze(-1)
    length = torch.linalg.vector_norm(white.squeeze(-1), dim=-1).sum(-1)
    return Geodesic(nodes, velocity, length, count * white.square().sum(dim=(-3, -2, -1)), converged)


def _sum(weights: list[Tensor], terms: list[Tensor]) -> Tensor:
    total = torch.zeros_like(terms[0])
    for weight, term in zip(weights, terms, strict=True):
        total = total + weight[(..., *[None] * (term.ndim - weight.ndim))] * term
    return total
