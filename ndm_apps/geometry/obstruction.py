r"""What curvature forbids: a bound on the symmetries of a metric that solves no Killing equation.

Every scalar made of the metric alone is constant along every Killing field :math:`\xi`, so that
:math:`dI(\xi) = 0` for each such invariant I. Where the differentials of some invariants have rank r, the Killing
fields span at most n - r directions, and their algebra acts on the orbits of at most that dimension, k, without losing
anything: it has at most k(k+1)/2 dimensions. The converse fails: on a homogeneous space all invariants are constant.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ndm_apps.geometry.curvature import ricci
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.killing_equation import check_tolerance, checked_units
from ndm_apps.geometry.metric import Metric, evaluate
from ndm_apps.geometry.operators import function_jet
from ndm_apps.geometry.scalar import scalar_curvature


class KillingBound(NamedTuple):
    """How many symmetries there can be, and the evidence.

    Attributes
    ----------
    directions : Tensor
        n minus the rank of the differentials: directions that are left to Killing fields at each point, ``(...)``.
    dimension : int
        Bound on the number of independent Killing fields, k(k+1)/2 with k the median of ``directions``: at almost
        every point the rank is the same, and single points where a learned metric is off do not decide.
    singular_values : Tensor
        Of the differentials, descending, ``(..., min(n, invariants))``: changes of the invariants over the spread of
        the points, each invariant in its natural unit. Those above the tolerance make up the rank.
    """

    directions: Int[Tensor, "*batch"]
    dimension: int
    singular_values: Float[Tensor, "*batch k"]


def killing_bound(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    functions: Sequence[Callable[[Tensor], Tensor]] = (),
    tolerance: float = 1e-3,
    *,
    units: Sequence[float] | None = None,
) -> KillingBound:
    r"""Bound the number of Killing fields from the invariants of curvature, and of functions they must leave alone.

    The invariants are, from the scalar curvature and from each function f,

    .. math:: f, \quad |df|^2, \quad \langle df, dR \rangle, \quad \Delta f,

    and for n >= 3 also the traces of the powers of the Ricci tensor up to the n-th.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``, differentiable five times by forward mode.
    x : Tensor
        Points, shape ``(..., n)``, not all the same: their spread is the unit of length.
    functions : sequence of callable, optional
        What else the symmetries must preserve, such as a potential: each ``(..., n) -> (...)``.
    tolerance : float, default 1e-3
        Singular values up to it count as zero. Raise it for metrics that were learned.
    units : sequence of float, optional
        A difference of each function that matters; its standard deviation on ``x`` if not given.

    Returns
    -------
    KillingBound
        Its ``directions`` are n, and it forbids nothing, where all invariants are constant.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be.

    Notes
    -----
    Fifth derivatives of the metric enter. They mean something for a closed form or an expansion in few functions; a
    network that was fitted to values has its own fifth derivatives, and on it the rank is nearly always full: use
    :func:`~ndm_apps.geometry.killing_fields` there, which needs first derivatives alone.

    Examples
    --------
    The torus of revolution can have one symmetry. A potential that changes along it leaves none.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Torus
    >>> x = torch.rand(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> killing_bound(Torus(), x).dimension, killing_bound(Torus(), x, [lambda y: y[..., 1].sin()]).dimension
    (1, 0)
    """
    check_tolerance(tolerance)
    value = evaluate(metric, x)
    frame, n = value.orthonormal_frame(), x.shape[-1]
    with torch.no_grad():
        sizes_of = _units(metric, functions, units, x, _spread(value.cholesky, x))
        differentials = value_and_derivative(lambda y: _invariants(metric, functions, y), rows(x, frame), frame)[1]
        sizes: Tensor = torch.linalg.svdvals(differentials / sizes_of)
    directions = n - (sizes > tolerance).sum(-1)
    k = int(directions.median())
    return KillingBound(directions, k * (k + 1) // 2, sizes)


def _invariants(metric: Metric, functions: Sequence[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    curvature = function_jet(metric, lambda y: scalar_curvature(metric, y), x)
    found = [curvature.value, curvature.gradient.square().sum(-1), curvature.laplacian]
    for function in functions:
        jet = function_jet(metric, function, x)
        squared, product = ((jet.gradient * other).sum(-1) for other in (jet.gradient, curvature.gradient))
        found += [jet.value, squared, product, jet.laplacian]
    if x.shape[-1] > 2:
        frame = evaluate(metric, x).orthonormal_frame()
        power = tensor = frame @ ricci(metric, x) @ frame.mT
        for _ in range(2, x.shape[-1] + 1):
            power = power @ tensor
            found.append(power.diagonal(dim1=-2, dim2=-1).sum(-1))
    return torch.stack(found, -1)


def _units(
    metric: Metric,
    functions: Sequence[Callable[[Tensor], Tensor]],
    given: Sequence[float] | None,
    x: Tensor,
    length: Tensor,
) -> Tensor:
    """Natural sizes of the invariants, per unit of length: what a change of each is compared with."""
    # A flat metric has R = 0 to rounding: the spread of the points gives the curvature that would be noticed.
    curvature = scalar_curvature(metric, x).square().mean().sqrt() + length**-2
    units = [curvature, curvature**2 / length**2, curvature / length**2]
    for size in checked_units(functions, given, x):
        unit = length.new_tensor(size)
        units += [unit, unit**2 / length**2, unit * curvature / length**2, unit / length**2]
    if x.shape[-1] > 2:
        units += [curvature**k for k in range(2, x.shape[-1] + 1)]
    return torch.stack(units) / length


def _spread(cholesky: Tensor, x: Tensor) -> Tensor:
    """Root mean square distance of the points from their mean."""
    centred = (x - x.reshape(-1, x.shape[-1]).mean(0)).unsqueeze(-2)
    length: Tensor = (centred @ cholesky).square().sum(-1).mean().sqrt()
    if not bool(length > 0):
        raise ValueError("x must hold at least two different points: their spread is the unit of length")
    return length
