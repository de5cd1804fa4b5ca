"""Finds the tasks and configs that ship with the package, and files that the user names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from ndm_apps.errors import InputError
from ndm_apps.wording import did_you_mean, listed, one_line, short

Kind = Literal["tasks", "configs"]
SUFFIXES = (".yaml", ".yml")


def shipped(kind: Kind) -> Path:
    """Return the folder of the shipped tasks or configs: inside the installed package, else in the checkout."""
    package = Path(__file__).parent
    packaged = package / f"_{kind}"
    return packaged if packaged.is_dir() else package.parent / kind


def names(kind: Kind) -> list[str]:
    """Return the names of all shipped tasks or configs, such as ``continual/digits``, sorted."""
    root = shipped(kind)
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def name_of(kind: Kind, path: Path) -> str:
    """Return the name of a task or config file: its shipped name, else the file's name without the suffix."""
    absolute, root = path.resolve(), shipped(kind).resolve()
    return absolute.relative_to(root).with_suffix("").as_posix() if absolute.is_relative_to(root) else absolute.stem


def find(kind: Kind, reference: str | Path, folder: Path | None = None) -> Path:
    """Return the file that a reference means.

    Parameters
    ----------
    kind
        ``"tasks"`` or ``"configs"``.
    reference
        A shipped name such as ``continual/digits``, or a path; ``configs/continual/digits.yaml`` means the shipped
        file wherever the working folder is.
    folder
        Where a relative path is looked for first; the working folder comes next.

    Raises
    ------
    InputError
        There is no such file. The message carries no place: the caller knows who referred to it.
    """
    text = str(reference)
    known = names(kind)
    name = text.removeprefix(f"{kind}/").removesuffix(".yaml")
    named = shipped(kind) / f"{name}.yaml"
    is_path = text.endswith(SUFFIXES) or isinstance(reference, Path) or text.startswith((".", os.sep))
    if not is_path and name in known:
        return named
    spellings = (text,) if is_path else (f"{text}.yaml", text)
    candidates = [base / spelling for base in (folder or Path(), Path()) for spelling in spellings]
    for candidate in candidates:
        if os.path.exists(candidate) and not os.path.isdir(candidate):
            return candidate
    if name in known:
        return named
    if any(os.path.isdir(candidate) for candidate in candidates):
        raise InputError(f"{short(text)} is a folder, must be a YAML file")
    near = _near(kind, text, name, folder or Path())
    raise InputError(f"no such {kind[:-1]}: {short(text)}{near} (shipped: {listed(known)}; or the path of a YAML file)")


def _near(kind: Kind, text: str, name: str, folder: Path) -> str:
    parent = (folder / text).parent
    try:
        files = [entry.name for entry in os.scandir(parent) if entry.name.endswith(SUFFIXES)]
    except (OSError, ValueError):
        files = []
    beside = {file: one_line(os.path.join(os.path.dirname(text), file)) for file in sorted(files)}
    return did_you_mean(text, list(beside.values())) or did_you_mean(name, names(kind))
