"""Which systems are separable: columns of two kinds, such as positions and momenta, that only move each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def separated(rates: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]] | None:
    """Split columns in two kinds so that the rate of each depends on columns of the other kind only.

    Parameters
    ----------
    rates
        The columns that occur in the rate of each column.

    Returns
    -------
    tuple of two lists, or None
        Each in the order of ``rates``, the kind of the first column first; None if there is no such split.

    Examples
    --------
    >>> separated({"x": ["p"], "y": ["q"], "p": ["x", "y"], "q": ["y"]})
    (['x', 'y'], ['p', 'q'])
    >>> separated({"x": ["p"], "p": ["x", "p"]}) is None
    True
    """
    near: dict[str, set[str]] = {column: set(others) for column, others in rates.items()}
    for column, others in rates.items():
        for other in others:
            near[other].add(column)
    kind: dict[str, int] = {}
    for first in rates:
        waiting = [] if first in kind else [first]
        kind.setdefault(first, 0)
        while waiting:
            column = waiting.pop()
            for other in near[column]:
                if other not in kind:
                    kind[other] = 1 - kind[column]
                    waiting.append(other)
                elif kind[other] == kind[column]:
                    return None
    return [c for c in rates if kind[c] == 0], [c for c in rates if kind[c] == 1]
