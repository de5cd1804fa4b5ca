r"""Denominators of rational laws, from the polynomial relations that hold along single trajectories.

Where :math:`H = p/q` is conserved, :math:`p - c_k q` vanishes on trajectory k, whatever its level :math:`c_k`: a null
vector of the trajectory's own matrix of terms. If a dictionary also holds m - 1 multiples of it, each trajectory has m
null vectors, and those of all trajectories together span 2 m dimensions: p, q and their multiples. A short vector of
that span is a denominator. Laws with it are then searched for as all others are, with quotients as terms.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.atoms import own_expression
from ndm_apps.plugins.physics.dictionary import Dictionary, Term, products
from ndm_apps.plugins.physics.formula import Coefficient, expression, printed, rational
from ndm_apps.plugins.physics.sparse import sparse_vectors
from ndm_apps.plugins.physics.tiers import Tier, Vocabulary
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Degrees of numerators and denominators in the columns, or in sines and cosines where there are angles.
DEGREES = (2, 3, 4, 5)
#: With angles, degree of the other columns, and of the sines and cosines that multiply them.
BESIDE_ANGLES = 2
#: Most terms, and most for each sample of a trajectory: of more, null vectors are no relation.
MOST_TERMS, PER_SAMPLE = 160, 0.75
#: Singular values below this part of the largest are zero, if the next one is so many times greater.
ZERO, GAP = 1e-9, 100.0
#: So many trajectories must have the same number of null vectors, of which there may be so many.
FEWEST, MOST_MULTIPLES = 6, 4
#: Entries of a null vector below this part of the largest are none; others are known to this part of it.
ABSENT, KNOWN = 1e-5, 1e-6
#: A denominator stays away from zero by this part of its root mean square.
FROM_ZERO = 1e-3
#: Denominators that are tried.
DENOMINATORS = 3


def quotients(data: Trajectories, words: Vocabulary, most: int) -> list[Tier]:
    """Return dictionaries of quotients by the denominators that trajectories show; noise hides these altogether.

    Parameters
    ----------
    data
        Trajectories without noise.
    words
        What terms are made of.
    most
        Most terms of a dictionary.
    """
    columns = [words.columns[atom.columns[0]] for atom in words.plain]
    if not all(column.isidentifier() for column in columns):
        return []
    for terms in _numerators(words):
        if len(terms) + 1 > min(MOST_TERMS, PER_SAMPLE * float(np.median(data.lengths))):
            break
        dictionary = Dictionary(words.columns, tuple(terms))
        features = np.column_stack([np.ones(len(data.values)), dictionary.evaluate(data.values).features])
        scale = np.sqrt((features**2).mean(axis=0))
        space = common_span([part / scale for part in np.split(features, data.starts[1:])])
        if space is not None:
            return _tiers(dictionary, space / scale[:, None], features, words, most)
    return []


def common_span(trajectories: list[Array]) -> Array | None:
    """Return the 2 m dimensions that the null vectors of trajectories span, m of each, ``(terms, 2 m)``; None if not.

    Examples
    --------
    On each circle :math:`x^2 + y^2 = c y`, the rows 1, x, y, x^2, xy, y^2 have a null vector.

    >>> angle = np.linspace(0, 6, 50)
    >>> def circle(c):
    ...     x, y = c / 2 * np.cos(angle), c / 2 * (1 + np.sin(angle))
    ...     return np.stack([np.ones(50), x, y, x * x, x * y, y * y], axis=1)
    >>> space = common_span([circle(c) for c in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)])
    >>> space.shape, (abs(space) > 1e-9).any(axis=1).tolist()
    ((6, 2), [False, False, True, True, False, True])
    """
    found: dict[int, list[tuple[float, Array]]] = {}
    for part in trajectories:
        if len(part) <= part.shape[1]:
            continue
        values, vectors = np.linalg.svd(part, full_matrices=False)[1:]
        many = int((values < ZERO * values[0]).sum())
        if 0 < many < len(values):
            gap = values[-many - 1] / max(values[-many], np.finfo(float).eps * values[0])
            found.setdefault(many, []).append((float(gap), vectors[-many:].T))
    if not found:
        return None
    many, candidates = max(found.items(), key=lambda item: len(item[1]))
    # The greater the gap, the better null vectors are known.
    candidates.sort(key=lambda item: -item[0])
    nulls = [null for gap, null in candidates[: max(FEWEST, len(candidates) // 2)] if gap > GAP]
    if len(nulls) < FEWEST or many > MOST_MULTIPLES:
        return None
    vectors, values, _ = np.linalg.svd(np.concatenate(nulls, axis=1), full_matrices=False)
    size = 2 * many
    if size >= len(values) or values[size - 1] < ABSENT * values[0] or values[size] * GAP > values[size - 1]:
        return None
    space = np.array(vectors[:, :size])
    space[np.linalg.norm(space, axis=1) < ABSENT] = 0.0
    return space


def _numerators(words: Vocabulary) -> Iterator[list[Term]]:
    """Yield the terms of numerators and denominators, few first; the constant is left out."""
    turning = [atom for atom in words.plain if atom.kind != "column"]
    straight = [atom for atom in words.plain if atom.kind == "column"]
    if not turning:
        yield from (products(straight, degree) for degree in DEGREES)
        return
    beside = products(straight, BESIDE_ANGLES)
    mixed = [(*one, *other) for one in products(turning, BESIDE_ANGLES) for other in beside]
    yield from ([*products(turning, degree), *beside, *mixed] for degree in DEGREES)


def _tiers(dictionary: Dictionary, space: Array, features: Array, words: Vocabulary, most: int) -> list[Tier]:
    """Return a dictionary for each of the shortest vectors of a span that are no constant and nowhere near zero."""
    weights = np.sqrt((features**2).mean(axis=0))
    used = np.abs(space[1:]).max(axis=1) > 0
    numerators = [term for term, is_used in zip(dictionary.terms, used, strict=True) if is_used]
    plain = products(words.plain, 2)
    found: list[Tier] = []
    for vector in sparse_vectors(space * weights[:, None], np.eye(space.shape[1]), ABSENT):
        vector = np.where(np.abs(vector) > ABSENT * np.abs(vector).max(), vector, 0.0) / weights
        values = features @ vector
        vector *= np.sign(values.mean())
        if not vector[1:].any() or np.abs(values).min() < FROM_ZERO * np.sqrt((values**2).mean()):
            continue
        over = own_expression(f"1/({_text(dictionary, vector)})", words.columns)
        # Of the denominator's own terms one is left out: all of them over it would be a constant.
        redundant = dictionary.terms[int(np.argmax(np.abs(vector[1:])))]
        terms = [*plain, (over,), *((*term, over) for term in numerators if term != redundant)]
        if len(terms) <= most:
            name = f"ratio{len(found) + 1}"
            found.append(Tier(name, f"quotients by {over.text[2:]}", Dictionary(words.columns, tuple(terms))))
        if len(found) == DENOMINATORS:
            break
    return found


def _text(dictionary: Dictionary, vector: Array) -> str:
    """Return a denominator as an expression, of whole numbers if ratios of coefficients are near fractions."""
    ratios = vector / np.abs(vector).max()
    present = np.flatnonzero(ratios)
    numbers = [rational(one, KNOWN) for one in ratios[present]]
    coefficients: list[Coefficient] = [
        number or printed(one, KNOWN) for number, one in zip(numbers, ratios[present], strict=True)
    ]
    constant = sympy.sympify(coefficients.pop(0)) if present[0] == 0 else 0
    found = sympy.trigsimp(expression(dictionary.of(present[present > 0] - 1), coefficients) + constant)
    return str(found.primitive()[1] if all(numbers) else found)
