"""What both pages share: templates, files read for them, figures within a budget of bytes, links to files."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Column
from ndm_apps.report.results import MISSING
from ndm_apps.report.svg import inline_svg
from ndm_apps.report.tables import format_number

WIDE = 450.0  # points, above which two figures do not fit beside each other
BUDGET = 1_300_000  # bytes of a page's figures: with the rest it stays below two megabytes
LONGEST_TEXT = 100_000  # characters of a file that is shown as it is
FILES = {
    "config.yaml": "everything that defines the run",
    "result.json": "all results",
    "sweep.json": "what was swept",
    "inspect.json": "the geometry that was learnt",
    "laws.tex": "the laws in LaTeX",
    "metrics.jsonl": "metrics, one point a line",
    "system.jsonl": "what the machine did, one point a line",
    "dataset.json": "the data",
    "summary.csv": "the table, all digits",
    "summary.md": "the table in Markdown",
    "differences.csv": "paired differences, all digits",
    "figures": "figures as SVG",
    "checkpoint": "state to resume from",
}


@dataclass(frozen=True)
class Picture:
    """A figure ready to be put into a page, the file that it is, and whether it needs the page's whole width."""

    body: Markup
    caption: str
    file: str
    is_wide: bool = False
    is_themed: bool = False


def environment() -> Environment:
    """Return the templates of the pages."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["address"] = lambda name: "./" + quote(str(name))
    return made


def existing(path: Path | str) -> Path:
    """Return the path of a folder; raises InputError if there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: expected the folder of a run or a sweep")
    return folder


def read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return a mapping from a file, an empty one if there is no such file."""
    if not path.exists():
        return {}
    try:
        found = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a mapping, got {type(found).__name__}")
    return found


def is_number(value: Any) -> bool:
    """Whether a value is a number or a flag."""
    return isinstance(value, (bool, int, float))


def show(value: Any, column: Column) -> str:
    """Return a value as its column asks."""
    if is_number(value):
        return format_number(float(value), column.format)
    return MISSING if value is None or isinstance(value, (list, dict)) else str(value)


def plain(value: Any) -> str:
    """Return any JSON value as text, numbers with six significant digits.

    Examples
    --------
    >>> plain([0.1 + 0.2, None, True]), plain({"cos(q)": -1.0, "p": {"sd": 0.5}})
    ('[0.3, –, true]', 'cos(q): -1, p: {sd: 0.5}')
    """
    return _text(value).removeprefix("{").removesuffix("}") if isinstance(value, Mapping) else _text(value)


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case None:
            return MISSING
        case Mapping():
            return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return f"[{', '.join(map(_text, value))}]"
    return str(value)


def pictures(folder: Path) -> list[Picture]:
    """Return the figures and films of a run; those beyond the page's budget are linked."""
    captions = read(folder / "figures" / "captions.json", json.loads)
    left, found = BUDGET, []
    files = [*sorted((folder / "figures").glob("*.svg")), *sorted((folder / "figures").glob("*.gif"))]
    for number, path in enumerate(files):
        caption = str(captions.get(path.stem) or path.stem.replace("_", " "))
        made = _film(path, caption) if path.suffix == ".gif" else _drawing(path, caption, f"g{number}-")
        if len(made.body) > left:
            link = Markup('<p class="left-out">Too large for this page: <a href="./figures/{}">{}</a></p>')
            made = Picture(link.format(quote(path.name), path.name), caption, made.file)
        left -= len(made.body)
        found.append(made)
    return found


def _drawing(path: Path, caption: str, prefix: str) -> Picture:
    file = f"figures/{path.name}"
    try:
        svg, width, is_themed = inline_svg(path.read_text(encoding="utf-8"), prefix, caption)
    except ValueError as error:
        return Picture(Markup("<p>{}</p>").format(f"{path.name} is not shown: {error}"), caption, file)
    return Picture(Markup(svg), caption, file, width > WIDE, is_themed)


def _film(path: Path, caption: str) -> Picture:
    """Return a film, and its first frame alone for readers who have asked for less motion."""
    from PIL import Image

    still = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.convert("RGB").save(still, "png", optimize=True)
            width = image.width
    except OSError:
        body = Markup("<p>{}</p>").format(f"{path.name} is not shown: no film can be read from it")
        return Picture(body, caption, f"figures/{path.name}")
    body = Markup(
        '<picture><source media="(prefers-reduced-motion: reduce)" srcset="data:image/png;base64,{}">'
        '<img alt="{}" width="{}" src="data:image/gif;base64,{}"></picture>'
    ).format(b64encode(still.getvalue()).decode(), caption, width, b64encode(path.read_bytes()).decode())
    return Picture(body, caption, f"figures/{path.name}")


def files(folder: Path) -> list[tuple[str, str]]:
    """Return the files of a folder that a reader may want, with what they hold."""
    return [(name, text) for name, text in FILES.items() if (folder / name).exists()]


def link(folder: Path, target: Path) -> str:
    """Return the address of a file relative to a page, or an empty text if there is no such file."""
    return "./" + quote(target.relative_to(folder).as_posix()) if target.exists() else ""


def excerpt(values: Mapping[str, Any]) -> str:
    """Return values as JSON, cut where it is too long to be read on a page."""
    text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
    size = len(escape(text))  # a page writes five characters for each &
    if size <= LONGEST_TEXT:
        return text
    return f"{text[: len(text) * LONGEST_TEXT // size]}\n… the rest is in result.json"
