r"""Geodesics between two points, distances and logarithms.

The discrete energy of :mod:`ndm_apps.geometry.discrete_energy` is minimised. Node positions, length, energy and the
discrete momentum at the start (J. E. Marsden, M. West, *Acta Numerica* 10, 2001, section 1.3) all have errors in even
powers of 1/N, so that doubling the number N of chords and Richardson's extrapolation raise the order from 2 to 4 and 6.

The last Newton step is taken with gradients on and the Hessian held fixed: it does not move the solution, and by the
implicit function theorem it carries the derivative with respect to the end points and the parameters of the metric.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.discrete_energy import (
    chords,
    energy_and_gradient,
    good_start,
    hessian,
    minimise,
    resample,
    slopes,
)
from ndm_apps.geometry.exponential import warn_of_failures
from ndm_apps.geometry.finsler import Finsler, root
from ndm_apps.geometry.metric import Metric, check_points, check_vector
from ndm_apps.geometry.relaxation import relax
from ndm_apps.geometry.structured import as_finsler

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
    metric: Metric | Finsler,
    x: Float[Tensor, "*batch n"],
    y: Float[Tensor, "*batch n"],
    points: int = 33,
    refinements: int = 1,
    initial: Float[Tensor, "*batch points n"] | None = None,
    iterations: int = 60,
    method: Literal["newton", "gradient"] = "newton",
    tolerance: float | None = None,
) -> Geodesic:
    r"""Find the curve of least energy between pairs of points, near an initial curve.

    .. math:: E(c) = \int_0^1 g_{c}(\dot c, \dot c) \, dt, \quad c(0) = x, \; c(1) = y

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``, or a :class:`Randers` metric, by which the way back is another.
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
        Most Hessians of each curve on each grid, at least 1; each serves for several steps. With ``"gradient"``, so
        many times n gradients, about the price of a Hessian.
    method : {"newton", "gradient"}, default "newton"
        How the energy is minimised. Newton's method finds the curve to the last digits and tells minima from saddles;
        its price grows like n gradients for each Hessian. ``"gradient"`` takes L-BFGS steps in the Sobolev metric of
        curves (:mod:`~ndm_apps.geometry.relaxation`), until the energy is at rest to rounding, the curve to half the
        digits: for many dimensions, or many pairs.
    tolerance : float, optional
        Share of its energy that a curve has at most left to lose, to second order, where it has converged. By default
        what the method can do: rounding. More than the share by which the grid is in error buys nothing.

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
    if isinstance(refinements, bool) or not isinstance(refinements, int) or refinements not in _RICHARDSON:
        raise ValueError(f"refinements must be 0, 1 or 2, got {refinements!r}")
    if method not in ("newton", "gradient"):
        raise ValueError(f"method must be 'newton' or 'gradient', got {method!r}")
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance!r}")
    finsler = as_finsler(metric)
    for name, end in (("x", x), ("y", y)):
        finsler.check(end, name)
    check_vector("y", y, x)
    x, y = torch.broadcast_tensors(x, y)  # type: ignore[no-untyped-call]
    batch, n = x.shape[:-1], x.shape[-1]
    time = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device).unsqueeze(-1)
    curve = x.detach().unsqueeze(-2) * (1 - time) + y.detach().unsqueeze(-2) * time
    if initial is not None:
        check_points("initial", initial)
        if initial.shape != curve.shape or initial.dtype != x.dtype:
            want, got = (tuple(t.shape) for t in (curve, initial))
            raise ValueError(f"initial must have shape {want} and dtype {x.dtype}, got {got} and {initial.dtype}")
        curve = torch.cat((curve[..., :1, :], initial.detach()[..., 1:-1, :], curve[..., -1:, :]), -2)
    finsler.check(chords(curve)[0], "midpoints" if initial is None else "initial")
    x, y, curve = x.reshape(-1, n), y.reshape(-1, n), curve.reshape(-1, points, n)
    levels = [
        _describe(finsler, x, y, *solution)
        for solution in (_newton if method == "newton" else _gradient)(
            finsler, curve, refinements, iterations, initial is None, tolerance
        )
    ]
    path = _extrapolate(levels)
    return Geodesic(
        points=path.points.reshape(*batch, points, n),
        velocity=path.velocity.reshape(*batch, n),
        length=path.length.reshape(batch),
        energy=path.energy.reshape(batch),
        converged=path.converged.reshape(batch),
    )


def _newton(
    finsler: Finsler, curve: Tensor, refinements: int, iterations: int, coarse: bool, tolerance: float | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Minima on each grid, and whether they were found."""
    guess = None
    if coarse:
        curve, guess = good_start(finsler, curve, iterations)
    tolerance = tolerance or torch.finfo(curve.dtype).eps ** 1.3
    for level in range(refinements + 1):
        if level and guess is not None:
            finer = 2 * curve.shape[-2] - 2
            curve, guess = resample(curve, finer), guess.resample(finer)
        curve, converged, guess = minimise(finsler, curve, iterations, tolerance, guess)
        yield curve, converged


def _gradient(
    finsler: Finsler, curve: Tensor, refinements: int, iterations: int, coarse: bool, tolerance: float | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Curves at rest on each grid, and whether they came to rest."""
    iterations, tolerance = iterations * curve.shape[-1], tolerance or torch.finfo(curve.dtype).eps
    for level in range(refinements + 1):
        if level:
            curve = resample(curve, 2 * curve.shape[-2] - 2)
        curve, converged = relax(finsler, curve, iterations, tolerance, coarse and not level)
        yield curve, converged


def distance(
    metric: Metric | Finsler, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
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
    warn_of_failures(
        "distance", path.converged, "did not converge; the length of the best curve found is returned there"
    )
    return path.length


def log_map(
    metric: Metric | Finsler, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
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
    warn_of_failures(
        "log_map", path.converged, "did not converge; the velocity of the best curve found is returned there"
    )
    return path.velocity


def _describe(finsler: Finsler, x: Tensor, y: Tensor, curve: Tensor, converged: Tensor) -> Geodesic:
    nodes = torch.cat((x.unsqueeze(-2), curve[:, 1:-1], y.unsqueeze(-2)), -2)
    gradient = energy_and_gradient(finsler, nodes)[1]
    if gradient.requires_grad:
        step = hessian(finsler, curve).factor(torch.zeros_like(curve[:, 0, 0])).solve(gradient)
        step = torch.where(converged[:, None, None], step, torch.zeros_like(step))
        nodes = torch.cat((nodes[:, :1], curve[:, 1:-1] - step, nodes[:, -1:]), -2)
    middle, chord = chords(nodes)
    count = chord.shape[-2]
    c, by_middle, by_chord = slopes(finsler, middle, chord)
    squares = finsler.square(c, chord)
    momentum = count * (by_chord[:, 0] / 2 - by_middle[:, 0] / 4)
    velocity = finsler.velocity(finsler.coefficients(x), momentum)
    return Geodesic(nodes, velocity, root(squares).sum(-1), count * squares.sum(-1), converged)


def _extrapolate(levels: list[Geodesic]) -> Geodesic:
    finest = len(levels) - 1
    coarse, fine = levels[0], levels[-1]
    converged = torch.stack([level.converged for level in levels]).all(0)
    if finest:
        converged = converged & ((fine.energy - coarse.energy).abs() <= 0.05 * fine.energy)

    def mix(values: list[Tensor]) -> Tensor:
        # What has not converged is not extrapolated: two curves of different shape have no common limit.
        mixed = torch.stack([w * value for w, value in zip(_RICHARDSON[finest], values, strict=True)]).sum(0)
        return torch.where(converged[(..., *[None] * (mixed.ndim - 1))], mixed, values[-1])

    return Geodesic(
        points=mix([level.points[:, :: 2**k] for k, level in enumerate(levels)]),
        velocity=mix([level.velocity for level in levels]),
        length=mix([level.length for level in levels]),
        energy=mix([level.energy for level in levels]),
        converged=converged,
    )
