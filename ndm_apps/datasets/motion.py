"""Measured motion as data frames: experiments of Schmidt and Lipson, the planets, hares and lynxes.

A frame has a column ``trajectory``, a column ``t`` and the measured columns; it is what ``ndm discover`` reads.

References
----------
Schmidt and Lipson, "Distilling free-form natural laws from experimental data", Science 324:81, 2009 (supplement).
Simon et al., "Numerical expressions for precession formulae and mean elements for the Moon and planets", Astronomy and
Astrophysics 282:663, 1994 (computed with ERFA's ``plan94``).
Hudson's Bay Company's pelts, as in the case study of Lotka-Volterra in stan-dev/example-models.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ndm_apps.datasets.places import search_path
from ndm_apps.errors import InputError
from ndm_apps.wording import listed

if TYPE_CHECKING:
    import pandas as pd

EXPERIMENTS, PLANETS, PELTS = (
    f"physics/{name}"
    for name in ("schmidt_lipson_invar_datasets.zip", "solar_system_1950_2050.npz", "hudson-bay-lynx-hare.csv")
)


@dataclass(frozen=True)
class Motion:
    """A table of measured motion.

    Attributes
    ----------
    frame
        Columns ``trajectory``, ``t`` and the measured ones.
    angles
        The columns that are angles, in radians.
    units
        Units of columns, ``t`` included, where they are known.
    source
        Where it came from, with what is to be said about it.
    """

    frame: pd.DataFrame
    angles: tuple[str, ...]
    units: dict[str, str]
    source: str


def _experiment(member: str, angles: tuple[str, ...], about: str) -> tuple[str, Callable[[Path], Motion]]:
    return EXPERIMENTS, lambda path: _schmidt_lipson(path, member, angles, about)


_TABLES: dict[str, tuple[str, Callable[[Path], Motion]]] = {
    "air_track_oscillator": _experiment("real_linear_h_1", (), "one mass on springs, measured"),
    "air_track_double_oscillator": _experiment("real_double_linear_h_1", (), "two masses on springs, measured"),
    "pendulum": _experiment("real_pend_h_1", ("o",), "a pendulum, measured"),
    "double_pendulum": _experiment("real_double_pend_h_1", ("o1", "o2"), "a double pendulum, measured"),
    "pendulum_circle": _experiment("real_pend_circle_1", (), "Cartesian position of a pendulum's bob, in pixels"),
    "simulated_oscillator": _experiment("linear_h_1", (), "one mass on a spring, simulated"),
    "simulated_double_oscillator": _experiment("double_linear_h_1", (), "two masses on springs, simulated"),
    "simulated_pendulum": _experiment("pendulum_h_1", ("o",), "a pendulum, simulated"),
    "simulated_double_pendulum": _experiment("double_pend_h_1", ("o1", "o2"), "a double pendulum, simulated"),
    "planets": (PLANETS, lambda path: _planets(path)),
    "hare_lynx": (PELTS, lambda path: _hare_lynx(path)),
}
NAMES = tuple(_TABLES)


def locate(name: str) -> Path | None:
    """Return the file of a table, or None if it is not here."""
    return next((folder / _TABLES[name][0] for folder in search_path() if (folder / _TABLES[name][0]).is_file()), None)


def load_motion(name: str) -> Motion:
    """Load a table of :data:`NAMES`.

    Raises
    ------
    InputError
        The name is unknown, or the file is not here or damaged.
    """
    if name not in _TABLES:
        raise InputError(f"measured motion: got {name!r}, must be one of {listed(NAMES)}")
    path = locate(name)
    if path is None:
        looked = listed([str(folder) for folder in search_path()])
        raise InputError(f"{name}: {_TABLES[name][0]} is not here (looked in {looked}; NDM_DATA sets the first)")
    try:
        return _TABLES[name][1](path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the table {name!r} ({str(error).splitlines()[0]})") from error


def _schmidt_lipson(path: Path, member: str, angles: tuple[str, ...], about: str) -> Motion:
    """Read one experiment: trial, time, the state that the first line names; further columns are not documented."""
    import pandas as pd

    with zipfile.ZipFile(path) as archive:
        first, *lines = archive.read(f"{member}.txt").decode("latin1").splitlines()
    state = first.lstrip("%").split()
    rows = np.loadtxt(lines, ndmin=2)
    if rows.shape[1] < 2 + len(state):
        raise ValueError(f"{member}: {rows.shape[1]} columns, must be {2 + len(state)} or more")
    frame = pd.DataFrame(rows[:, : 2 + len(state)], columns=["trajectory", "t", *state]).astype({"trajectory": int})
    units = {"t": "s", **dict.fromkeys(angles, "rad")}
    return Motion(frame, angles, units, f"Schmidt and Lipson 2009, {member}: {about}")


def _planets(path: Path) -> Motion:
    """Read the planets: heliocentric positions in au, velocities in au/day, days since the first time."""
    import pandas as pd

    with np.load(path, allow_pickle=False) as stored:
        days, state, names = stored["jd_tdb"], stored["state"], [str(name) for name in stored["names"]]
    if state.shape != (len(days), len(names), 6):
        raise ValueError(f"state has shape {state.shape}, must be {(len(days), len(names), 6)}")
    columns = ["x", "y", "z", "vx", "vy", "vz"]
    frame = pd.DataFrame(state.transpose(1, 0, 2).reshape(-1, 6), columns=columns)
    frame.insert(0, "t", np.tile(days - days[0], len(names)))
    frame.insert(0, "trajectory", np.repeat(names, len(days)))
    units = {"t": "d", **dict.fromkeys(columns[:3], "au"), **dict.fromkeys(columns[3:], "au/d")}
    source = "planets 1950-2050 by ERFA's plan94 (an analytic fit to an ephemeris, not observations)"
    return Motion(frame, (), units, source)


def _hare_lynx(path: Path) -> Motion:
    """Read the pelts of hares and lynxes, in thousands, year by year."""
    import pandas as pd

    frame = pd.read_csv(path, comment="#", skipinitialspace=True).rename(columns={"Year": "t"})
    frame.insert(0, "trajectory", 0)
    return Motion(frame[["trajectory", "t", "Hare", "Lynx"]], (), {"t": "yr"}, "Hudson's Bay Company 1900-1920")
