"""How messages to the user are worded: always one line, values shown short, near misses suggested."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

LONGEST_VALUE = 60
LONGEST_LIST = 30


def one_line(text: str) -> str:
    r"""Return ``text`` with everything that a terminal would not print as one line written as an escape.

    >>> print(one_line("a\nb"))
    a\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(value: Any) -> str:
    """Return ``value`` as a YAML file would show it, cut at 60 characters.

    >>> short(True), short(None), short("no")
    ('true', 'null', "'no'")
    """
    named = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else "null" if value is None else None
    text = named or one_line(repr(value))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def did_you_mean(word: str, choices: Collection[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``choices``, or nothing when none is near.

    >>> did_you_mean("rigde", ["ridge", "rate"])
    "; did you mean 'ridge'?"
    """
    # Case is the commonest slip of all, and a short word that differs in case only has no letter in common.
    near = [c for c in choices if c.casefold() == word.casefold()] or get_close_matches(word, choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(choices: Collection[str]) -> str:
    """Return ``choices`` with commas, the first thirty of them.

    >>> listed(["a", "b"]), listed([])
    ('a, b', 'none')
    """
    names = list(choices)
    more = f", ... ({len(names)} in all)" if len(names) > LONGEST_LIST else ""
    return ", ".join(names[:LONGEST_LIST]) + more if names else "none"


def either(choices: Sequence[str]) -> str:
    """Return ``"a, b or c"``.

    >>> either(["text", "a list", "a mapping"])
    'text, a list or a mapping'
    """
    return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)


def unknown(what: str, word: str, choices: Collection[str]) -> str:
    """Return the sentence for a name that is not among ``choices``.

    >>> unknown("key", "rigde", ["rate", "ridge"])
    "unknown key 'rigde'; did you mean 'ridge'? (allowed: rate, ridge)"
    """
    return f"unknown {what} {short(word)}{did_you_mean(word, choices)} (allowed: {listed(choices)})"
