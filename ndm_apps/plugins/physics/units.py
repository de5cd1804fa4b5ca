"""Units of columns: read from text by a small parser of products and powers, and dimensional analysis of formulas."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from ndm_apps.wording import did_you_mean, short

#: The base dimensions, in the order of :class:`Dimension`.
BASE = ("m", "kg", "s", "A", "K", "mol", "cd")
LONGEST_TEXT = 100
LARGEST_POWER = 12

Dimension = tuple[Fraction, ...]
DIMENSIONLESS: Dimension = (Fraction(0),) * len(BASE)

# Exponents of the base dimensions; prefixes go with those of the first table only.
_PREFIXED = {
    "m": (1,), "g": (0, 1), "s": (0, 0, 1), "A": (0, 0, 0, 1), "K": (0, 0, 0, 0, 1), "mol": (0, 0, 0, 0, 0, 1),
    "cd": (0, 0, 0, 0, 0, 0, 1), "rad": (), "Hz": (0, 0, -1), "N": (1, 1, -2), "J": (2, 1, -2), "W": (2, 1, -3),
    "Pa": (-1, 1, -2), "C": (0, 0, 1, 1), "V": (2, 1, -3, -1), "Ohm": (2, 1, -3, -2), "S": (-2, -1, 3, 2),
    "F": (-2, -1, 4, 2), "H": (2, 1, -2, -2), "Wb": (2, 1, -2, -1), "T": (0, 1, -2, -1), "eV": (2, 1, -2),
    "bar": (-1, 1, -2), "l": (3,), "L": (3,),
}  # fmt: skip
_PLAIN = {
    "1": (), "%": (), "deg": (), "rev": (), "min": (0, 0, 1), "h": (0, 0, 1), "d": (0, 0, 1), "day": (0, 0, 1),
    "yr": (0, 0, 1), "year": (0, 0, 1), "au": (1,), "AU": (1,), "ly": (1,), "pc": (1,), "inch": (1,), "ft": (1,),
    "px": (1,), "u": (0, 1), "count": (), "rpm": (0, 0, -1),
}  # fmt: skip
_ALIKE = {"°": "deg", "degree": "deg", "degrees": "deg", "radian": "rad", "radians": "rad", "Ω": "Ohm", "ohm": "Ohm",
          "sec": "s", "second": "s", "seconds": "s", "meter": "m", "metre": "m", "meters": "m", "metres": "m",
          "days": "day", "years": "yr", "a": "yr", "pixel": "px", "pixels": "px", "counts": "count",
          "dimensionless": "1", "none": "1", "-": "1", "–": "1"}  # fmt: skip
_PREFIXES = ("f", "p", "n", "µ", "u", "m", "c", "d", "h", "k", "M", "G", "T")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<times>\*(?!\*)|·|⋅|×|\.)|(?P<over>/)"
    r"|(?P<power>(?:\^|\*\*)\s*(?:\((?P<fraction>[+-]?\d{1,3}(?:/\d{1,2})?)\)|(?P<integer>[+-]?\d{1,3})))"
    r"|(?P<name>1|%|°|-(?!\d)|–|[^\W\d_]+)(?P<digits>-?\d{1,2})?)"
)


class UnitError(ValueError):
    """A text that is no unit; a ValueError, so that validators may raise it."""


@final
@dataclass(frozen=True)
class Unit:
    """A product of powers of named units, such as ``m/s**2``.

    Attributes
    ----------
    powers
        Exponents by name, none of them zero; radians and plain numbers are left out.

    Examples
    --------
    >>> speed = parse_unit("cm/s")
    >>> print(speed**2, speed**2 / parse_unit("cm"), parse_unit("kg m²/s²").dimension == parse_unit("J").dimension)
    cm**2/s**2 cm/s**2 True
    """

    powers: tuple[tuple[str, Fraction], ...] = ()

    @property
    def dimension(self) -> Dimension:
        """Exponents of the base dimensions metre, kilogram, second, ampere, kelvin, mole and candela."""
        total = list(DIMENSIONLESS)
        for name, power in self.powers:
            for n, exponent in enumerate(_exponents(name)):
                total[n] += exponent * power
        return tuple(total)

    @property
    def is_dimensionless(self) -> bool:
        """Whether it is a pure number, an angle in any unit included."""
        return self.dimension == DIMENSIONLESS

    def __mul__(self, other: Unit) -> Unit:
        total: dict[str, Fraction] = dict(self.powers)
        for name, power in other.powers:
            total[name] = total.get(name, Fraction(0)) + power
        return Unit(tuple((name, power) for name, power in total.items() if power))

    def __pow__(self, power: int | Fraction) -> Unit:
        return Unit(tuple((name, one * power) for name, one in self.powers if one * power))

    def __truediv__(self, other: Unit) -> Unit:
        return self * other**-1

    def __str__(self) -> str:
        above = [_raised(name, power) for name, power in self.powers if power > 0]
        below = [_raised(name, -power) for name, power in self.powers if power < 0]
        if not above and not below:
            return "1"
        bottom = f"({'*'.join(below)})" if len(below) > 1 else "".join(below)
        return ("*".join(above) or "1") + (f"/{bottom}" if below else "")


def _raised(name: str, power: Fraction) -> str:
    if power == 1:
        return name
    return f"{name}**{power}" if power.denominator == 1 else f"{name}**({power})"


def _exponents(name: str) -> Sequence[int]:
    if name in _PLAIN:
        return _PLAIN[name]
    return _PREFIXED[name] if name in _PREFIXED else _PREFIXED[name[1:]]


def _known(name: str) -> str | None:
    name = _ALIKE.get(name, name)
    if name in _PREFIXED or name in _PLAIN:
        return name
    if name[:1] in ("µ", "μ"):  # the micro sign and the Greek letter
        name = f"u{name[1:]}"
    return name if name[:1] in _PREFIXES and name[1:] in _PREFIXED else None


def parse_unit(text: str) -> Unit:
    r"""Read a unit: names of units, ``*``, ``/``, a blank for a product, powers such as ``^2``, ``²``, ``s-1``.

    Known are the SI's base and common derived units with prefixes, and deg, min, h, d, yr, au, eV, px and a few others.
    Nothing of the text is evaluated. ``a/b c`` is ``a/b*c``, as products and quotients are read from left to right.

    Raises
    ------
    UnitError
        Some of it is no unit.

    Examples
    --------
    >>> str(parse_unit("kg*m^2 s-2")), str(parse_unit("J/(kg K)")), str(parse_unit("rad/s")), str(parse_unit(""))
    ('kg*m**2/s**2', 'J/(kg*K)', '1/s', '1')
    """
    text = text.strip().translate(_SUPERSCRIPTS)
    if len(text) > LONGEST_TEXT:
        raise UnitError(f"got {short(text)}, must be a unit of at most {LONGEST_TEXT} characters")
    found, position = _product(text, 0, depth=0)
    if position < len(text):
        raise UnitError(f"got {short(text)}, must be a unit: {short(text[position:])} is not understood")
    if any(abs(power) > LARGEST_POWER for _, power in found.powers):
        raise UnitError(f"got {short(text)}, must be a unit with powers of at most {LARGEST_POWER}")
    return found


def _product(text: str, position: int, depth: int) -> tuple[Unit, int]:
    """Read factors until the text or a parenthesis ends; return the unit and where it stopped."""
    total, inverse, after_sign, is_first = Unit(), False, False, True
    while position < len(text) and (match := _TOKEN.match(text, position)):
        if match["close"]:
            break
        if match["times"] or match["over"]:
            if after_sign or (is_first and match["times"]):
                break
            inverse, after_sign, is_first, position = bool(match["over"]), True, False, match.end()
            continue
        if match["power"] or (match["open"] and depth > 3):
            break
        if match["open"]:
            factor, position = _product(text, match.end(), depth + 1)
            closing = _TOKEN.match(text, position)
            if closing is None or not closing["close"]:
                raise UnitError(f"got {short(text)}, must be a unit: a parenthesis is not closed")
            position = closing.end()
        else:
            factor, position = _named(text, match), match.end()
        power = _TOKEN.match(text, position)
        if power is not None and power["power"]:
            exponent = power["integer"] or power["fraction"]
            if exponent.endswith("/0"):
                raise UnitError(f"got {short(text)}, must be a unit: the power {exponent} is none")
            factor, position = factor ** Fraction(exponent), power.end()
        total = total / factor if inverse else total * factor
        inverse = after_sign = is_first = False
    if after_sign:
        raise UnitError(f"got {short(text)}, must be a unit: it ends with a sign")
    return total, position


def _named(text: str, match: re.Match[str]) -> Unit:
    name = _known(match["name"])
    if name is None:
        near = did_you_mean(match["name"], [*_PREFIXED, *_PLAIN])
        raise UnitError(f"got {short(text)}, must be a unit such as m, m/s, kg*m^2 or rad: unknown unit "
                        f"{short(match['name'])}{near}")  # fmt: skip
    power = Fraction(match["digits"] or 1)
    return Unit() if name in ("rad", "1", "count") or not power else Unit(((name, power),))


def angle_factor(text: str) -> float | None:
    """Return how many radians a unit of angles is; None if the text is no such unit alone.

    Examples
    --------
    >>> angle_factor("rad"), round(angle_factor("°") or 0, 4), angle_factor("rad/s")
    (1.0, 0.0175, None)
    """
    name = text.strip()
    return {"rad": 1.0, "deg": math.pi / 180.0, "rev": 2.0 * math.pi}.get(_ALIKE.get(name, name))


def allows(function: str, units: Sequence[Unit | None]) -> bool:
    """Whether a function of columns can occur in a law without a hidden constant, as far as their units tell.

    A law's terms differ in dimension only by coefficients, which may have any; the inside of a function has none:

    - ``exp``, ``sin``, ``cos`` need an argument without dimension;
    - ``difference`` and ``radius`` (a root of a sum of squares) need columns of one dimension;
    - ``log`` takes any: its unit only adds a constant; so do powers.

    Columns without a unit (None) are not judged.

    Examples
    --------
    >>> allows("sin", [parse_unit("m")]), allows("sin", [parse_unit("deg")]), allows("log", [parse_unit("m")])
    (False, True, True)
    >>> allows("radius", [parse_unit("m"), parse_unit("m/s")]), allows("exp", [None])
    (False, True)
    """
    dimensions = {unit.dimension for unit in units if unit is not None}
    if function in ("exp", "sin", "cos"):
        return dimensions <= {DIMENSIONLESS}
    return len(dimensions) <= 1 if function in ("difference", "radius") else True


def term_unit(powers: Mapping[str, int], units: Mapping[str, Unit]) -> Unit | None:
    """Return the unit of a product of powers of columns; None if a column has none.

    Examples
    --------
    >>> print(term_unit({"v": 2}, {"v": parse_unit("m/s")}), term_unit({"q": 1}, {}))
    m**2/s**2 None
    """
    total = Unit()
    for column, power in powers.items():
        if column not in units:
            return None
        total = total * units[column] ** power
    return total
