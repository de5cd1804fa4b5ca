"""Writes what a newcomer starts from: a plugin of their own, as an installable project, or a task with its config.

What is written passes the tests that every plugin has to pass (:mod:`ndm_apps.testing`) and ``ndm check``.
"""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import plugins
from ndm_apps.wording import listed, short, unknown

__all__ = ["new_plugin", "new_task"]

_TEMPLATES = Path(__file__).parent
_LONGEST_NAME = 40


def new_plugin(name: str, folder: Path) -> list[Path]:
    """Write a plugin of that name as a project in ``folder/name``, and return its files.

    Raises
    ------
    InputError
        If the name cannot be that of a Python package, is taken, or the folder is there already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or len(name) > _LONGEST_NAME:
        raise InputError(f"NAME: got {short(name)}, must be such as my_plugin, at most {_LONGEST_NAME} letters")
    if name in plugins() or name == "tests" or find_spec(name) is not None:
        raise InputError(f"NAME: got {short(name)}, must not be the name of a plugin or module that is here already")
    project = folder / name
    if project.exists():
        raise InputError(f"NAME: {project} is there already; choose another name or --out")
    root = _TEMPLATES / "plugin"
    files = {}
    for template in sorted(path for path in root.rglob("*.in")):
        place = Path(*(name if part == "NAME" else part for part in template.relative_to(root).parts))
        files[project / place.with_suffix("")] = _filled(template, name)
    return _written(files)


def new_task(name: str, folder: Path) -> list[Path]:
    """Write ``folder/tasks/NAME.yaml`` and ``folder/configs/NAME.yaml`` for a name such as ``physics/mine``.

    Raises
    ------
    InputError
        If the name is not DOMAIN/NAME, there is no such domain, or one of the files is there already.
    """
    domain, _, own = name.partition("/")
    if not re.fullmatch(r"[\w.-]+/\w[\w.-]*", name) or len(own) > _LONGEST_NAME:
        raise InputError(f"DOMAIN/NAME: got {short(name)}, must be such as physics/mine, of letters, digits and _ . -")
    domains = sorted(path.stem for path in (_TEMPLATES / "task").iterdir())
    if domain not in domains:
        if domain in plugins():
            raise InputError(
                f"DOMAIN/NAME: no template for {domain} (there are: {listed(domains)}); copy one of its tasks"
            )
        raise InputError(f"DOMAIN/NAME: {unknown('domain', domain, domains)}")
    files = {
        folder / kind / domain / f"{own}.yaml": _filled(_TEMPLATES / "task" / domain / f"{kind}.yaml.in", own)
        for kind in ("tasks", "configs")
    }
    for file in files:
        if file.exists():
            raise InputError(f"DOMAIN/NAME: {file} is there already; choose another name or --out")
    return _written(files)


def _filled(template: Path, name: str) -> str:
    title = name.replace("_", " ").title().replace(" ", "")
    return Template(template.read_text(encoding="utf-8")).substitute(name=name, title=title)


def _written(files: dict[Path, str]) -> list[Path]:
    try:
        return [write_text(path, text) for path, text in files.items()]
    except OSError as error:
        raise InputError(
            f"--out: {error.filename or next(iter(files))} cannot be written ({error.strerror})"
        ) from error
