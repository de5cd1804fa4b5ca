"""Reads YAML files with the file and line of every value.

Beyond the values of :mod:`ndm_apps.yaml_values`, the files are plain: anchors, tags, repeated keys, tabs and several
documents are refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, final

import yaml

from ndm_apps.errors import InputError
from ndm_apps.wording import did_you_mean, one_line, short
from ndm_apps.yaml_values import DEEPEST, scalar

KeyPath = tuple[str | int, ...]

LARGEST_FILE = 1_000_000


@final
@dataclass(frozen=True)
class Place:
    """Where a value was written.

    Attributes
    ----------
    label
        A file's name, or the argument itself, such as ``--set seed=1``.
    line
        Line in the file, from 1; None for an argument.
    folder
        What relative paths in the value start from; None: the working folder.
    depth
        How many leading keys of a path the file itself does not have (a task file read into a config).
    """

    label: str
    line: int | None = None
    folder: Path | None = None
    depth: int = 0

    def __str__(self) -> str:
        return self.label if self.line is None else f"{self.label}:{self.line}"


@final
@dataclass(frozen=True)
class Source:
    """A mapping read from files and arguments, with the place of every value in it."""

    data: dict[str, Any]
    places: Mapping[KeyPath, Place]

    def place(self, path: KeyPath) -> Place:
        """Return where the value at ``path`` was written; of a missing value, where its parent was."""
        return next(self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places)

    def line(self, path: KeyPath) -> int:
        """Return the line of the key or item at ``path``; 0 when it came from an argument."""
        return self.place(path).line or 0

    def get(self, path: KeyPath) -> Any:
        """Return the value at ``path``."""
        value: Any = self.data
        for key in path:
            value = value[key]
        return value

    def error(self, path: KeyPath, message: str, at: KeyPath | None = None) -> InputError:
        """Return the error ``FILE:LINE: KEY: message`` for the value at ``path``, with the line of ``at`` if given."""
        place = self.place(path if at is None else at)
        key = dotted(path[place.depth :])
        return InputError(one_line(f"{place}: {key}: {message}" if key else f"{place}: {message}"))

    def merged(self, over: Source) -> Source:
        """Return this source with ``over`` laid on top: mappings merge, everything else is replaced."""
        replaced: set[KeyPath] = set()
        data = _merge(self.data, over.data, (), replaced)
        kept = {p: at for p, at in self.places.items() if not any(p[:n] in replaced for n in range(1, len(p) + 1))}
        return Source(data, {**kept, **over.places})

    def with_value(self, path: tuple[str, ...], value: Any, place: Place) -> Source:
        """Return this source with the value at ``path`` replaced (mappings on the way are made)."""
        return self._replaced(path, value, {(): place}, place)

    def grafted(self, path: tuple[str, ...], other: Source) -> Source:
        """Return this source with the whole of ``other`` as the value at ``path``."""
        places = {p: replace(at, depth=at.depth + len(path)) for p, at in other.places.items()}
        return self._replaced(path, other.data, places, places[()])

    def _replaced(self, path: tuple[str, ...], value: Any, places: Mapping[KeyPath, Place], made_by: Place) -> Source:
        data = dict(self.data)
        inner = data
        new = {p: at for p, at in self.places.items() if p[: len(path)] != path}
        for n, key in enumerate(path[:-1], start=1):
            below = inner.get(key)
            if not isinstance(below, dict):
                new = {p: at for p, at in new.items() if p[:n] != path[:n]} | {path[:n]: made_by}
            inner[key] = dict(below) if isinstance(below, dict) else {}
            inner = inner[key]
        inner[path[-1]] = value
        return Source(data, {**new, **{path + p: at for p, at in places.items()}})


def _merge(base: dict[str, Any], over: dict[str, Any], path: KeyPath, replaced: set[KeyPath]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, (*path, key), replaced)
        else:
            merged[key] = value
            replaced.add((*path, key))
    return merged


def dotted(path: KeyPath) -> str:
    """Return a key path as text.

    >>> dotted(("sweep", "methods", 1))
    'sweep.methods[1]'
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def shown(path: Path) -> str:
    """Return the path as messages show it: relative to the working folder when it lies there."""
    absolute, here = os.path.abspath(path), os.getcwd()
    return one_line(os.path.relpath(absolute, here) if absolute.startswith(here + os.sep) else str(path))


def read_yaml(path: Path) -> Source:
    """Read a YAML file whose top level is a mapping.

    Raises
    ------
    InputError
        In one line that begins with ``FILE:LINE``: the file cannot be read, is not YAML of the plain kind described
        at the top of this module, or is not a mapping.
    """
    return parse_yaml(_decoded(_content(path), shown(path)), shown(path), path.parent)


def parse_yaml(text: str, label: str, folder: Path | None = None) -> Source:
    r"""Read YAML text whose top level is a mapping; ``label`` names it in messages.

    >>> source = parse_yaml("rate: 1e-3\nanswer: no\n", "x.yaml")
    >>> source.data, source.line(("answer",))
    ({'rate': 0.001, 'answer': 'no'}, 2)
    """
    reader = _Reader(text, label, folder)
    data = reader.document()
    if data is None:
        reader.fail(1, "the file is empty, must hold a mapping of keys to values")
    if not isinstance(data, dict):
        reader.fail(reader.places[()].line or 1, f"must be a mapping of keys to values, got {short(data)}")
    return Source(data, reader.places)


def parse_value(text: str, label: str) -> Any:
    """Read one value as a file would: a scalar, a quoted text, ``[a, b]`` or ``{a: b}``.

    >>> parse_value("[1, 2e3, no]", "--set x=[1, 2e3, no]")
    [1, 2000.0, 'no']
    """
    text = text.strip()
    try:
        if text.startswith(("[", "{", '"', "'")):
            if "\n" in text or "\t" in text:
                raise InputError("a value must not hold line breaks or tabs")
            return _Reader(text, label, None).document()
        text.encode()
        return scalar(text)
    except UnicodeEncodeError:
        raise InputError(one_line(f"{label}: must be UTF-8 text")) from None
    except InputError as error:
        raise InputError(one_line(f"{label}: {str(error).removeprefix(f'{label}:1: ')}")) from None


def _content(path: Path) -> bytes:
    name = shown(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a folder, must be a YAML file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{name}: is not a regular file, must be a YAML file")
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        near = did_you_mean(path.name, _siblings(path))
        raise InputError(f"{name}: no such file{near}") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {one_line(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise InputError(f"{name}: is not a file name") from None
    if len(content) > LARGEST_FILE:
        raise InputError(f"{name}: is larger than {LARGEST_FILE} bytes, the most that is read")
    return content


def _siblings(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path.parent))
    except OSError:
        return []


def _decoded(content: bytes, name: str) -> str:
    for byte, message in (
        (b"\0", "the file holds NUL bytes, must be UTF-8 text"),
        (b"\t", "the line holds a tab, must be indented and separated by spaces (in quoted text, write \\t)"),
    ):
        if byte in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{name}:{content[: content.index(byte)].count(10) + 1}: {message}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}:{content[: error.start].count(10) + 1}: must be UTF-8 text") from None


@final
class _Reader:
    """Builds plain values from PyYAML's events. No constructor, resolver or recursion of PyYAML takes part."""

    def __init__(self, text: str, label: str, folder: Path | None) -> None:
        self.text, self.label, self.folder = text, label, folder
        self.loader: Any = None
        self.places: dict[KeyPath, Place] = {}

    def fail(self, line: int, message: str) -> NoReturn:
        raise InputError(one_line(f"{self.label}:{line}: {message}"))

    def document(self) -> Any:
        try:
            self.loader = yaml.SafeLoader(self.text)
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            self.fail(line, f"the character {short(chr(error.character))} is not allowed in a text file")
        try:
            return self._whole_stream()
        except yaml.MarkedYAMLError as error:
            # An unclosed quote or bracket is noticed at the end of the file; what helps is where it began.
            at_end = "end of stream" in str(error.problem) or "<stream end>" in str(error.problem)
            mark = (error.context_mark if at_end else None) or error.problem_mark or error.context_mark
            line = min(mark.line + 1 if mark else 1, self.text.count("\n") + 1)
            self.fail(line, "not valid YAML: " + ", ".join(filter(None, (error.context, error.problem))))
        except (ValueError, OverflowError):
            self.fail(self.loader.line + 1, "not valid YAML: an escape or directive holds a number out of range")
        finally:
            self.loader.dispose()

    def _whole_stream(self) -> Any:
        data: Any = None
        documents = 0
        while not isinstance(event := self.loader.get_event(), yaml.StreamEndEvent):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.fail(line, "a second document begins here, a file must hold one")
                data = self._value(self.loader.get_event(), (), None)
        return data

    def _value(self, event: Any, path: KeyPath, line: int | None) -> Any:
        own_line = event.start_mark.line + 1
        self._check(event, len(path))
        self.places[path] = Place(self.label, line or own_line, self.folder)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(event := self.loader.get_event(), yaml.SequenceEndEvent):
                items.append(self._value(event, (*path, len(items)), None))
            return items
        mapping: dict[str, Any] = {}
        while not isinstance(event := self.loader.get_event(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            key = self._key(event, path)
            if key in mapping:
                first = self.places[*path, key].line
                self.fail(line, f"key {short(key)} is given twice in one mapping (first in line {first})")
            mapping[key] = self._value(self.loader.get_event(), (*path, key), line)
        return mapping

    def _key(self, event: Any, path: KeyPath) -> str:
        self._check(event, len(path))
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            got = short(key) if isinstance(event, yaml.ScalarEvent) else "a list or mapping"
            self.fail(event.start_mark.line + 1, f"key {got} is not text; keys must be text (quote it if it is meant)")
        return key

    def _scalar(self, event: Any) -> Any:
        text = str(event.value)
        try:
            text.encode()
            return scalar(text) if event.implicit[0] else text
        except UnicodeEncodeError:
            self.fail(event.start_mark.line + 1, f"{short(text)} holds half of a surrogate pair, must be UTF-8 text")
        except InputError as error:
            self.fail(event.start_mark.line + 1, str(error))

    def _check(self, event: Any, depth: int) -> None:
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            self.fail(line, f"anchors and aliases (&{event.anchor}, *{event.anchor}) are not read; use extends")
        if getattr(event, "tag", None) is not None:
            self.fail(line, f"tags ({short(event.tag)[1:-1]}) are not read; quote text that begins with '!'")
        if depth > DEEPEST:
            self.fail(line, f"nested deeper than {DEEPEST} levels")
