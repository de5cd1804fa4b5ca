"""Names, texts and lines as MLflow takes them."""

from __future__ import annotations

import json
from typing import Any

BATCH = 1000  # MLflow's limit of metrics a call
PARAMS = 100  # MLflow's limit of parameters and of tags a call
PARAM_LENGTH, TAG_LENGTH, DIGEST_LENGTH, KEY_LENGTH = 6000, 8000, 36, 250  # MLflow's limits of text


def as_text(value: Any) -> str:
    """Return a string as it is and anything else as JSON.

    Examples
    --------
    >>> as_text("ndm"), as_text([64, 64]), as_text(None)
    ('ndm', '[64, 64]', 'null')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def metric_name(name: str) -> str:
    """Return a name MLflow accepts: letters, digits and ``_-. :/``; no empty, ``.`` or ``..`` part of a path.

    Examples
    --------
    >>> metric_name("L²/(a,b)"), metric_name("../x"), metric_name("")
    ('L_/_a_b_', '_../x', '_')
    """
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_-. :/") else "_" for c in str(name))[:KEY_LENGTH]
    return "/".join(part if part.strip(".") else f"_{part}" for part in clean.split("/") if part) or "_"


def read_point(line: bytes) -> tuple[str, float, int, int] | None:
    """Read one line of a log of metrics as name, value, milliseconds and step; None if a crash left it damaged."""
    try:
        read = json.loads(line)
        value = float("nan") if read["value"] is None else float(read["value"])
        return metric_name(read["name"]), value, int(1000 * read["time"]), int(read["step"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
