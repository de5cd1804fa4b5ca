"""Headers of tables as symbols: whatever a header holds, it is only a name, and formulas get a safe one for it."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Sequence

from ndm_apps.expression import CONSTANTS, FUNCTIONS
from ndm_apps.plugins.physics.units import UnitError, parse_unit

LONGEST_SYMBOL = 40
_WITH_UNIT = re.compile(r"(?P<name>.*?)\s*(?:\[(?P<square>[^\[\]]*)\]|(?<=\s)\((?P<round>[^()]*)\))\s*", re.DOTALL)


def split_unit(header: str) -> tuple[str, str | None]:
    """Return the name in a header, and the unit that follows in brackets, if it is one.

    Examples
    --------
    >>> split_unit("speed [m/s]"), split_unit("x (cm)"), split_unit("x(t)"), split_unit("a [first]")
    (('speed', 'm/s'), ('x', 'cm'), ('x(t)', None), ('a [first]', None))
    """
    match = _WITH_UNIT.fullmatch(header)
    if match is None or not match["name"]:
        return header.strip(), None
    unit = (match["square"] if match["square"] is not None else match["round"]).strip()
    try:
        parse_unit(unit)
    except UnitError:
        return header.strip(), None
    return match["name"].strip(), unit


def symbols(names: Sequence[str]) -> list[str]:
    """Return a name for each header that formulas can hold: letters, digits and ``_``, no reserved word, all distinct.

    Examples
    --------
    >>> symbols(["q", "angle 1", "1st", "lambda", "sin", "x-y", "x y", "=cmd()"])
    ['q', 'angle_1', 'c_1st', 'lambda_', 'sin_', 'x_y', 'x_y_2', 'cmd']
    """
    found: list[str] = []
    plain = {name for name in names if _is_symbol(name)}
    for number, name in enumerate(names, start=1):
        symbol = name if _is_symbol(name) else _symbol(name, number)
        count, base = 2, symbol
        while symbol in found or (symbol in plain and symbol != name):
            symbol, count = f"{base}_{count}", count + 1
        found.append(symbol)
    return found


def _is_symbol(name: str) -> bool:
    return (
        name.isidentifier()
        and unicodedata.normalize("NFKC", name) == name
        and len(name) <= LONGEST_SYMBOL
        and not (keyword.iskeyword(name) or name in FUNCTIONS or name in CONSTANTS or name.startswith("__"))
    )


def _symbol(name: str, number: int) -> str:
    letters = (c if f"_{c}".isidentifier() else " " for c in unicodedata.normalize("NFKC", name))
    text = re.sub(r"[_ ]*[ ][_ ]*", "_", "".join(letters)).strip("_")[:LONGEST_SYMBOL]
    if not text:
        return f"column_{number}"
    if keyword.iskeyword(text) or text in FUNCTIONS or text in CONSTANTS:
        return f"{text}_"
    return text if text.isidentifier() else f"c_{text}"
