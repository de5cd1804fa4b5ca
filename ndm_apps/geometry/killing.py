r"""Infinitesimal isometries of a metric: Killing vector fields.

A field :math:`\xi` is Killing when the metric does not change along its flow,

.. math:: (L_\xi g)_{ab} = \xi^c \partial_c g_{ab} + g_{cb} \partial_a \xi^c + g_{ac} \partial_b \xi^c = 0 .

The equation is linear in the field. On a dictionary of polynomial fields and a set of sample points it becomes one
matrix; its singular values, measured against the size of the field, say how well each direction solves the equation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import final, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ndm_apps.geometry.jets import first_derivatives, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, evaluate


@dataclass(frozen=True)
class KillingField:
    r"""A polynomial vector field, sum over monomials of ``coefficients`` times ((x - centre) / scale)^``exponents``.

    Attributes
    ----------
    coefficients : Tensor
        Shape ``(n, monomials)``. The root mean square length of the field on the sample points is 1.
    exponents : Tensor
        Shape ``(monomials, n)``.
    centre, scale : Tensor
        Mean and standard deviation of the sample points, shape ``(n,)``.
    residual : float
        Root mean square of :math:`|L_\xi g|` over that of :math:`|\xi| / l`, where l is the root mean square
        distance of the sample points from their mean: 0 for an isometry, of order 1 for a field taken at random.
    """

    coefficients: Float[Tensor, "n monomials"]
    exponents: Int[Tensor, "monomials n"]
    centre: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    residual: float

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Value of the field at the points ``x``."""
        return _monomials((x - self.centre) / self.scale, self.exponents) @ self.coefficients.mT


@final
class KillingFields(Sequence[KillingField]):
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
        self._fields, self.spectrum, self.gap = tuple(fields), spectrum, gap

    def __len__(self) -> int:
        return len(self._fields)

    @overload
    def __getitem__(self, index: int) -> KillingField: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[KillingField]: ...
    def __getitem__(self, index: int | slice) -> KillingField | Sequence[KillingField]:
        return self._fields[index]

    def __iter__(self) -> Iterator[KillingField]:
        return iter(self._fields)

    def __repr__(self) -> str:
        residuals = ", ".join(f"{field.residual:.1e}" for field in self._fields)
        return f"KillingFields({len(self)} of {len(self.spectrum)}, residuals [{residuals}], gap {self.gap:.1e})"


def killing_fields(
    metric: Metric, x: Float[Tensor, "*batch n"], degree: int = 1, tolerance: float = 1e-3
) -> KillingFields:
    """Find the Killing vector fields of a metric among the polynomials of the chart.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Sample points, shape ``(..., n)``; at least as many as there are monomials, in general position.
    degree : int, default 1
        Highest total degree of the components of the fields, at least 0.
    tolerance : float, default 1e-3
        Largest residual of a field that may be counted. Among those, the count is set at the widest gap of the
        spectrum. Raise it for metrics that were learned and have their symmetries only nearly.

    Returns
    -------
    KillingFields
        A sequence; ``len()`` is the count. At most n(n+1)/2, reached by the spaces of constant curvature.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be, or the points cannot tell the fields apart.

    Examples
    --------
    The plane has two translations and a rotation.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Euclidean
    >>> x = torch.rand(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> fields = killing_fields(Euclidean(2), x, degree=1)
    >>> len(fields), all(field.residual < 1e-12 for field in fields)
    (3, True)
    """
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"degree must be an integer, at least 0, got {degree!r}")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance!r}")
    evaluate(metric, x)
    with torch.no_grad():
        x = x.reshape(-1, x.shape[-1])
        exponents = _exponents(x.shape[-1], degree).to(x.device)
        if len(x) < len(exponents):
            raise ValueError(f"x must hold at least {len(exponents)} points for degree {degree}, got {len(x)}")
        centre, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        change, values = _equations(metric, x, exponents, centre, scale)
        spectrum, coefficients = _spectrum(change, values)
        count, gap = _count(spectrum, tolerance, torch.finfo(x.dtype).eps, x.shape[-1])
        shaped = coefficients[:, :count].mT.reshape(count, x.shape[-1], len(exponents)).to(x.dtype)
    fields = [
        KillingField(c, exponents, centre, scale, float(r)) for c, r in zip(shaped, spectrum[:count], strict=True)
    ]
    return KillingFields(fields, spectrum.to(x.dtype), gap)


def _exponents(n: int, degree: int) -> Tensor:
    table = []
    for total in range(degree + 1):
        for factors in combinations_with_replacement(range(n), total):
            table.append([factors.count(i) for i in range(n)])
    return torch.tensor(table)


def _monomials(t: Tensor, exponents: Tensor) -> Tensor:
    # Powers by repeated products: x**0 has no derivative at 0, and learned metrics are often sampled there.
    powers = [torch.ones_like(t)]
    for _ in range(int(exponents.max())):
        powers.append(powers[-1] * t)
    table = torch.stack(powers, -1)
    return table[..., torch.arange(t.shape[-1], device=t.device), exponents].prod(-1)


def _equations(metric: Metric, x: Tensor, exponents: Tensor, centre: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows: samples times components in an orthonormal frame. Columns: fields. Of l L_xi g, and of xi; mean squares."""
    value = evaluate(metric, x)
    frame = value.orthonormal_frame()
    basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand_as(frame)
    phi, slope = value_and_derivative(lambda y: _monomials((y - centre) / scale, exponents), rows(x, basis), basis)
    phi = phi[:, 0]
    dg = frame.unsqueeze(-3) @ first_derivatives(metric, x, basis) @ frame.mT.unsqueeze(-3)
    # In the frame, g_cb d_a xi^c is (C^{-1} d phi)_a C_cb for the field phi d_c.
    stretch = torch.einsum("pai,pim,pcb->pabcm", frame, slope, value.cholesky)
    change = torch.einsum("pm,pcab->pabcm", phi, dg) + stretch + stretch.transpose(1, 2)
    values = torch.einsum("pm,pcb->pbcm", phi, value.cholesky)
    spread = (value.cholesky.mT @ (x - centre).unsqueeze(-1)).square().sum(dim=(-2, -1)).mean().sqrt()
    root = len(x) ** 0.5
    return change.flatten(0, 2).flatten(1) * spread / root, values.flatten(0, 1).flatten(1) / root


def _spectrum(change: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    # Double precision whatever the input: the null space is what is left after everything has cancelled.
    change, values = change.double(), values.double()
    lengths = torch.linalg.vector_norm(values, dim=0)
    r = torch.linalg.qr(values / lengths, mode="r").R
    if not bool(r.diagonal().abs().min() > 1e-8):
        raise ValueError("x must lie in general position: on these points some polynomial fields coincide")
    r = r * lengths
    white = torch.linalg.solve_triangular(r, change, upper=True, left=False)
    _, sigma, vh = torch.linalg.svd(white, full_matrices=False)
    return sigma.flip(0), torch.linalg.solve_triangular(r, vh.flip(0).mT, upper=True)


def _count(spectrum: Tensor, tolerance: float, eps: float, n: int) -> tuple[int, float]:
    floor = 100 * eps  # residuals below rounding differ by chance: no gap is to be seen among them
    sizes = [max(float(s), floor) for s in spectrum] + [float("inf")]
    possible = [k for k in range(1, min(len(spectrum), n * (n + 1) // 2) + 1) if sizes[k - 1] <= tolerance]
    if not possible:
        return 0, float("nan")
    count = max(possible, key=lambda k: sizes[k] / sizes[k - 1])
    return count, sizes[count] / sizes[count - 1]
