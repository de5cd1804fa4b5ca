"""The laws as a LaTeX document: formulas broken at their terms, everything else escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ndm_apps.plugins.physics.formula import as_measured
from ndm_apps.wording import one_line

#: A formula is broken into lines of about so many characters of LaTeX.
LONGEST_LINE = 90
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
# Greek letters that LaTeX has no command for look like Latin ones.
_LATIN = {"omicron": "o", "Alpha": "A", "Beta": "B", "Epsilon": "E", "Zeta": "Z", "Eta": "H", "Iota": "I", "Kappa": "K",
          "Mu": "M", "Nu": "N", "Omicron": "O", "Rho": "P", "Tau": "T", "Chi": "X"}  # fmt: skip


def escaped(text: str) -> str:
    r"""Return text that LaTeX prints as it is; what is not ASCII by its letter without accents, or by its code.

    Examples
    --------
    >>> print(escaped("a_1 = 50% & \\input{x}"), escaped("é θ"))
    a\_1 = 50\% \& \textbackslash{}input\{x\} e $\theta$
    """
    return "".join(_SPECIAL.get(c) or (c if c.isascii() else _foreign(c, "$")) for c in one_line(text))


def _foreign(character: str, dollar: str = "") -> str:
    """Return a character that is not ASCII in ASCII LaTeX; ``dollar`` is put around what needs math mode."""
    if character == "±":
        return rf"{dollar}\pm{dollar or ' '}"
    match = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)(?: WITH .*)?", unicodedata.name(character, ""))
    if match:
        name = match[2].lower() if match[1] == "SMALL" else match[2].capitalize()
        name = {"lamda": "lambda", "Lamda": "Lambda", "final": "varsigma"}.get(name, name)
        return f"{dollar}{_LATIN.get(name) or chr(92) + name + ('' if dollar else ' ')}{dollar}"
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return plain if plain.isalnum() else f"U{ord(character):X}"


def lines_of(formula: str) -> list[str]:
    r"""Break a formula at its terms.

    Examples
    --------
    >>> lines_of(" + ".join([r"\left(a + b\right)^{2}"] * 6))[1]
    '+ \\left(a + b\\right)^{2} + \\left(a + b\\right)^{2}'
    """
    lines, depth, line = [], 0, ""
    for piece in re.split(r"( [+-] |[{}()\[\]])", formula):
        depth += (piece in ("{", "(", "[")) - (piece in ("}", ")", "]"))
        if piece in (" + ", " - ") and depth == 0 and len(line) > LONGEST_LINE:
            lines.append(line)
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line]


def document(values: Mapping[str, Any], title: str) -> str:
    """Return a LaTeX document of a result: the verdict, each law with the errors of its coefficients, the columns.

    Parameters
    ----------
    values
        What ``result.json`` holds of the domain.
    title
        What was measured.
    """
    parts = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage{amsmath,longtable}",
        r"\begin{document}",
        rf"\section*{{Conserved quantities: {escaped(title)}}}",
        escaped(str(values.get("verdict") or "")),
    ]
    for heading, key, letter in (
        ("Conserved", "invariants", "I"),
        ("Approximately conserved", "approximate", "A"),
        ("The same on all data", "constraints", "C"),
    ):
        laws = [law for law in values.get(key) or () if isinstance(law, Mapping)]
        if laws:
            parts.append(rf"\subsection*{{{heading}}}")
            parts += [_law(law, f"{letter}_{{{n}}}") for n, law in enumerate(laws, start=1)]
    columns = (values.get("data") or {}).get("columns") or ()
    if columns:
        parts += [r"\subsection*{Columns}", _table(("symbol", "column", "unit"), [
            (str(one["symbol"]), str(one["header"]), str(one["unit"] or "")) for one in columns
        ])]  # fmt: skip
    return "\n".join([*parts, r"\end{document}", ""])


def _law(law: Mapping[str, Any], name: str) -> str:
    formula = "".join(c if c.isascii() else _foreign(c) for c in str(law.get("latex") or ""))
    if not formula:  # a column that never changes has a name only
        formula = rf"\text{{{escaped(str(law.get('expression')))}}}"
    first, *rest = lines_of(formula)
    equation = [r"\begin{align*}", rf"{name} &= {first}", *(rf"\\ &\quad {line}" for line in rest), r"\end{align*}"]
    facts = [
        f"{key.replace('_', ' ')} {law[key]:.3g}"
        for key in ("drift", "value", "half_life", "decay_rate")
        if isinstance(law.get(key), (int, float))
    ]
    units = law.get("units") or {}
    if units.get("value", "1") != "1":
        facts.append(f"in units of {units['value']}")
    text = [*equation, escaped(f"({'; '.join(facts)})")] if facts else equation
    deviations = law.get("coefficients_sd") or {}
    if deviations:
        coefficients = units.get("coefficients") or {}
        measured = law.get("coefficients") or {}
        rows = [
            (term, as_measured(measured.get(term), sd) or "", f"{sd:.2g}", coefficients.get(term) or "")
            for term, sd in deviations.items()
        ]
        text.append(_table(("term", "coefficient as measured", "its standard deviation", "unit"), rows))
    return "\n".join(text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    used = [n for n in range(len(heads)) if any(row[n] for row in rows)]
    body = [" & ".join(escaped(cells[n]) for n in used) + r" \\" for cells in (heads, *rows)]
    body.insert(1, r"\hline")
    return "\n".join([rf"\begin{{longtable}}{{{'l' * len(used)}}}", *body, r"\end{longtable}"])
