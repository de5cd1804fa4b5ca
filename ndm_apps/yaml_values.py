"""What a YAML scalar means here, and how mappings are written so that they read back exactly.

The dialect is the plain part of YAML 1.2: only ``true`` and ``false`` are booleans, ``1e-3`` is a number, nothing is
a date, an octal or a base-60 number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, final

import yaml

from ndm_apps.errors import InputError
from ndm_apps.wording import short

DEEPEST = 50
LARGEST_INTEGER = 2**63

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
# A number does not begin with 0 followed by a digit: whether 010 is eight or ten, no two readers agree.
_FLOAT = re.compile(r"[-+]?(?!0[0-9])(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "~": None, "": None}


def scalar(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar.

    >>> [scalar(text) for text in ("1E5", ".5", "12:30", "010", "yes", "~")]
    [100000.0, 0.5, '12:30', '010', 'yes', None]
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        # The length is looked at first: Python refuses to convert more than 4300 digits.
        if len(text) > 20 or abs(int(text)) >= LARGEST_INTEGER:
            raise InputError(f"the integer {short(text)[1:-1]} is too large, must be less than 2**63 in size")
        return int(text)
    if _NOT_FINITE.fullmatch(text):
        raise InputError(f"got {text}, numbers must be finite")
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise InputError(f"the number {short(text)[1:-1]} is too large, numbers must be finite")
        return number
    return text


@final
class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and quotes what this reader, or a YAML 1.1 reader, would not take for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_float(dumper: _Dumper, number: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # In single quotes PyYAML writes line breaks that do not read back as they were.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(float, _write_float)
_Dumper.add_representer(str, _write_text)
for _tag, _pattern, _first in (("int", _INTEGER, "-+0123456789"), ("float", _FLOAT, "-+.0123456789")):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern.pattern})$"), list(_first))


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Write a mapping of plain values (text, numbers, booleans, None, lists, mappings) so that it reads back equal.

    >>> print(dump_yaml({"rate": 1e-05, "name": "no", "state": ["q", "p"], "digits": "1e3"}), end="")
    rate: 1e-05
    name: 'no'
    state: [q, p]
    digits: '1e3'

    Raises
    ------
    ValueError
        A value has no exact counterpart in the files that are read here: a number that is not finite, an integer of
        64 bits or more, a key that is not text, another type.
    """
    _check_plain(data, 0)
    return str(
        yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    )


def _check_plain(value: Any, depth: int) -> None:
    kind = type(value)
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"got {value}, numbers must be finite")
    if kind is int and abs(value) >= LARGEST_INTEGER:
        raise ValueError(f"got {short(value)}, integers must be less than 2**63 in size")
    if kind is dict or (isinstance(value, Mapping) and depth == 0):
        if wrong := [key for key in value if type(key) is not str]:
            raise ValueError(f"got the key {short(wrong[0])}, keys must be text")
    elif kind is not list and kind not in (str, int, float, bool) and value is not None:
        raise ValueError(f"got {short(value)} of type {kind.__name__}, must be text, a number, a list or a mapping")
    for item in value.values() if isinstance(value, Mapping) else value if kind is list else ():
        _check_plain(item, depth + 1)
