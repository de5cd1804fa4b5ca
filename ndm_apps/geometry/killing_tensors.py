r"""Killing tensors of rank 2: the quadratic conserved quantities of geodesic motion.

A symmetric tensor K is Killing when

.. math:: \nabla_a K_{bc} + \nabla_b K_{ca} + \nabla_c K_{ab} = 0 ,

and then :math:`K(\dot x, \dot x)` is conserved along every geodesic. The metric itself is one (its quantity is the
energy), and so are the symmetric products of Killing vectors (products of momenta). What is beyond their span is
called irreducible, a hidden symmetry: it belongs to no flow on the manifold (B. Carter, "Global structure of the Kerr
family of gravitational fields", 1968). How the equation is solved: :mod:`ndm_apps.geometry.killing_equation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary, checked_dictionary
from ndm_apps.geometry.killing import KillingFields, killing_fields
from ndm_apps.geometry.killing_equation import (
    Found,
    KillingEquation,
    check_tolerance,
    components,
    count_zeros,
    killing_equation,
    null_space,
)
from ndm_apps.geometry.metric import Metric, evaluate


@final
@dataclass(frozen=True)
class KillingTensor:
    r"""A symmetric tensor of rank 2 expanded in the functions :math:`\phi_m` of a dictionary.

    .. math:: K_{ab} = c \, g_{ab} + \sum_m D_{abm} \phi_m + g_{ac} g_{bd} \sum_m U_{cdm} \phi_m

    Attributes
    ----------
    up, down : Tensor
        The coefficients U and D, shape ``(n, n, functions)``, symmetric.
    multiple : float
        The coefficient c. The root mean square of :math:`|K|` on the sample points is 1.
    dictionary : callable
        ``(..., n) -> (..., functions)``.
    metric : callable
        ``(..., n) -> (..., n, n)``.
    residual : float
        Root mean square of :math:`|\nabla_a K_{bc} + \nabla_b K_{ca} + \nabla_c K_{ab}|` over that of :math:`|K| / l`,
        where l is the root mean square distance of the sample points from their mean.
    """

    up: Float[Tensor, "n n functions"]
    down: Float[Tensor, "n n functions"]
    multiple: float
    dictionary: Dictionary
    metric: Metric
    residual: float

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Value of the tensor at the points ``x``, indices down."""
        phi, g = self.dictionary(x), self.metric(x)
        up, down = (torch.einsum("abm,...m->...ab", t, phi) for t in (self.up, self.down))
        lowered: Tensor = self.multiple * g + down + g @ up @ g
        return lowered


@final
class KillingTensors(Found[KillingTensor]):
    """The Killing tensors found, reducible ones first, and the evidence for their number.

    Attributes
    ----------
    reducible, irreducible : int
        How many are combinations of the metric and of products of the Killing vectors found, and how many are not;
        the sum is ``len()``.
    sines : Tensor
        Sines of the angles between the tensors, in order, and the span of the trivial ones: the reducible are those
        below the square root of the tolerance.
    spectrum : Tensor
        Residuals of a basis of the whole dictionary, ascending; the first ``len()`` of them were counted as zero.
    gap : float
        Ratio of the first residual that was not counted to the last one that was.
    vectors : KillingFields
        The Killing vectors found with the same dictionary.
    """

    def __init__(
        self,
        tensors: Sequence[KillingTensor],
        reducible: int,
        sines: Float[Tensor, " tensors"],
        spectrum: Float[Tensor, " fields"],
        gap: float,
        vectors: KillingFields,
    ) -> None:
        self._found, self.sines, self.spectrum, self.gap, self.vectors = tuple(tensors), sines, spectrum, gap, vectors
        self.reducible, self.irreducible = reducible, len(self._found) - reducible

    def __repr__(self) -> str:
        kinds = f"{self.reducible} reducible, {self.irreducible} irreducible"
        return f"KillingTensors({len(self)} of {len(self.spectrum)}, {kinds}, gap {self.gap:.1e})"


def killing_tensors(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    degree: int = 2,
    tolerance: float = 1e-3,
    *,
    angles: Sequence[int] = (),
    dictionary: Dictionary | None = None,
) -> KillingTensors:
    r"""Find the Killing tensors of rank 2 of a metric among those with components in a dictionary.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Sample points, shape ``(..., n)``; more than twice as many as there are functions, in general position.
    degree : int, default 2
        Highest total degree of the components, at least 0. Products of Killing vectors have twice their degree.
    tolerance : float, default 1e-3
        Largest residual of a tensor that may be counted, and of a Killing vector. Among those, the count is set at
        the last clear gap of the spectrum. Raise it for metrics that were learned.
    angles : sequence of int, optional
        Coordinates measured modulo :math:`2 \pi`: harmonics up to ``degree`` take the place of their powers.
    dictionary : callable, optional
        Other functions, ``(..., n) -> (..., functions)``, independent, differentiable by forward mode; ``degree`` and
        ``angles`` are then not read.

    Returns
    -------
    KillingTensors
        A sequence; ``len()`` is the count, at least 1 since the metric is always in the dictionary, at most
        n (n+1)^2 (n+2) / 12, reached by the spaces of constant curvature.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be, or the points cannot tell the functions apart.

    References
    ----------
    Thompson, "Killing tensors in spaces of constant curvature", 1986 (the largest number).

    Examples
    --------
    On a Liouville surface geodesics keep a second quadratic quantity besides the energy, and no momentum.

    >>> import torch
    >>> def liouville(x):
    ...     return torch.diag_embed((2 + x[..., :1] ** 2 + x[..., 1:] ** 3).expand_as(x))
    >>> x = 2 * torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    >>> tensors = killing_tensors(liouville, x, degree=6)
    >>> tensors.reducible, tensors.irreducible, len(tensors.vectors)
    (1, 1, 0)
    """
    check_tolerance(tolerance)
    value = evaluate(metric, x)
    with torch.no_grad():
        n, eps = x.shape[-1], torch.finfo(x.dtype).eps
        x, cholesky = x.reshape(-1, n), value.cholesky.reshape(-1, n, n)
        dictionary = checked_dictionary(x, degree, angles, dictionary)
        values, change = tensor_equation(metric, x, dictionary)
        spectrum, coefficients = null_space(KillingEquation(values, change), eps)
        count, gap = count_zeros(spectrum, tolerance, eps, n * (n + 1) ** 2 * (n + 2) // 12)
        vectors = killing_fields(metric, x, degree, tolerance, angles=angles, dictionary=dictionary)
        found = values.double() @ coefficients[:, :count]
        sines, turn = angles_to(found, trivial_tensors(vectors, x, cholesky, values[:, 0]).double(), eps)
        coefficients = coefficients[:, :count] @ turn
        residuals = (change.double() @ coefficients).square().sum(0).sqrt()
        tensors = expanded_tensors(coefficients.to(x.dtype), residuals, metric, dictionary, n)
    # The error of a field is its residual over the first one not counted: much more than the residual.
    reducible = int((sines < tolerance**0.5).sum())
    return KillingTensors(tensors, reducible, sines.to(x.dtype), spectrum.to(x.dtype), gap, vectors)


def tensor_equation(metric: Metric, x: Float[Tensor, "points n"], dictionary: Dictionary) -> KillingEquation:
    """Set up the equation of rank 2 with the metric itself as one more column, the first."""
    values, change = killing_equation(metric, x, dictionary, rank=2)
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand(*x.shape, x.shape[-1]).unsqueeze(-1)
    values = torch.cat((components(identity, 2) / len(x) ** 0.5, values), -1)
    return KillingEquation(values, torch.cat((torch.zeros_like(change[:, :1]), change), -1))


def expanded_tensors(
    coefficients: Float[Tensor, "fields tensors"], residuals: Tensor, metric: Metric, dictionary: Dictionary, n: int
) -> list[KillingTensor]:
    """Make tensors of the coefficients of the columns of :func:`tensor_equation`."""
    expanded = torch.unflatten(coefficients[1:].mT, 1, (2, n * (n + 1) // 2, -1))
    i, j = torch.triu_indices(n, n, device=coefficients.device)
    table = expanded.new_zeros(len(expanded), 2, n, n, expanded.shape[-1])
    table[:, :, i, j] = expanded / 2
    table = table + table.transpose(2, 3)
    return [
        KillingTensor(up, down, float(c), dictionary, metric, float(r))
        for (up, down), c, r in zip(table, coefficients[0], residuals, strict=True)
    ]


def trivial_tensors(vectors: KillingFields, x: Tensor, cholesky: Tensor, metric: Tensor) -> Tensor:
    """Columns: components in the frame of the symmetric products of Killing vectors, and of the metric."""
    fields = [(cholesky.mT @ field(x).unsqueeze(-1)).squeeze(-1) for field in vectors]
    products = [torch.einsum("pa,pb->pab", u, v) for u, v in combinations_with_replacement(fields, 2)]
    columns = [components((t + t.mT).unsqueeze(-1), 2) for t in products]
    return torch.cat([*columns, metric.unsqueeze(-1)], -1)


def angles_to(found: Tensor, trivial: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Sines of the principal angles from orthonormal columns to the span of others, ascending, and the rotation."""
    u, sigma, _ = torch.linalg.svd(trivial / torch.linalg.vector_norm(trivial, dim=0), full_matrices=False)
    span = u[:, sigma > eps**0.5 * sigma[0]]
    _, sines, vh = torch.linalg.svd(found - span @ (span.mT @ found), full_matrices=False)
    return sines.flip(0), vh.flip(0).mT
