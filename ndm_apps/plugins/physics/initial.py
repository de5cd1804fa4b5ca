"""Where trajectories start: values drawn from ranges or normal distributions, and expressions of what was drawn."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias, final

from pydantic import Field

from ndm_apps.errors import FieldError
from ndm_apps.expression import Expression, parse_expression
from ndm_apps.plugins.base import Schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@final
class Normal(Schema):
    """A normal distribution."""

    mean: float
    sd: Annotated[float, Field(ge=0.0)]


#: ``[low, high]``, uniformly, or ``{mean, sd}``.
Distribution: TypeAlias = tuple[float, float] | Normal
#: Also an expression of parameters, auxiliary variables, and columns that are drawn.
Start: TypeAlias = Distribution | str | float


def check_starts(draw: Mapping[str, Distribution], initial: Mapping[str, Start], parameters: Iterable[str]) -> None:
    """Raise FieldError, relative to the system, if a range is upside down or an expression is wrong."""
    for key, given in (("draw", draw), ("initial", initial)):
        for name, start in given.items():
            if isinstance(start, tuple) and start[0] > start[1]:
                raise FieldError((key, name), f"got [{start[0]}, {start[1]}], must be [low, high] with low <= high")
    names = [*parameters, *draw, *distributions(initial)]
    for column, start in initial.items():
        try:
            expressions({column: start}, names)
        except ValueError as error:
            raise FieldError(("initial", column), str(error)) from None


def distributions(initial: Mapping[str, Start]) -> dict[str, Distribution]:
    """Return the distributions of the columns that are drawn."""
    return {column: start for column, start in initial.items() if isinstance(start, (tuple, Normal))}


def expressions(initial: Mapping[str, Start], names: Collection[str]) -> dict[str, Expression]:
    """Return the expressions of the columns that are computed, in terms of ``names``."""
    return {
        column: parse_expression(start, names)
        for column, start in initial.items()
        if not isinstance(start, (tuple, Normal))
    }


def drawn(wanted: Mapping[str, Distribution], many: int, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Draw ``many`` values of each variable."""
    return {
        name: rng.uniform(*one, many) if isinstance(one, tuple) else rng.normal(one.mean, one.sd, many)
        for name, one in wanted.items()
    }
