"""Validates what was read against a schema, and says what is wrong in plain words with file, line and key."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from ndm_apps.errors import FieldError, InputError
from ndm_apps.wording import did_you_mean, either, short, unknown
from ndm_apps.yaml_source import KeyPath, Source, dotted

SchemaType = TypeVar("SchemaType", bound=BaseModel)

# What each kind of pydantic error asks for; braces are filled from the error's context.
_REQUIRED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "decimal_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "null",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "{ge} or greater",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "text of {min_length} characters or more",
    "string_too_long": "text of {max_length} characters or fewer",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "too_short": "of {min_length} items or more",
    "too_long": "of {max_length} items at most",
}
_WRONG_TYPE = {kind for kind in _REQUIRED if kind.endswith("_type")} | {"none_required"}


@final
@final
@dataclass(frozen=True)
class _Flaw:
    """One error of pydantic: the path of the value in the data, and the union alternatives it was found in."""

    path: KeyPath
    kind: str
    value: Any
    context: Mapping[str, Any]
    message: str
    alternatives: tuple[tuple[KeyPath, str], ...]


def validate(schema: type[SchemaType], source: Source, prefix: tuple[str, ...] = ()) -> SchemaType:
    """Validate the value at ``prefix`` of a source.

    The value is handed over as JSON: in pydantic's strict mode that is what lets a list stand for a tuple and text
    for a path, and still refuses the text ``"1"`` where a number is due.

    Parameters
    ----------
    schema
        A pydantic model. Its validators may raise ValueError, shown after the key of the field or model, or
        :class:`FieldError` to point at a value inside. Validators of mode
        ``"before"`` hand a Python list on, which a strict tuple refuses: declare the tuple with
        ``Field(strict=False)`` or use mode ``"after"``.
    source
        What was read.
    prefix
        Path of the value.

    Raises
    ------
    InputError
        With the first error and the count of the others, as ``FILE:LINE: KEY: got X, must be ...``.
    """
    data = source.get(prefix)
    try:
        return schema.model_validate_json(
            json.dumps(data, allow_nan=False), context={"folder": source.place(prefix).folder}
        )
    except ValidationError as error:
        flaws = [_flaw(e, data) for e in error.errors(include_url=False)]
    except InputError as error:
        raise source.error(prefix, str(error)) from None
    for flaw in flaws:
        if flaw.kind == "tuple_type" and isinstance(flaw.value, list):
            raise TypeError(
                f"{schema.__name__}: a validator of mode 'before' hands a list to the tuple {dotted(flaw.path)!r}; "
                "declare it with Field(strict=False) or use a validator of mode 'after'"
            )
    flaws = _of_likely_alternatives(schema, data, flaws)
    # A misspelt key is also a missing one: the misspelling is the cause, so it is told first.
    flaws.sort(key=lambda flaw: flaw.kind != "extra_forbidden")
    others = len({(flaw.path, flaw.kind == "extra_forbidden") for flaw in flaws}) - 1
    key, message = _sentence(schema, data, flaws)
    more = f" (+{others} more)" if others else ""
    at = flaws[0].path if len(flaws[0].path) > len(key) else key
    raise source.error((*prefix, *key), message + more, at=(*prefix, *at))


def _flaw(error: Any, data: Any) -> _Flaw:
    """Tell keys of the data from the names of union alternatives, which pydantic puts between them."""
    path: KeyPath = ()
    alternatives: list[tuple[KeyPath, str]] = []
    value = data
    located = error["loc"]
    for n, part in enumerate(located):
        is_last = n == len(located) - 1
        if (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)
        ):
            value = value[part]
            path = (*path, part)
        elif is_last and error["type"] == "missing":
            path = (*path, part)
        elif part != "[key]":
            alternatives.append((path, str(part)))
    context = error.get("ctx", {})
    got = error.get("input")
    if isinstance(cause := context.get("error"), FieldError):
        for part in cause.path:
            path = (*path, part)
            got = got[part] if isinstance(got, dict) and part in got else None
    return _Flaw(path, error["type"], got, context, error["msg"], tuple(alternatives))


def _of_likely_alternatives(schema: type[BaseModel], data: Any, flaws: list[_Flaw]) -> list[_Flaw]:
    """Keep, of each union, the errors of the alternative that the data comes nearest to."""
    for level in range(max(len(flaw.alternatives) for flaw in flaws)):
        unions: dict[KeyPath, dict[str, list[_Flaw]]] = {}
        for flaw in flaws:
            if len(flaw.alternatives) > level:
                where, name = flaw.alternatives[level]
                unions.setdefault(where, {}).setdefault(name, []).append(flaw)
        for where, branches in unions.items():
            costs = {name: sum(_cost(flaw, where) for flaw in found) for name, found in branches.items()}
            if all(_is_wrong_type(found[0], where) for found in branches.values()):
                continue  # nothing fits: the sentence names all alternatives
            best = min(costs, key=lambda name: costs[name])
            flaws = [
                flaw
                for flaw in flaws
                if flaw.alternatives[level : level + 1] in ((), ((where, best),))
                or flaw.alternatives[level][0] != where
            ]
    return flaws


def _is_wrong_type(flaw: _Flaw, union: KeyPath) -> bool:
    return flaw.path == union and (flaw.kind in _WRONG_TYPE or flaw.kind == "literal_error")


def _cost(flaw: _Flaw, union: KeyPath) -> int:
    if _is_wrong_type(flaw, union):
        return 100
    return {"extra_forbidden": 3, "missing": 2}.get(flaw.kind, 1)


def _sentence(schema: type[BaseModel], data: Any, flaws: list[_Flaw]) -> tuple[KeyPath, str]:
    """Return the key to name, and what is wrong there, for the first of the errors."""
    flaw = flaws[0]
    got = f"got {short(flaw.value)}"
    if flaw.kind == "extra_forbidden":
        parent = flaw.path[:-1]
        return parent, unknown("key", str(flaw.path[-1]), sorted(_allowed_keys(schema, data, parent)))
    if flaw.kind == "missing":
        # A tuple of fixed length reports its missing items by their index.
        is_item = isinstance(flaw.path[-1], int)
        return (flaw.path[:-1], f"{got}, must hold more items") if is_item else (flaw.path, "missing, must be given")
    if flaw.kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(flaw)
    if flaw.kind in ("value_error", "assertion_error"):
        message = str(flaw.context.get("error") or flaw.message)
        says_value = flaw.value is None or isinstance(flaw.value, (dict, list)) or "got " in message
        return flaw.path, message if says_value else f"{got}: {message}"
    same_place = [other for other in flaws if other.path == flaw.path and other.kind in _REQUIRED]
    required = list(dict.fromkeys(_REQUIRED[other.kind].format_map(other.context) for other in same_place))
    if not required:
        return flaw.path, f"{got}: {flaw.message[:1].lower()}{flaw.message[1:]}"
    choices = str(flaw.context.get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ")
    near = did_you_mean(flaw.value, choices) if isinstance(flaw.value, str) else ""
    return flaw.path, f"{got}, must be {either(required)}{near}"


def _wrong_tag(flaw: _Flaw) -> tuple[KeyPath, str]:
    key = str(flaw.context.get("discriminator", "")).strip("'")
    if flaw.kind == "union_tag_not_found":
        return (*flaw.path, key), "missing, must be given"
    tag, expected = str(flaw.context["tag"]), str(flaw.context["expected_tags"])
    near = did_you_mean(tag, expected.replace("'", "").split(", "))
    return (*flaw.path, key), f"got {short(tag)}, must be one of {expected}{near}"


def _allowed_keys(schema: type[BaseModel], data: Any, path: KeyPath) -> set[str]:
    """Return the keys that the schema knows in the mapping at ``path``."""
    candidates: list[Any] = [schema]
    value = data
    for part in path:
        candidates = [inner for annotation in candidates for inner in _inside(annotation, part, value)]
        value = value[part]
    models = [m for annotation in candidates for m in _alternatives(annotation) if _is_model(m)]
    fitting = [m for m in models if _fits(m, value)] or models
    return {field.alias or name for m in fitting for name, field in m.model_fields.items()}


def _inside(annotation: Any, part: str | int, value: Any) -> Iterator[Any]:
    models = [m for m in _alternatives(annotation) if _is_model(m)]
    fitting = [m for m in models if _fits(m, value)] or models
    for m in fitting:
        for name, field in m.model_fields.items():
            if part == (field.alias or name):
                yield field.annotation
    for other in _alternatives(annotation):
        if not _is_model(other):
            arguments = [a for a in get_args(other) if a is not Ellipsis]
            if isinstance(part, int) and get_origin(other) is tuple and Ellipsis not in get_args(other):
                arguments = arguments[part : part + 1]
            yield from arguments[-1:]


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fits(model: type[BaseModel], value: Any) -> bool:
    """Whether every literal field (the tag of a union's alternative) has a value the model allows."""
    return isinstance(value, dict) and all(
        value[name] in get_args(field.annotation)
        for name, field in model.model_fields.items()
        if name in value and get_origin(field.annotation) is Literal
    )
