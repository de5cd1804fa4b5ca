r"""Laws from quantities that grow at a constant rate.

If J grows along each trajectory at a constant rate, the rate is itself conserved: a function of the laws. Of two such
quantities, with rates R and S that are polynomials in laws,

.. math:: J_a S - J_b R

is conserved, a superintegral: time is eliminated between them. So are the angular momentum of a free body about a point
(its position grows at its velocity), and what the motions of Calogero and Moser have beside Lax's traces.

They are searched among products of growing quantities with polynomials in laws, and judged like any law.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

from ndm_apps.plugins.physics.atoms import own_expression
from ndm_apps.plugins.physics.dictionary import Dictionary, Term
from ndm_apps.plugins.physics.tiers import Tier

#: Highest degree of the polynomials in laws; that of Lax's third trace in simpler laws.
DEGREE = 3


def eliminated(columns: Sequence[str], growing: Sequence[str], laws: Sequence[str], degree: int) -> Tier:
    """Return the dictionary of products of growing quantities with polynomials in laws.

    Parameters
    ----------
    columns
        Names of all columns.
    growing, laws
        Expressions in these.
    degree
        Highest degree of the polynomials.

    Examples
    --------
    >>> tier = eliminated(["x", "y", "u", "v"], ["x", "y"], ["u", "v"], 2)
    >>> len(tier.dictionary)
    12
    """
    lines = [own_expression(text, columns) for text in growing]
    atoms = [own_expression(text, columns) for text in laws]
    factors = [factor for n in range(degree + 1) for factor in combinations_with_replacement(atoms, n)]
    terms: list[Term] = [(line, *factor) for factor in factors for line in lines]
    words = f"what grows at a constant rate times polynomials in laws up to degree {degree}"
    return Tier(f"lines{degree}", words, Dictionary(tuple(columns), tuple(terms)))
