"""What goes wrong with MLflow, told in one sentence."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

Warn = Callable[[str], None]


def reason(error: Exception) -> str:
    """Return what went wrong in one line, without the user name and password of a server.

    Examples
    --------
    >>> reason(ConnectionError("no answer from http://me:secret@host:5000"))
    'ConnectionError: no answer from http://host:5000'
    """
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: " + re.sub(r"//[^/@\s]*@", "//", line)[:200]


def explain(folder: Path, error: Exception) -> str:
    """Return the sentence that tells why a delivery failed, and that nothing is lost."""
    return (
        f"MLflow has not got everything of {folder.name!r} ({reason(error)}); "
        "nothing is lost: the files are there and can be sent later (ndm report --log)"
    )


def tell(on_warning: Warn | None, message: str) -> None:
    """Hand a sentence to ``on_warning``, by default to `warnings.warn`; whatever that raises ends here."""
    try:
        if on_warning is None:
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        else:
            on_warning(message)
    except Exception:
        # A warning turned into an error (python -W error) must not end the run that it warns about.
        sys.stderr.write(f"warning: {message}\n")
