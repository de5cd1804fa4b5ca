"""The page of the second opinion: laws that a chart sees beside a small dictionary, and formulas of those beyond it.

``python -m tests.plugins.physics.bench_second_opinion RUNS --write``, where RUNS holds what
``ndm sweep physics/second_opinion`` and ``ndm sweep physics/beyond`` made with ``--out`` (one or both). With
``--write`` the page goes to ``results/physics/second_opinion.md``, else to the terminal.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmark import deliver, table

OUTPUT = Path("results/physics/second_opinion.md")
Run = dict[str, Any]
BEYOND = (
    "Laws that no dictionary has as they stand; without noise the search for quotients may come so near to one that "
    "nothing is left to add. Times are of runs beside others, some of them starved."
)


def opinion(run: Run) -> dict[str, Any]:
    return run["evidence"]["second_opinion"]


def is_beyond(run: Run) -> bool:
    """Whether symbolic regression was asked, too."""
    return bool(run["config"]["methods"]["spectral"]["symbolic"])


def is_whole(run: Run) -> bool:
    """Whether all laws are written down, and no other."""
    return run["score"]["spanned"] == 1.0 and not run["score"]["spurious"]


def each(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of each system, seed by seed."""
    names = dict.fromkeys(run["task"] for run in runs)
    return [sorted((run for run in runs if run["task"] == name), key=lambda run: run["seed"]) for name in names]


def beside(runs: Sequence[Run], key: str) -> str:
    return " ".join(str(opinion(run)[key]) for run in runs)


def seen(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return a row for each system: the laws there are, those written down, and those that the chart sees."""
    return [
        {
            "system": own[0]["task"].removeprefix("physics/"),
            "laws": str(own[0]["n_conserved_true"]),
            "written": beside(own, "dictionary"),
            "chart sees": beside(own, "chart"),
            "distance, separation of the last tried": "; ".join(
                f"{one['distance']:.2g}, {one['separation']:.2g}" for run in own for one in opinion(run)["tried"][-1:]
            ),
            "seconds": f"{median(run['seconds'] for run in own):.0f}",
        }
        for own in each(runs)
    ]


def written(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return a row for each run: what symbolic regression added to the dictionary, and the laws found with it."""
    rows = []
    for run in (run for own in each(runs) for run in own):
        rows.append({
            "system": run["task"].removeprefix("physics/beyond/"),
            "seed": str(run["seed"]),
            "chart sees": f"{opinion(run)['chart']} of {run['n_conserved_true']}",
            "added": ", ".join(f"`{one}`" for one in opinion(run)["symbolic"] or ()) or "none",
            "laws": ", ".join(f"`{one['expression']}`" for one in run["invariants"]) or "none",
            "all laws, no other": "yes" if is_whole(run) else "no",
            "seconds": f"{run['seconds']:.0f}",
        })  # fmt: skip
    return rows


def aims(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return how often the chart sees what is missing, and how often it sees what is not there."""
    lacking = [run for run in runs if opinion(run)["dictionary"] < run["n_conserved_true"]]
    more = [run for run in lacking if opinion(run)["chart"] > opinion(run)["dictionary"]]
    too_many = [run for run in runs if opinion(run)["chart"] > run["n_conserved_true"]]
    every = [run for run in lacking if opinion(run)["chart"] == run["n_conserved_true"]]
    beyond = [run for run in runs if is_beyond(run)]
    needed = [run for run in beyond if run in lacking]
    rows = {
        "runs with laws missing in which the chart sees one more": f"{len(more)} of {len(lacking)}",
        "... every one": f"{len(every)} of {len(lacking)}",
        "runs in which it sees more than there are": f"{len(too_many)} of {len(runs)}",
    }
    if beyond:
        found = sum(is_whole(run) for run in needed)
        rows["runs in which dictionaries lack laws, and symbolic regression wrote all, no other"] = (
            f"{found} of {len(needed)}"
        )
        false = sum(bool(run["score"]["spurious"]) for run in beyond)
        rows["runs with symbolic regression and a law that is none"] = f"{false} of {len(beyond)}"
        rows["... worst time"] = f"{max(run['seconds'] for run in beyond):.0f} s"
    return [{"number": name, "measured": value} for name, value in rows.items()]


def page(runs: Sequence[Run]) -> str:
    kept, beyond = ([run for run in runs if is_beyond(run) is which] for which in (False, True))
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    parts = [f"# Second opinion\n\n{len(runs)} runs; seeds {seeds}. No noise.\n\n{table(aims(runs))}"]
    if kept:
        text = "With polynomials up to degree 2 only, seed by seed (it misses some laws, so one that is not seen proves"
        parts.append(f"## A small dictionary\n\n{text} nothing):\n\n{table(seen(kept))}")
    if beyond:
        parts.append(f"## With symbolic regression\n\n{BEYOND}\n\n{table(written(beyond))}")
    return "\n".join(parts)


if __name__ == "__main__":
    deliver(page, OUTPUT, sys.argv[1:])
