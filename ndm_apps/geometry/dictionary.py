"""Dictionaries: functions of a chart in which something unknown is expanded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ndm_apps.geometry.differentiable import check_differentiable

Dictionary: TypeAlias = Callable[[Tensor], Tensor]


@final
@dataclass(frozen=True)
class Polynomials:
    r"""Products of powers of :math:`t_i = (x_i - c_i) / s_i`; for angles, of 1, sin x, cos x, sin 2x, cos 2x, ...

    Attributes
    ----------
    table : Tensor
        One row per function, one column per coordinate, shape ``(functions, n)``. An entry k stands for
        :math:`t_i^k`, or in the column of an angle for the function k of the list above, counted from 0.
    centre, scale : Tensor
        Shape ``(n,)``. For an angle 0 and 1.
    angles : tuple of int
        Coordinates measured modulo :math:`2 \pi`.
    """

    table: Int[Tensor, "functions n"]
    centre: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    angles: tuple[int, ...] = ()

    def __call__(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch functions"]:
        """Values of the functions at the points ``x``."""
        t = (x - self.centre) / self.scale
        factors = []
        for i, column in enumerate(self.table.unbind(-1)):
            ladder = (_harmonics if i in self.angles else _powers)(t[..., i], int(column.max()))
            factors.append(torch.stack(ladder, -1)[..., column])
        return torch.stack(factors).prod(0)


def polynomials(x: Float[Tensor, "points n"], degree: int, angles: Sequence[int] = ()) -> Polynomials:
    """Make all products of total degree up to ``degree``, standardised on the points ``x``.

    A harmonic sin kx or cos kx of an angle counts as degree k.

    Raises
    ------
    ValueError
        If ``degree`` is not an integer of at least 0, or ``angles`` does not hold indices of coordinates.

    Examples
    --------
    >>> import torch
    >>> line = torch.tensor([[-1.0], [1.0]])
    >>> polynomials(line, 2)(torch.tensor([3.0]))
    tensor([1., 3., 9.])
    """
    n = x.shape[-1]
    if isinstance(degree, bool) or not isinstance(degree, int) or degree < 0:
        raise ValueError(f"degree must be an integer, at least 0, got {degree!r}")
    if not set(angles) <= set(range(n)):
        raise ValueError(f"angles must be indices of coordinates, 0 to {n - 1}, got {tuple(angles)}")
    spread = (x - x.mean(0)).square().mean(0).sqrt()
    angle = torch.tensor([i in angles for i in range(n)], device=x.device)
    return Polynomials(
        torch.tensor(list(_table(n, degree, angles)), device=x.device),
        torch.where(angle, torch.zeros_like(spread), x.mean(0)),
        torch.where(angle | (spread == 0), torch.ones_like(spread), spread),
        tuple(angles),
    )


def checked_dictionary(
    x: Float[Tensor, "points n"], degree: int, angles: Sequence[int], dictionary: Dictionary | None
) -> Dictionary:
    """Return the dictionary, or the polynomials, if the points ``x`` can tell its functions apart.

    Raises
    ------
    ValueError
        If an argument is not what it should be, the points are not more than twice the functions, or some combination
        of the functions vanishes on all of them.
    """
    chosen = polynomials(x, degree, angles) if dictionary is None else dictionary
    phi = chosen(x)
    if not isinstance(phi, Tensor) or phi.shape[:-1] != x.shape[:-1] or phi.numel() == 0 < len(x):
        got = tuple(phi.shape) if isinstance(phi, Tensor) else type(phi).__name__
        raise ValueError(f"dictionary must map (..., n) to (..., functions), got {got} from {tuple(x.shape)}")
    functions = phi.shape[-1]
    if len(x) <= 2 * functions:
        raise ValueError(f"x must hold at least {2 * functions + 1} points for {functions} functions, got {len(x)}")
    if not bool(independent(torch.nn.functional.normalize(phi.double(), dim=0), torch.finfo(x.dtype).eps).all()):
        raise ValueError("x must lie in general position: on these points some functions of the dictionary coincide")
    check_differentiable(chosen, "dictionary(x)", x)
    return chosen


def independent(columns: Float[Tensor, "rows columns"], eps: float) -> Bool[Tensor, " columns"]:
    """Which of some columns of length 1, known to a precision ``eps``, are not combinations of those before them."""
    mask: Tensor = torch.linalg.qr(columns, mode="r").R.diagonal().abs() > eps**0.5
    return mask


def _table(n: int, degree: int, angles: Sequence[int]) -> Iterator[list[int]]:
    if n == 0:
        yield []
        return
    angle = n - 1 in angles
    for last in range(1 + degree * (2 if angle else 1)):
        for rest in _table(n - 1, degree - ((last + 1) // 2 if angle else last), angles):
            yield [*rest, last]


def _powers(t: Tensor, highest: int) -> list[Tensor]:
    # Repeated products: x**0 has no derivative at 0, and learned metrics are often sampled there.
    powers = [torch.ones_like(t)]
    for _ in range(highest):
        powers.append(powers[-1] * t)
    return powers


def _harmonics(t: Tensor, highest: int) -> list[Tensor]:
    waves = [((k + 1) // 2 * t).sin() if k % 2 else (k // 2 * t).cos() for k in range(1, highest + 1)]
    return [torch.ones_like(t), *waves]
