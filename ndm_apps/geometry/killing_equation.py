r"""The Killing equation of symmetric tensors of rank 1 and 2 as one matrix, and its null space.

A symmetric tensor K is Killing when the symmetric part of its covariant derivative vanishes,

.. math:: \nabla_a K_b + \nabla_b K_a = 0, \qquad \nabla_a K_{bc} + \nabla_b K_{ca} + \nabla_c K_{ab} = 0 :

:math:`K(\dot x)` or :math:`K(\dot x, \dot x)` is then the same all along every geodesic. The equation is linear. With
the components of K expanded in a dictionary, and on sample points, it is a matrix; its singular values, measured
against the size of K, say how well each direction solves it. Components are expanded both with their indices up and
with their indices down, since either may be simple where the other is not: on the sphere in the stereographic chart
Killing vectors are polynomials with the index up, in polar coordinates of the plane they are trigonometric with the
index down.
"""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement, permutations
from typing import Literal, NamedTuple, TypeVar, overload

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary, independent
from ndm_apps.geometry.jets import first_derivatives, rows, value_and_derivative
from ndm_apps.geometry.metric import Metric, evaluate

# Neighbouring residuals of metrics without symmetries differ by less than this; see `count_zeros`.
_CLEAR_GAP = 5.0


T = TypeVar("T")


class Found(Sequence[T]):
    """What solves an equation, as a sequence; subclasses set ``_found`` and add the evidence for its length."""

    _found: tuple[T, ...]

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._found[index]


class KillingEquation(NamedTuple):
    """The fields of a dictionary, one per column, and what the equation makes of them.

    Rows are samples times components in an orthonormal frame; sums of squares are means of squared lengths.

    Attributes
    ----------
    values : Tensor
        The fields.
    change : Tensor
        l times the left-hand sides of the equation, l the root mean square distance of the samples from their mean.
    """

    values: Float[Tensor, "rows fields"]
    change: Float[Tensor, "equations fields"]


class NullSpace(NamedTuple):
    """Combinations of the dictionary fields of root mean square length 1, and how well each solves the equation."""

    spectrum: Float[Tensor, " independent"]
    coefficients: Float[Tensor, "fields independent"]


def killing_equation(
    metric: Metric, x: Float[Tensor, "points n"], dictionary: Dictionary, rank: Literal[1, 2]
) -> KillingEquation:
    """Set up the equation for all tensors with components in the dictionary.

    Columns run over: indices up, then down; index tuples in ascending order; functions, fastest.
    """
    value = evaluate(metric, x)
    frame = value.orthonormal_frame()
    identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device).expand_as(frame)
    phi, slope = value_and_derivative(dictionary, rows(x, identity), identity)
    phi, slope = phi[:, 0], frame @ slope
    dg = first_derivatives(metric, x, identity)
    # gamma[a, b, c] = g(nabla_a d_b, d_c) along coordinates.
    gamma = 0.5 * (dg + dg.transpose(-3, -2) - torch.einsum("pcab->pabc", dg))
    # Frame components of nabla_{e_a} d_i, and minus those of nabla_{e_a} dx^i.
    connection = torch.einsum("paj,pjik,pbk->piab", frame, gamma, frame)
    dual = torch.einsum("paj,pjkl,pbk,pil->piab", frame, gamma, frame, frame.mT @ frame)
    values, change = [], []
    for basis, derivative in ((value.cholesky, connection), (frame.mT, -dual)):
        field, turn = (basis, derivative) if rank == 1 else _products(basis, derivative)
        values.append(components(torch.einsum("pm,pi...->p...im", phi, field), rank))
        total = torch.einsum("pam,pi...->pa...im", slope, field) + torch.einsum("pm,pi...->p...im", phi, turn)
        change.append(components(_cyclic_sum(total, rank + 1), rank + 1))
    root = len(x) ** 0.5
    return KillingEquation(torch.cat(values, -1) / root, torch.cat(change, -1) * spread(value.cholesky, x) / root)


def invariance(
    metric: Metric,
    x: Float[Tensor, "points n"],
    values: Float[Tensor, "rows fields"],
    functions: Sequence[Callable[[Tensor], Tensor]],
    units: Sequence[float] | None = None,
) -> Float[Tensor, "equations fields"]:
    r"""Set up the equations :math:`df(\xi) = 0`, one function below the other, for vector fields on sample points.

    They are to stand beside the ``change`` of :func:`killing_equation` and are scaled alike: l times :math:`df(\xi)`,
    in units of f.

    Parameters
    ----------
    metric, x
        As for :func:`killing_equation`.
    values : Tensor
        The fields as it returned them.
    functions : sequence of callable
        Each ``(..., n) -> (...)``.
    units : sequence of float, optional
        A difference of each function that matters; its standard deviation on the points if not given.

    Raises
    ------
    ValueError
        If there are not as many units as functions, or one is not positive.
    """
    frame = evaluate(metric, x).orthonormal_frame()
    fields = torch.unflatten(values, 0, x.shape)
    return torch.cat(
        [
            values.new_empty(0, values.shape[-1]),
            *(
                torch.einsum("pa,pam->pm", value_and_derivative(function, rows(x, frame), frame)[1], fields) / unit
                for function, unit in zip(functions, checked_units(functions, units, x), strict=True)
            ),
        ]
    ) * spread(evaluate(metric, x).cholesky, x)


def null_space(equation: KillingEquation, eps: float) -> NullSpace:
    """Solve the eigenproblem of change against size. Fields that repeat earlier ones have coefficient 0.

    ``eps`` is the precision to which the entries are known.
    """
    # Double precision whatever the input: the null space is what is left after everything has cancelled.
    values, change = (t.double() for t in equation)
    lengths = torch.linalg.vector_norm(values, dim=0)
    kept = lengths > 0
    kept[kept.clone()] = independent(values[:, kept] / lengths[kept], eps)
    r = torch.linalg.qr(values[:, kept], mode="r").R
    white = torch.linalg.solve_triangular(r, change[:, kept], upper=True, left=False)
    _, sigma, vh = torch.linalg.svd(torch.linalg.qr(white, mode="r").R, full_matrices=False)
    coefficients = values.new_zeros(len(kept), len(sigma))
    coefficients[kept] = torch.linalg.solve_triangular(r, vh.flip(0).mT, upper=True)
    return NullSpace(sigma.flip(0), coefficients)


def check_tolerance(tolerance: float) -> None:
    """Raise ValueError unless ``tolerance`` is between 0 and 1."""
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must be between 0 and 1, got {tolerance!r}")


def count_zeros(spectrum: Tensor, tolerance: float, eps: float, most: int) -> tuple[int, float]:
    """Set the count at the last clear gap of the spectrum below the tolerance; return it with the gap, else 0 and nan.

    The last and not the widest: an exact symmetry beside one that was learned leaves two gaps, and both count.
    """
    floor = 100 * eps  # residuals below rounding differ by chance: no gap is to be seen among them
    sizes = [max(s, floor) for s in spectrum.tolist()] + [float("inf")]
    for k in range(min(len(spectrum), most), 0, -1):
        if sizes[k - 1] <= tolerance and sizes[k] >= _CLEAR_GAP * sizes[k - 1]:
            return k, sizes[k] / sizes[k - 1]
    return 0, float("nan")


def spread(cholesky: Tensor, x: Tensor) -> Tensor:
    """Root mean square distance of the points from their mean."""
    return (cholesky.mT @ (x - x.mean(0)).unsqueeze(-1)).square().sum(dim=(-2, -1)).mean().sqrt()


def checked_units(
    functions: Sequence[Callable[[Tensor], Tensor]], units: Sequence[float] | None, x: Float[Tensor, "*batch n"]
) -> list[float]:
    """Return a difference of each function that matters: as given, or its standard deviation on the points ``x``.

    Raises
    ------
    ValueError
        If there are not as many units as functions, or one is not positive.
    """
    if units is None:
        values = [function(x) for function in functions]
        sizes = [float(v.std(correction=0) + torch.finfo(x.dtype).eps ** 0.5 * v.abs().mean()) for v in values]
        # A function that is zero everywhere is left alone by every field, whatever its unit.
        return [size or 1.0 for size in sizes]
    if len(units) != len(functions) or not all(unit > 0 for unit in units):
        raise ValueError(f"units must be one positive number for each of {len(functions)} functions, got {units!r}")
    return list(units)


def _products(basis: Tensor, derivative: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric products of basis tensors i <= j, and their covariant derivatives."""
    i, j = torch.triu_indices(basis.shape[-1], basis.shape[-1], device=basis.device)
    field = torch.einsum("pib,pic->pibc", basis[:, i], basis[:, j])
    turn = torch.einsum("piab,pic->piabc", derivative[:, i], basis[:, j])
    turn = turn + torch.einsum("piac,pib->piabc", derivative[:, j], basis[:, i])
    return (field + field.mT) / 2, (turn + turn.mT) / 2


def _cyclic_sum(t: Tensor, rank: int) -> Tensor:
    """Sum over the cyclic permutations of the first ``rank`` axes after the samples."""
    total = t
    for k in range(1, rank):
        total = total + t.permute(0, *(1 + (i + k) % rank for i in range(rank)), *range(1 + rank, t.ndim))
    return total


def components(t: Tensor, rank: int) -> Tensor:
    """Independent components of symmetric tensors, weighted so that sums of squares are unchanged; as a matrix."""
    kept = list(combinations_with_replacement(range(t.shape[1]), rank))
    weights = torch.tensor([len(set(permutations(index))) for index in kept], dtype=t.dtype, device=t.device).sqrt()
    columns = torch.tensor(kept, device=t.device).unbind(-1)
    picked: Tensor = t.movedim(0, rank)[columns].movedim(1, 0).flatten(2)
    return (weights[:, None] * picked).flatten(0, 1)
