r"""Infinitesimal isometries of a metric: Killing vector fields.

A field :math:`\xi` is Killing when the metric does not change along its flow,

.. math:: (L_\xi g)_{ab} = \nabla_a \xi_b + \nabla_b \xi_a = 0 ,

and then :math:`g(\xi, \dot x)` is conserved along every geodesic. How the equation is solved:
:mod:`ndm_apps.geometry.killing_equation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary, checked_dictionary
from ndm_apps.geometry.jets import rows, value_and_derivative
from ndm_apps.geometry.killing_equation import (
    Found,
    KillingEquation,
    check_tolerance,
    count_zeros,
    invariance,
    killing_equation,
    null_space,
)
from ndm_apps.geometry.metric import Metric, evaluate


@final
@dataclass(frozen=True)
class KillingField:
    r"""A vector field expanded in the functions :math:`\phi_m` of a dictionary.

    .. math:: \xi^a = \sum_m U_{am} \phi_m + g^{ab} \sum_m D_{bm} \phi_m

    Attributes
    ----------
    up, down : Tensor
        The coefficients U and D, shape ``(n, functions)``. D is 0 where the field could be written without. The root
        mean square length of the field on the sample points is 1.
    dictionary : callable
        ``(..., n) -> (..., functions)``.
    metric : callable
        ``(..., n) -> (..., n, n)``.
    residual : float
        Root mean square of :math:`|L_\xi g|` over that of :math:`|\xi| / l`, where l is the root mean square
        distance of the sample points from their mean: 0 for an isometry, of order 1 for a field taken at random.
        Changes :math:`df(\xi)` of the functions to be preserved, in their units, are in it as well.
    """

    up: Float[Tensor, "n functions"]
    down: Float[Tensor, "n functions"]
    dictionary: Dictionary
    metric: Metric
    residual: float

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Value of the field at the points ``x``, index up."""
        phi = self.dictionary(x)
        # Not `linalg.solve`: its second forward derivative is wrong (torch 2.13).
        cholesky = torch.linalg.cholesky_ex(self.metric(x))[0]
        raised = torch.cholesky_solve((phi @ self.down.mT).unsqueeze(-1), cholesky).squeeze(-1)
        return phi @ self.up.mT + raised


@final
class KillingFields(Found[KillingField]):
    """The Killing fields found, best first, and the evidence for their number.

    Attributes
    ----------
    spectrum : Tensor
        Residuals of a basis of the whole dictionary, ascending; the first ``len()`` of them were counted as zero.
    gap : float
        Ratio of the first residual that was not counted to the last one that was; nan if none was counted, inf if
        all were.
    """

    def __init__(self, fields: Sequence[KillingField], spectrum: Float[Tensor, " fields"], gap: float) -> None:
        self._found, self.spectrum, self.gap = tuple(fields), spectrum, gap

    def __repr__(self) -> str:
        residuals = ", ".join(f"{field.residual:.1e}" for field in self._found)
        return f"KillingFields({len(self)} of {len(self.spectrum)}, residuals [{residuals}], gap {self.gap:.1e})"


def killing_fields(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    degree: int = 1,
    tolerance: float = 1e-3,
    *,
    angles: Sequence[int] = (),
    dictionary: Dictionary | None = None,
    functions: Sequence[Callable[[Tensor], Tensor]] = (),
    units: Sequence[float] | None = None,
) -> KillingFields:
    r"""Find the Killing vector fields of a metric among those with components in a dictionary.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Sample points, shape ``(..., n)``; more than twice as many as there are functions, in general position.
    degree : int, default 1
        Highest total degree of the components of the fields, at least 0.
    tolerance : float, default 1e-3
        Largest residual of a field that may be counted. Among those, the count is set at the last clear gap of
        the spectrum. Raise it for metrics that were learned and have their symmetries only nearly.
    angles : sequence of int, optional
        Coordinates measured modulo :math:`2 \pi`: harmonics up to ``degree`` take the place of their powers.
    dictionary : callable, optional
        Other functions, ``(..., n) -> (..., functions)``, independent, differentiable by forward mode; ``degree`` and
        ``angles`` are then not read.
    functions : sequence of callable, optional
        What else the symmetries must preserve, such as a potential: each ``(..., n) -> (...)``.
    units : sequence of float, optional
        A difference of each function that matters; its standard deviation on ``x`` if not given. Give it where the
        function was learned and may be constant: errors are then not taken for a function.

    Returns
    -------
    KillingFields
        A sequence; ``len()`` is the count. At most n(n+1)/2, reached by the spaces of constant curvature.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be, or the points cannot tell the functions apart.

    Examples
    --------
    The plane has two translations and a rotation, in polar coordinates too.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Euclidean
    >>> x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    >>> len(killing_fields(Euclidean(2), x, degree=1))
    3
    >>> def polar(x):
    ...     return torch.diag_embed(torch.stack((torch.ones_like(x[..., 0]), x[..., 0] ** 2), -1))
    >>> fields = killing_fields(polar, x, degree=2, angles=[1])
    >>> len(fields), all(field.residual < 1e-12 for field in fields)
    (3, True)

    A central force leaves the rotation.

    >>> len(killing_fields(Euclidean(2), x, functions=[lambda y: y.square().sum(-1)]))
    1
    """
    check_tolerance(tolerance)
    evaluate(metric, x)
    with torch.no_grad():
        x = x.reshape(-1, x.shape[-1])
        n, eps = x.shape[-1], torch.finfo(x.dtype).eps
        dictionary = checked_dictionary(x, degree, angles, dictionary)
        values, change = killing_equation(metric, x, dictionary, rank=1)
        preserved = invariance(metric, x, values, functions, units)
        spectrum, coefficients = null_space(KillingEquation(values, torch.cat((change, preserved))), eps)
        count, gap = count_zeros(spectrum, tolerance, eps, n * (n + 1) // 2)
        up, down = torch.unflatten(coefficients[:, :count].mT, 1, (2, n, -1)).to(x.dtype).unbind(1)
    found = zip(up, down, spectrum[:count], strict=True)
    fields = [KillingField(u, d, dictionary, metric, float(residual)) for u, d, residual in found]
    return KillingFields(fields, spectrum.to(x.dtype), gap)


class LieAlgebra(NamedTuple):
    r"""How vector fields bracket with each other.

    Attributes
    ----------
    structure : Tensor
        The constants of :math:`[\xi_i, \xi_j] = c_{ijk} \xi_k`, by least squares; shape ``(fields, fields, fields)``.
    defect : float
        Largest root mean square of :math:`l \, |[\xi_i, \xi_j] - c_{ijk} \xi_k|`, l the root mean square distance of
        the sample points from their mean: how far the brackets leave the span of the fields.
    """

    structure: Float[Tensor, "fields fields fields"]
    defect: float


def lie_algebra(fields: Sequence[KillingField], x: Float[Tensor, "*batch n"]) -> LieAlgebra:
    """Brackets of Killing fields. All isometries together form a Lie algebra: a defect tells that some were missed.

    Parameters
    ----------
    fields : sequence of KillingField
        At least one, of one metric.
    x : Tensor
        Sample points, shape ``(..., n)``.

    Raises
    ------
    ValueError
        If there is no field, or ``x`` or the metric at ``x`` is not what it should be.

    Examples
    --------
    The three rotations of the sphere.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> x = 2 * torch.rand(99, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    >>> rotations = killing_fields(Sphere(2), x, degree=2)
    >>> lie_algebra(rotations, x).defect < 1e-12, lie_algebra(rotations[:2], x).defect > 1e-1
    (True, True)
    """
    if not fields:
        raise ValueError("fields must hold at least one field, got none")
    value = evaluate(fields[0].metric, x)
    with torch.no_grad():
        x, cholesky = x.reshape(-1, x.shape[-1]), value.cholesky.flatten(0, -3)
        values = torch.stack([field(x) for field in fields], 1)
        points = rows(x, values)
        slopes = torch.stack([value_and_derivative(field, points, values)[1] for field in fields], 2)
        # slopes[p, i, j] is the derivative of field j along field i.
        brackets = (slopes - slopes.transpose(1, 2)) @ cholesky.unsqueeze(1)
        span, target = (t.movedim(0, -2).flatten(-2) for t in (values @ cholesky, brackets))
        constants = torch.linalg.lstsq(span.mT, target.flatten(0, 1).mT).solution.mT
        structure = constants.reshape(len(span), len(span), len(span))
        rest = (target - structure @ span).square().sum(-1) / len(x)
        spread = ((x - x.mean(0)).unsqueeze(-2) @ cholesky).square().sum() / len(x)
    return LieAlgebra(structure, float((rest.max() * spread).sqrt()))
