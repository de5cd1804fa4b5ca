"""What a space of vector fields is in words: translations, rotations, and what has no simple form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

#: A simple field belongs to a space if no more than this part of it lies outside.
BELONGS = 0.1
#: Coefficients below this part of the largest are left out.
_NEGLIGIBLE = 0.05


@final
@dataclass(frozen=True, eq=False)
class Named:
    """A vector field with simple components.

    Attributes
    ----------
    text
        What it does, such as ``translation along x``.
    constant, linear
        Its components are ``constant + linear @ q``.
    """

    text: str
    constant: Tensor
    linear: Tensor

    def __call__(self, q: Tensor) -> Tensor:
        """Value at the points ``q``, shape ``(..., n)``."""
        return self.constant + q @ self.linear.mT


def name_fields(
    fields: Sequence[Tensor], q: Tensor, cholesky: Tensor, names: Sequence[str], angles: Sequence[int]
) -> list[Named]:
    """Find the translations and linear fields, such as rotations, in the span of some vector fields.

    Parameters
    ----------
    fields
        Values on the points, shape ``(points, n)`` each, independent of each other.
    q, cholesky
        The points, and the Cholesky factor of the metric there: it says which fields are nearly the same.
    names, angles
        Of the coordinates.

    Returns
    -------
    list
        At most as many as there are fields: what is missing is not simple in these coordinates.
    """
    if not fields:
        return []
    n = q.shape[-1]
    span = torch.stack([_flat(cholesky, field) for field in fields], -1)
    identity = torch.eye(n, dtype=q.dtype)
    translations = [Named("", one, torch.zeros(n, n, dtype=q.dtype)) for one in identity]
    constants = _echelon(_inside(span, [_flat(cholesky, one(q)) for one in translations]))
    found = [Named(_translation(row, names, angles), row, torch.zeros(n, n, dtype=q.dtype)) for row in constants]
    straight = [k for k in range(n) if k not in angles]
    tables = [identity[i][:, None] * identity[j] for i in range(n) for j in straight]
    if len(found) == len(fields) or not straight:
        return found
    # Entry (i, j) first where i < j, so that a reduced basis of rotations turns one plane each.
    tables.sort(key=lambda table: bool(table.nonzero()[0, 0] >= table.nonzero()[0, 1]))
    linear = [Named("", torch.zeros(n, dtype=q.dtype), table) for table in tables]
    # A translation that is there anyway is not told again as the centre of a rotation.
    known = [_flat(cholesky, one(q)) for one in found]
    others = [one for one in translations if not known or _sine(_flat(cholesky, one(q)), known) > BELONGS]
    candidates = [*linear, *others]
    rows = _inside(
        _without(span, known), [_without(_flat(cholesky, one(q))[:, None], known)[:, 0] for one in candidates]
    )
    for row in _echelon(rows):
        table = sum((a * one.linear for a, one in zip(row, candidates, strict=True)), torch.zeros(n, n, dtype=q.dtype))
        shift = sum((a * one.constant for a, one in zip(row, candidates, strict=True)), torch.zeros(n, dtype=q.dtype))
        found.append(Named(_turning(table, shift, names, q), shift, table))
    return found


def outside(field: Tensor, fields: Sequence[Tensor], cholesky: Tensor) -> float:
    """Sine of the angle between a field and the span of others, all given by their values on points."""
    return _sine(_flat(cholesky, field), [_flat(cholesky, one) for one in fields])


def _flat(cholesky: Tensor, field: Tensor) -> Tensor:
    """Components in an orthonormal frame at all points, as one vector."""
    expanded = field.expand(cholesky.shape[:-1])
    return (cholesky.mT @ expanded.unsqueeze(-1)).flatten() / len(cholesky) ** 0.5


def _sine(vector: Tensor, known: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(_without(vector[:, None], known)) / torch.linalg.vector_norm(vector))


def _without(columns: Tensor, known: Sequence[Tensor]) -> Tensor:
    if not known:
        return columns
    basis = torch.linalg.qr(torch.stack(list(known), -1)).Q
    return columns - basis @ (basis.mT @ columns)


def _inside(span: Tensor, candidates: Sequence[Tensor]) -> Tensor:
    """Coefficients of the combinations of candidates that lie in the span, one row each."""
    u, sizes, _ = torch.linalg.svd(span, full_matrices=False)
    basis = u[:, sizes > 1e-6 * sizes[0]]
    simple = torch.stack(list(candidates), -1)
    v, sigma, wh = torch.linalg.svd(simple, full_matrices=False)
    kept = sigma > 1e-8 * sigma[0]
    v, back = v[:, kept], wh[kept].mT / sigma[kept]
    rest = v - basis @ (basis.mT @ v)
    _, sines, turn = torch.linalg.svd(rest, full_matrices=False)
    return (back @ turn[sines < BELONGS].mT).mT


def _echelon(rows: Tensor) -> Tensor:
    """Reduced row echelon form with pivots on the largest entries: the simplest basis of the same space."""
    rows = rows.clone()
    free = list(range(rows.shape[1]))
    for n in range(len(rows)):
        sizes = rows[n:].abs().amax(0)[free]
        # The first coordinate whose entry is as good as the largest, so that the order of coordinates decides ties.
        column = free[int((sizes > 0.5 * sizes.max()).nonzero()[0])]
        pivot = n + int(rows[n:, column].abs().argmax())
        rows[[n, pivot]] = rows[[pivot, n]]
        rows[n] = rows[n] / rows[n, column]
        others = torch.arange(len(rows)) != n
        rows[others] = rows[others] - rows[others][:, column : column + 1] * rows[n]
        free.remove(column)
    return torch.where(rows.abs() > _NEGLIGIBLE * rows.abs().amax(1, keepdim=True), rows, torch.zeros_like(rows))


def _number(value: float) -> str:
    return f"{value:.3g}"


def _translation(row: Tensor, names: Sequence[str], angles: Sequence[int]) -> str:
    moved = row.nonzero()[:, 0].tolist()
    turns = all(k in angles for k in moved)
    if len(moved) == 1:
        return f"rotation of the angle {names[moved[0]]}" if turns else f"translation along {names[moved[0]]}"
    what = "joint rotation" if turns else "joint translation"
    if all(abs(float(row[k]) - 1) < _NEGLIGIBLE for k in moved):
        return f"{what} of {', '.join(names[k] for k in moved)}"
    return f"{what} of {', '.join(f'{names[k]} by {_number(float(row[k]))}' for k in moved)}"


def _turning(table: Tensor, shift: Tensor, names: Sequence[str], q: Tensor) -> str:
    values = torch.linalg.eigvals(table)
    size = values.abs().max()
    moved = sorted({int(k) for pair in table.nonzero() for k in pair})
    plane = ", ".join(names[k] for k in moved)
    if size < _NEGLIGIBLE * torch.linalg.matrix_norm(table):
        return f"shear in {plane}"
    if values.real.abs().max() > _NEGLIGIBLE * size:
        kind = "hyperbolic rotation" if table.diagonal().sum().abs() < _NEGLIGIBLE * size else "linear transformation"
        return f"{kind} in {plane}"
    round_ = torch.linalg.matrix_norm(table + table.mT) < 2 * _NEGLIGIBLE * torch.linalg.matrix_norm(table)
    ellipses = "" if round_ else " along ellipses"
    centre = -torch.linalg.pinv(table, rtol=_NEGLIGIBLE) @ shift
    if float((centre.abs() / q.std(0)).max()) < _NEGLIGIBLE * 2:
        about = "the origin"
    else:
        about = "(" + ", ".join(_number(float(c)) for c in centre) + ")"
    where = f" in the plane {plane}" if len(names) > 2 and len(moved) == 2 else ""
    return f"rotation{where} about {about}{ellipses}"
