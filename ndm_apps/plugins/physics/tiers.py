"""The dictionaries that are searched, in order: few and simple terms first, products of special functions last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import comb
from typing import final

from ndm_apps.plugins.physics.atoms import Atom, own_expression
from ndm_apps.plugins.physics.dictionary import Dictionary, Term, column_atoms, products
from ndm_apps.plugins.physics.kinds import Kinds

#: Whether a function of some columns is meaningful, by its name and theirs (units decide).
Allowed = Callable[[str, Sequence[str]], bool]


#: The first dictionaries that tell whether anything grows at a constant rate.
SIMPLE = ("poly1", "poly2")


@final
@dataclass(frozen=True)
class Tier:
    """One dictionary to search, with its name and a description in words."""

    name: str
    words: str
    dictionary: Dictionary


@final
@dataclass(frozen=True)
class Vocabulary:
    """The atoms that data of these kinds may be made of.

    Attributes
    ----------
    columns
        Names of all columns.
    plain
        Columns, sines and cosines.
    logs, exponentials, distances
        Special functions.
    inverses
        Pairs of positions, for inverse powers of their difference.
    own
        The user's expressions.
    positions, momenta
        The columns of position and velocity pairs.
    """

    columns: tuple[str, ...]
    plain: tuple[Atom, ...]
    logs: tuple[Atom, ...]
    exponentials: tuple[Atom, ...]
    inverses: tuple[tuple[int, int], ...]
    distances: tuple[Atom, ...]
    own: tuple[Atom, ...]
    positions: tuple[int, ...]
    momenta: tuple[int, ...]


def vocabulary(
    columns: Sequence[str],
    moving: Sequence[int],
    angles: frozenset[str],
    kinds: Kinds,
    expressions: Sequence[str] = (),
    allowed: Allowed = lambda function, names: True,
) -> Vocabulary:
    """Return the atoms of some columns; those that never change (not ``moving``) make none."""

    def may(function: str, numbers: Sequence[int]) -> bool:
        return allowed(function, [columns[n] for n in numbers])

    plain = [atom for atom in column_atoms(columns, angles) if atom.columns[0] in moving]
    plain = [atom for atom in plain if atom.kind == "column" or may(atom.kind, atom.columns)]
    positions = tuple(i for i, _ in kinds.pairs if columns[i] not in angles)
    momenta = tuple(j for i, j in kinds.pairs if columns[i] not in angles)
    bodies = [body for body in kinds.bodies if all(n in moving for n in body)]
    distances = [Atom("distance", body, -1.0) for body in bodies if may("radius", body)]
    for one, other in combinations(bodies, 2):
        if len(one) == len(other) and may("radius", (*one, *other)):
            distances.append(Atom("distance", (*one, *other), -1.0, pair=True))
    if len(bodies) > 1:
        # Between bodies first: a fixed centre is the rarer case.
        distances.sort(key=lambda atom: not atom.pair)
    named = bool(bodies) and any(len(body) < len(positions) for body in bodies)
    pairs = [] if named else [pair for pair in combinations(positions, 2)]
    return Vocabulary(
        columns=tuple(columns),
        plain=tuple(plain),
        logs=tuple(Atom("log", (n,)) for n in kinds.positive if n in moving and may("log", (n,))),
        exponentials=tuple(Atom("exp", pair) for pair in permutations(positions, 2) if not named and may("exp", pair)),
        inverses=tuple(pair for pair in pairs if may("difference", pair)),
        distances=tuple(distances),
        own=tuple(own_expression(text, columns) for text in expressions),
        positions=positions,
        momenta=momenta,
    )


def tiers(words: Vocabulary, degree: int, terms: int) -> Iterator[Tier]:
    """Yield the dictionaries in the order of search; those with more than ``terms`` terms are left out.

    Parameters
    ----------
    words
        The atoms.
    degree
        Highest degree of polynomials.
    terms
        Most terms.
    """
    plain = list(words.plain)
    poly: dict[int, list[Term]] = {}
    for d in range(1, degree + 1):
        if comb(len(plain) + d, d) - 1 <= 4 * terms:
            poly[d] = products(plain, d)
    quadratic = poly.get(2, poly.get(1, []))
    linear = poly.get(1, [])
    momenta = [Atom("column", (n,)) for n in words.momenta]
    own = [(atom,) for atom in words.own]
    # Of distances, the inverse, its square and the logarithm alone; products with the inverse only.
    distances = [(atom,) for atom in words.distances]
    more = [
        (Atom("distance" if k else "log_distance", atom.columns, k, atom.softening, atom.pair),)
        for atom in words.distances
        for k in (-2.0, 0.0)
    ]
    squares = [Atom("difference", pair, -2.0) for pair in words.inverses]
    singles = [Atom("difference", pair, -1.0) for pair in words.inverses]
    logs, exponentials = [(atom,) for atom in words.logs], [(atom,) for atom in words.exponentials]

    def tier(name: str, text: str, *parts: Sequence[Term]) -> Iterator[Tier]:
        together = list(dict.fromkeys(term for part in parts for term in part))
        if together and len(together) <= terms:
            yield Tier(name, text, Dictionary(words.columns, tuple(together)))

    if own:
        yield from tier("user", "the user's expressions and the columns", linear, own)
    yield from tier("poly1", "the columns themselves", linear)
    if logs:
        yield from tier("log1", "columns and logarithms", linear, logs)
    if 2 in poly:
        yield from tier("poly2", "polynomials up to degree 2", quadratic)
        if own:
            yield from tier("user2", "products of two with the user's expressions", products([*plain, *words.own], 2))
    kinetic = products(momenta, 2)
    powers = _differences(words) if len(words.positions) > 1 else []
    # Where positions enter by special functions alone, as in most mechanics, few terms are needed.
    if kinetic:
        inverse = [(atom,) for atom in (*squares, *singles)]
        for name, text, terms_of in (
            ("radP", "inverse distances", distances), ("expP", "exponentials of differences", exponentials),
            ("invP", "inverse powers of differences", inverse), ("pairP", "powers of differences", _gaps(words)),
        ):  # fmt: skip
            if terms_of:
                yield from tier(name, f"products of two momenta, and {text}", kinetic, terms_of)
    if distances:
        yield from tier("radA", "polynomials up to degree 2 and inverse distances", quadratic, distances)
        yield from tier("radB", "... and their squares and logarithms", quadratic, distances, more)
    if logs:
        yield from tier("logA", "polynomials up to degree 2 and logarithms", quadratic, logs)
    if exponentials:
        yield from tier("expA", "polynomials up to degree 2 and exponentials of differences", quadratic, exponentials)
    if squares:
        some = [(atom,) for atom in (*squares, *singles)]
        yield from tier("invA", "polynomials up to degree 2 and inverse powers of differences", quadratic, some)
    if len(words.positions) > 1:
        powers = _differences(words)
        yield from tier(
            "pairA", "polynomials up to degree 2, cubes and fourth powers of differences", quadratic, powers
        )
    if distances:
        yield from tier("rad2", "products of two with inverse distances", products([*plain, *words.distances], 2))
    if logs:
        yield from tier("log2", "products of two with logarithms", products([*plain, *words.logs], 2))
    if exponentials:
        yield from tier("expP3", "cubics in momenta, exponentials as squares", _traces(momenta, words.exponentials))
    if squares:
        cubic = _traces(momenta, squares)
        yield from tier("invP3", "cubics in momenta, inverse squares as squares", cubic)
        positions = [Atom("column", (n,)) for n in words.positions]
        lines = [*((q,) for q in positions), *((q, *term) for q in positions for term in cubic)]
        yield from tier("invP4", "... and these times a position", cubic, lines)
    if 3 in poly:
        yield from tier("poly3", "polynomials up to degree 3", poly[3])
    if distances:
        yield from tier("rad3", "products of three with inverse distances", products([*plain, *words.distances], 3))
    if 4 in poly:
        yield from tier("poly4", "polynomials up to degree 4", poly[4])
    if exponentials:
        yield from tier("exp2", "products of two with exponentials", products([*plain, *words.exponentials], 2))
    for d in range(5, degree + 1):
        if d in poly:
            yield from tier(f"poly{d}", f"polynomials up to degree {d}", poly[d])


def steady(words: Vocabulary, terms: int) -> list[Tier]:
    """Return the dictionaries that are only searched for what grows at a constant rate.

    If bodies push each other apart by forces that fall with the cube of their distance, positions times squares (of
    momenta, or inverse ones of distances) do.
    """
    momenta = [Atom("column", (n,)) for n in words.momenta]
    squares = [*products(momenta, 2), *((Atom("difference", pair, -2.0),) for pair in words.inverses)]
    found = [
        (Atom("column", (q,)), *term) for q in words.positions for term in squares if len(term) == 2 or term[0].special
    ]
    if not words.inverses or len(found) > terms:
        return []
    words_of = "a position times a square of momenta or an inverse square of a difference"
    return [Tier("invQ3", words_of, Dictionary(words.columns, tuple(found)))]


#: Dictionaries of one stage compete: of several forms of one law, the best is taken.
_STAGES = (
    ("user",),
    ("poly1",),
    ("log1",),
    ("poly2", "user2", "radP", "expP", "invP", "pairP"),
    ("radA", "radB", "logA", "expA", "invA", "pairA", "poly3"),
    ("rad2", "log2", "expP3", "invP3", "invP4", "rad3", "poly4", "exp2"),
)


def stages(words: Vocabulary, degree: int, terms: int, *, special: bool = True) -> list[list[Tier]]:
    """Return the dictionaries of :func:`tiers` stage by stage; without ``special``, only polynomials and the user's."""
    found: dict[int, list[Tier]] = {}
    for tier in tiers(words, degree, terms):
        if special or tier.name.startswith(("poly", "user")):
            stage = next((n for n, names in enumerate(_STAGES) if tier.name in names), len(_STAGES) + len(found))
            found.setdefault(stage, []).append(tier)
    return [found[stage] for stage in sorted(found)]


def _differences(words: Vocabulary) -> list[Term]:
    """Return third and fourth powers of positions and of differences of two, all of one kind."""
    positions = [(n,) for n in words.positions]
    found: list[Term] = []
    for k in (3, 4):
        found += [(Atom("column", position),) * k for position in positions]
        found += [(Atom("difference", pair, float(k)),) for pair in combinations(words.positions, 2)]
    return found


def _gaps(words: Vocabulary) -> list[Term]:
    """Return powers 2 to 4 of differences of two positions."""
    pairs = list(combinations(words.positions, 2))
    return [(Atom("difference", pair, float(k)),) for k in (2, 3, 4) for pair in pairs]


def _traces(momenta: Sequence[Atom], potentials: Sequence[Atom]) -> list[Term]:
    """Return products of momenta and potentials of weight up to 3; as in an energy, a potential counts as a square."""
    found = products(momenta, 3)
    return [*found, *((one,) for one in potentials), *((p, one) for p in momenta for one in potentials)]
