"""A self-contained page of what was found in a data frame."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.physics.formula import as_measured

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #999;padding:.2rem .6rem;"
    "text-align:left}img{max-width:100%}figcaption{color:#444}"
)


def write_page(path: Path, result: Mapping[str, Any], title: str, shown: Sequence[Picture]) -> Path:
    """Write the verdict, the laws with the errors of their coefficients, what was read, and figures.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    data = result["data"]
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">', f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body>", f"<h1>{escape(title)}</h1>", f"<p>{escape(result['verdict'])}</p>",
    ]  # fmt: skip
    for heading, key in (
        ("Conserved", "invariants"),
        ("Approximately conserved", "approximate"),
        ("The same on all data", "constraints"),
    ):
        if result.get(key):
            parts += [f"<h2>{heading}</h2>", *map(_law, result[key])]
    parts += [f"<figure>{_image(one)}<figcaption>{escape(one.caption)}</figcaption></figure>" for one in shown]
    rows = [[one[key] for key in ("symbol", "header", "unit", "kind", "error")] for one in data["columns"]]
    parts += [
        "<h2>Data</h2>",
        f"<p>{data['samples']} samples in {data['trajectories']} trajectories.</p>",
        _table(["symbol", "column", "unit", "kind", "given error"], rows),
        *(f"<p>{escape(note)}</p>" for note in (*data["notes"], *result["notes"])),
        "</body></html>\n",
    ]
    try:
        return write_text(path, "\n".join(parts))
    except OSError as error:
        raise InputError(f"path: {path} cannot be written ({(error.strerror or str(error)).lower()})") from error


def _law(law: Mapping[str, Any]) -> str:
    facts = [f"{key.replace('_', ' ')} {law[key]:.3g}" for key in law if isinstance(law[key], (int, float))]
    text = f"<p><code>{escape(law['expression'])}</code> {escape('; '.join(facts))}</p>"
    deviations = law.get("coefficients_sd") or {}
    units = (law.get("units") or {}).get("coefficients") or {}
    measured = law.get("coefficients") or {}
    rows = [
        [term, as_measured(measured.get(term), sd), f"{sd:.2g}", units.get(term)] for term, sd in deviations.items()
    ]
    heads = ["term", "coefficient as measured", "its standard deviation", "its unit"]
    return text + (_table(heads, rows) if rows else "")


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(tag: str, cells: Sequence[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape('' if c is None else str(c))}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + line("th", heads) + "".join(line("td", row) for row in rows) + "</table>"


def _image(one: Picture) -> str:
    buffer = io.BytesIO()
    one.figure.savefig(buffer, format="svg")
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(one.caption)}" src="data:image/svg+xml;base64,{code}">'
