"""The coordinate map of one layer: couplings of one family in turn, with what goes between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from ndm_apps.engine.coordinates.affine import Affine
from ndm_apps.engine.coordinates.base import Composition, CoordinateMap
from ndm_apps.engine.coordinates.coupling import AffineCoupling, Coupling
from ndm_apps.engine.coordinates.orthogonal import OrthogonalMixing
from ndm_apps.engine.coordinates.smooth import SmoothCoupling
from ndm_apps.engine.coordinates.spline import SplineCoupling

FamilyName = Literal["affine", "smooth", "spline"]

_FAMILIES: dict[str, Callable[..., Coupling]] = {
    "affine": AffineCoupling,
    "smooth": SmoothCoupling,
    "spline": SplineCoupling,
}


def alternating_couplings(
    n: int,
    depth: int = 2,
    hidden: Sequence[int] = (64,),
    *,
    coordinates: FamilyName = "affine",
    mixing: bool = False,
    normalise: bool = False,
) -> CoordinateMap:
    """Return couplings whose halves take turns, which start as the identity; for ``n = 1`` an affine map.

    Parameters
    ----------
    n
        Dimension.
    depth
        Number of couplings.
    hidden
        Hidden widths of their networks.
    coordinates
        Whether they are :class:`AffineCoupling`, :class:`SmoothCoupling` or :class:`SplineCoupling`.
    mixing
        Whether an :class:`OrthogonalMixing` goes before each coupling.
    normalise
        Whether a diagonal :class:`Affine` comes first, to be set by :meth:`CoordinateMap.initialise`.

    Raises
    ------
    ValueError
        If ``depth`` or ``coordinates`` is none of the above.

    Examples
    --------
    >>> [type(part).__name__ for part in alternating_couplings(4, coordinates="smooth", mixing=True).maps]
    ['OrthogonalMixing', 'SmoothCoupling', 'OrthogonalMixing', 'SmoothCoupling']
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    if coordinates not in _FAMILIES:
        raise ValueError(f"coordinates must be one of {sorted(_FAMILIES)}, got {coordinates!r}")
    if n == 1:
        return Affine(1)
    parts: list[CoordinateMap] = [Affine(n, diagonal=True)] if normalise else []
    for number in range(depth):
        if mixing:
            parts.append(OrthogonalMixing(n))
        parts.append(_FAMILIES[coordinates](n, hidden, reverse=bool(number % 2)))
    return Composition(parts)
