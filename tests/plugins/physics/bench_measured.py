"""The page of measured motion: what decays and how fast, and Kepler's laws planet by planet.

``python -m tests.plugins.physics.bench_measured RUNS --write``, where RUNS holds what ``ndm run physics/measured`` made
with ``--out``; the files of NDM_DATA are read again for what is told of their first halves and of positions alone. With
``--write`` the page goes to ``results/physics/measured.md``, else to the terminal.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ndm_apps.datasets.motion import load_motion
from ndm_apps.plugins.physics.api import discover
from ndm_apps.plugins.physics.kepler import Orbit, orbits
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.velocities import with_velocities
from tests.benchmark import deliver, table

OUTPUT = Path("results/physics/measured.md")
#: The sun's, in au^3/day^2: the square of the Gaussian constant (1.32712440018e20 m^3/s^2).
GM = 0.01720209895**2
#: Sun over planet (IAU 1976 and later, as used by plan94).
MASSES = {"Mercury": 6023600, "Venus": 408523.5, "EMB": 328900.5, "Mars": 3098710, "Jupiter": 1047.355,
          "Saturn": 3498.5, "Uranus": 22869, "Neptune": 19314}  # fmt: skip
POSITION, VELOCITY = ("x", "y", "z"), ("vx", "vy", "vz")
Run = dict[str, Any]


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the first half of the samples of each trajectory."""
    place = frame.groupby("trajectory").cumcount()
    return frame[place < frame.groupby("trajectory")["t"].transform("size") / 2]


def decay(entry: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return a law and its half-life."""
    if entry is None:
        return "none", ""
    return f"`{entry['expression']}`", f"{entry['half_life']:.1f} ± {entry['half_life_sd']:.1g} s"


def decaying(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each experiment: the law that decays, in all samples and in the first half of them."""
    rows = []
    for run in runs:
        name = run["config"]["task"]["data"]["table"]
        if name == "planets":
            continue
        entry = next(iter(run["approximate"] or ()), None)
        motion = load_motion(name)
        half = discover(halves(motion.frame), angles=motion.angles, units=motion.units)
        law, life = decay(entry)
        early, early_life = decay(next(iter(half.result["approximate"] or ()), None))
        rows.append({
            "measured": name, "called conserved": str(run["n_conserved"]), "approximate law": law, "half-life": life,
            "left within segments": f"{entry['variation']:.1%}" if entry else "", "from the first half": early,
            "half-life there": early_life,
        })  # fmt: skip
    return rows


def shared(run: Run) -> list[dict[str, Any]]:
    """Return a row for each law that the planets have in common but for perturbations."""
    return [
        {
            "law": f"`{law['expression']}`",
            "drift (along over between planets)": f"{law['drift']:.1e}",
            "largest trend in the century": f"{max(abs(one['secular']) for one in law['departures'].values()):.1e}",
            "largest variation about it": f"{max(one['periodic'] for one in law['departures'].values()):.1e}",
        }
        for law in run["approximate"]
    ]


def positions_alone() -> dict[str, Orbit]:
    """Return orbits with velocities from positions, by local fits planet by planet."""
    frame = load_motion("planets").frame
    found = {}
    for name, part in frame.groupby("trajectory", sort=False):
        own = Trajectories(
            POSITION, frozenset(), part["t"].to_numpy(), part[list(POSITION)].to_numpy(), np.zeros(1, int)
        )
        moving = with_velocities(own, np.zeros(3), VELOCITY).data
        orbit = orbits(moving, (0, 1, 2), (3, 4, 5))[0]
        if orbit is not None:
            found[str(name)] = orbit
    return found


def _excess(value: float) -> str:
    return f"{100 * (value / GM - 1):+.4f} %"


def planets(run: Run, alone: Mapping[str, Orbit]) -> list[dict[str, Any]]:
    """Return GM planet by planet, beside the sun's and what masses of planets add to it."""
    inside = 0.0
    rows = []
    for name, orbit in run["orbits"].items():
        own = 1 / MASSES[name]
        inside += own
        rows.append({
            "planet": name,
            "GM, au^3/d^2": f"{orbit['gm']:.8e} ± {orbit['gm_deviation']:.0e}",
            "less the sun's": _excess(orbit["gm"]),
            "own mass": f"{100 * own:+.4f} %",
            "4 pi^2 a^3/T^2 less the sun's": _excess(orbit["third_law"]),
            "GM of positions alone": _excess(alone[name].gm),
            "masses up to the planet": f"{100 * inside:+.4f} %",
        })  # fmt: skip
    return rows


def kepler(run: Run) -> list[dict[str, Any]]:
    """Return Kepler's laws planet by planet, with what the others do to them."""
    return [
        {
            "planet": name,
            "turns": f"{orbit['turns']:.2f}",
            "a, au": f"{orbit['semi_major']:.5f}",
            "e": f"{orbit['eccentricity']:.5f}",
            "off the ellipse": f"{orbit['off_ellipse']:.0e}",
            "T, days": f"{orbit['period']:.2f}",
            "areas: trend": f"{orbit['area']['secular']:+.0e}",
            "areas: variation": f"{orbit['area']['periodic']:.0e}",
            "energy: trend": f"{orbit['energy']['secular']:+.0e}",
            "energy: variation": f"{orbit['energy']['periodic']:.0e}",
            "apsides": f"{3600 * np.rad2deg(orbit['apsides']):+.0f}″",
        }
        for name, orbit in run["orbits"].items()
    ]


def page(runs: Sequence[Run]) -> str:
    sun = next(run for run in runs if run["config"]["task"]["data"]["table"] == "planets")
    rows = planets(sun, positions_alone())
    worst = max(rows, key=lambda row: abs(float(row["less the sun's"].rstrip(" %"))))
    ratios = [orbit["third_law"] for orbit in sun["orbits"].values()]
    return f"""# Measured motion

`NDM_DATA=FOLDER ndm run physics/measured --out RUNS`, then
`python -m tests.plugins.physics.bench_measured RUNS --write`.

## Schmidt and Lipson 2009

{table(decaying(runs))}
Errors are statistical (jackknife over segments). The search was made on these files, so none is held out; in the last
two columns it sees the first half of each trajectory only.

## Planets 1950-2050

The table is ERFA's plan94, an analytic fit to an ephemeris; its velocities are those of the ellipse that touches the
orbit, with GM(1 + planet's mass) put in by its authors. Exactly conserved: {sun["n_conserved"]}. Conserved but for a
perturbation, found in all planets together (no split: eight trajectories, each left out in turn):

{table(shared(sun))}
Trend and variation are in units of the largest term on each planet. Planet by planet, from the Runge-Lenz vector
(largest difference from the sun's: {worst["planet"]}, {worst["less the sun's"]}):

{table(rows)}
The sun's GM is {GM:.9e} au^3/day^2. A planet's orbit about the sun has GM of both; positions alone (velocities from
local fits) have, for the outer planets, about that of everything inside the orbit.

First law (an ellipse with the sun in a focus), second law (equal areas), energy, and how far the ellipse turned in the
century (meaningless where it is nearly a circle: Venus, Neptune):

{table(kepler(sun))}
Third law: 4 pi^2 a^3/T^2 is {np.mean(ratios):.5e} ± {np.std(ratios):.0e} (standard deviation between planets),
{_excess(float(np.mean(ratios)))} from the sun's GM.
"""


if __name__ == "__main__":
    deliver(page, OUTPUT, sys.argv[1:])
