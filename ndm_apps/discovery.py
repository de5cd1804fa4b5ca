"""The run behind ``ndm discover``: a config made of a file and some words on its columns, and what is printed of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ndm_apps.config import Config, RunConfig
from ndm_apps.errors import InputError
from ndm_apps.overrides import apply_override, require_distinct, split_override
from ndm_apps.plugins.base import plugins
from ndm_apps.plugins.physics.schema import PhysicsTask
from ndm_apps.plugins.physics.source import Recording
from ndm_apps.validation import validate
from ndm_apps.wording import one_line, short
from ndm_apps.yaml_source import KeyPath, Place, Source

METHOD = "spectral"
#: Orbits that are printed.
MOST_ORBITS = 12


def discovery_config(
    file: Path,
    *,
    time: str | None = None,
    trajectory: str | None = None,
    state: Sequence[str] = (),
    angles: Sequence[str] = (),
    units: Sequence[str] = (),
    error: Sequence[str] = (),
    velocities: bool = False,
    seconds: float | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> Config:
    """Return the config that discovers the laws in a file; the arguments are those of the command line.

    Raises
    ------
    InputError
        An argument is wrong; its message begins with the option. The file is not looked at.
    """
    data: dict[str, Any] = {"file": str(file.absolute()), "velocities": velocities}
    data |= {key: value for key, value in (("time", time), ("trajectory", trajectory)) if value is not None}
    data["state"] = listed_names("--state", state)
    if angles:
        named = listed_names("--angle", angles)
        data["angles"] = [] if named == ["none"] else named
    data["units"] = dict(_pairs("--units", units, "q=m"))
    data["error"] = {column: _number("--error", text) for column, text in _pairs("--error", error, "q=0.01")}
    settings = {} if seconds is None else {"seconds": _number("--seconds", str(seconds))}
    name = "data/" + (re.sub(r"[^\w.-]", "_", file.stem) or "file")
    run = {"task": "", "task_name": name, "method": METHOD, "seed": seed, "methods": {METHOD: settings}}
    options: dict[KeyPath, tuple[str, int]] = {
        (): ("ndm discover", 0), ("task", "data"): ("ndm discover", 2), ("seed",): ("--seed", 1),
        ("methods", METHOD, "seconds"): ("--seconds", 3),
    }  # fmt: skip
    for key in ("time", "trajectory", "state", "units", "error"):
        options["task", "data", key] = f"--{key}", 3
    options["task", "data", "angles"] = "--angle", 3
    places = {path: Place(label, depth=depth) for path, (label, depth) in options.items()}
    source = Source({**run, "task": {"domain": "physics", "data": data}}, places)
    require_distinct(overrides)
    for override in overrides:
        if split_override(override)[0][:2] != ("methods", METHOD):
            raise InputError(f"--set {one_line(override)}: must set methods.{METHOD}.KEY, such as degree")
        source = apply_override(source, override)
    plugin = plugins()["physics"]
    recording = validate(Recording, source, ("task", "data"))
    return Config(
        run=validate(RunConfig, source),
        plugin=plugin,
        task=PhysicsTask(domain="physics", data=recording),
        task_name=name,
        settings=validate(plugin.methods[METHOD], source, ("methods", METHOD)),
        source=source,
    )


def listed_names(option: str, given: Sequence[str]) -> list[str]:
    """Return the names of an option that may be repeated and may hold several names with commas.

    >>> listed_names("--state", ["q, p", "r"])
    ['q', 'p', 'r']
    """
    found = [name.strip() for text in given for name in text.split(",")]
    if "" in found:
        raise InputError(f"{option}: got {short(','.join(given))}, must be names separated by commas")
    return found


def _pairs(option: str, given: Sequence[str], example: str) -> Iterator[tuple[str, str]]:
    for item in listed_names(option, given):
        column, sign, value = item.rpartition("=")
        if not sign or not column.strip():
            raise InputError(f"{option}: got {short(item)}, must be column=value, such as {example}")
        yield column.strip(), value.strip()


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{option}: got {short(text)}, must be a number")
    return value


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is printed of a result: what was read, the verdict, the formulas with their errors."""
    data = result.get("data") or {}
    if data:
        many = data["trajectories"]
        word = "trajectory" if many == 1 else "trajectories"
        yield f"read: {data['samples']} samples in {many} {word} of {_columns(data['columns'])}"
        yield from (f"note: {note}" for note in data["notes"])
    yield str(result.get("verdict"))
    for heading, key in (("law", "invariants"), ("approximate law", "approximate"), ("constraint", "constraints")):
        for number, law in enumerate(result.get(key) or (), start=1):
            facts = [f"{name.replace('_', ' ')} {law[name]:.3g}" for name in law if isinstance(law[name], (int, float))]
            yield f"{heading} {number}: {law['expression']}" + (f"  ({', '.join(facts)})" if facts else "")
            if deviations := law.get("coefficients_sd"):
                yield "  standard deviations: " + ", ".join(f"{t} {sd:.1e}" for t, sd in deviations.items())
            if (units := law.get("units")) and units["value"] != "1":
                yield f"  in units of {units['value']}"
            yield from (f"  note: {text}" for text in (units or {}).get("impossible") or ())
    seen = result.get("orbits") or {}
    for label, orbit in list(seen.items())[:MOST_ORBITS]:
        yield f"orbit {one_line(label)}: {_orbit(orbit)}"
    if len(seen) > MOST_ORBITS:
        yield f"({len(seen) - MOST_ORBITS} orbits more in result.json)"


def _orbit(orbit: Mapping[str, Any]) -> str:
    """Return Kepler's laws of one orbit in words."""
    parts = [
        f"GM {orbit['gm']:.7g} ± {orbit['gm_deviation']:.1g}",
        f"ellipse a {orbit['semi_major']:.6g}, e {orbit['eccentricity']:.4g}, off by {orbit['off_ellipse']:.1g} of r",
        f"equal areas to {max(abs(orbit['area']['secular']), orbit['area']['periodic']):.1g}",
    ]
    if orbit["period"] is not None:
        parts.append(f"T {orbit['period']:.6g}, 4 pi^2 a^3/T^2 {orbit['third_law']:.6g}")
    return "; ".join(parts)


def _columns(columns: Sequence[Mapping[str, Any]]) -> str:
    kinds = ["an angle" if one["kind"] == "angle" else one_line(one["unit"] or "") for one in columns]
    return ", ".join(
        f"{one['symbol']} ({kind})" if kind else one["symbol"] for one, kind in zip(columns, kinds, strict=True)
    )
