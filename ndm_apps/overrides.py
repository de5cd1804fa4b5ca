"""Reads ``--set a.b=v`` and ``--seeds 0:5``: values given on the command line, one or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from ndm_apps.errors import InputError
from ndm_apps.wording import one_line, short
from ndm_apps.yaml_source import Place, Source, parse_value

LARGEST_SEED = 2**32 - 1
MOST_RUNS = 10_000


def split_override(override: str) -> tuple[tuple[str, ...], str]:
    """Split ``a.b=v`` into the path of the key and the text of the value.

    >>> split_override("methods.ndm.ridge=1e-3")
    (('methods', 'ndm', 'ridge'), '1e-3')
    """
    key, equals, value = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise InputError(f"{_label(override)}: must be KEY=VALUE, such as seed=1 or methods.ndm.rate=1e-3")
    if path[0] == "extends":
        raise InputError(f"{_label(override)}: extends can be given in a file only")
    return path, value


def apply_override(source: Source, override: str) -> Source:
    """Return the source with the value of one override set; errors point to ``--set a.b=v``."""
    path, text = split_override(override)
    label = _label(override)
    return source.with_value(path, parse_value(text, label), Place(label))


def require_distinct(overrides: Sequence[str]) -> None:
    """Refuse overrides that set one key twice."""
    seen: dict[tuple[str, ...], str] = {}
    for override in overrides:
        path = split_override(override)[0]
        if path in seen:
            raise InputError(f"{_label(override)}: {'.'.join(path)} is set twice (first by {_label(seen[path])})")
        seen[path] = override


def expand_overrides(overrides: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return every combination of overrides that give several values, each with a label of what varies.

    Parameters
    ----------
    overrides
        ``a.b=v1,v2`` gives two values; commas inside brackets or quotes do not separate.

    Raises
    ------
    InputError
        An override is malformed, gives a value twice or none, or there are more than 10 000 combinations.

    Examples
    --------
    >>> expand_overrides(["a=1,2", "b=[x, y]"])
    [('a=1', ('a=1', 'b=[x, y]')), ('a=2', ('a=2', 'b=[x, y]'))]
    """
    require_distinct(overrides)
    choices: list[list[str]] = []
    for override in overrides:
        path, text = split_override(override)
        values = _split_commas(text)
        if len(values) > 1 and not all(values):
            raise InputError(f"{_label(override)}: a value between commas is empty")
        if len(set(values)) < len(values):
            raise InputError(f"{_label(override)}: a value is given twice")
        choices.append([f"{'.'.join(path)}={value}" for value in values])
    if math.prod(len(values) for values in choices) > MOST_RUNS:
        raise InputError(f"--set: the values have more than {MOST_RUNS} combinations, the most that a sweep runs")
    varied = [len(values) > 1 for values in choices]
    return [
        (one_line(", ".join(one for one, varies in zip(combination, varied, strict=True) if varies)), combination)
        for combination in product(*choices)
    ]


def parse_seeds(text: str, name: str = "--seeds") -> tuple[int, ...]:
    """Return the seeds that a text lists: ``0:5`` is 0, 1, 2, 3, 4; commas join single seeds and ranges.

    >>> parse_seeds("0:3"), parse_seeds("3"), parse_seeds("0,2,7:9")
    ((0, 1, 2), (3,), (0, 2, 7, 8))

    Raises
    ------
    InputError
        ``text`` is not of that form, a range is empty, a seed is given twice or is 2**32 or more, or there are more
        than 10 000; the message begins with ``name``.
    """

    def wrong(reason: str) -> InputError:
        return InputError(f"{name}: got {short(text)}: {reason}")

    seeds: list[int] = []
    for part in text.split(","):
        bounds = [bound.strip() for bound in part.split(":")]
        if len(bounds) > 2 or not all(b.isascii() and b.isdigit() for b in bounds):
            raise wrong("must be seeds such as 0:5, 3 or 0,2,7 (whole numbers from 0)")
        # Longer texts are out of range for certain; Python would refuse to convert the longest.
        first, *last = (int(b) if len(b) <= 10 else 10**10 for b in bounds)
        end = last[0] if last else first + 1
        if first >= end:
            raise wrong(f"the range {first}:{end} is empty, its end must be greater than its start")
        if end - 1 > LARGEST_SEED:
            raise wrong(f"seeds must be at most {LARGEST_SEED}")
        if len(seeds) + end - first > MOST_RUNS:
            raise wrong(f"more than {MOST_RUNS} seeds, the most that a sweep runs")
        seeds.extend(range(first, end))
    if len(set(seeds)) < len(seeds):
        raise wrong("a seed is given twice")
    return tuple(seeds)


def _label(override: str) -> str:
    return f"--set {one_line(override if len(override) <= 80 else override[:77] + '...')}"


def _split_commas(text: str) -> list[str]:
    """Split at the commas that lie outside brackets and quotes."""
    parts = [""]
    depth, quote = 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (depth or not parts[-1].strip()):
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
        if character == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
