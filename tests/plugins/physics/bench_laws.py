"""The page of the union benchmark: numbers aimed at beside numbers measured, and each system's count.

``python -m tests.plugins.physics.bench_laws RUNS --write``, where RUNS holds what ``ndm run physics/benchmark`` made
with ``--out`` (other folders may lie beside it). With ``--write`` the page goes to ``results/physics/benchmark.md``,
else to the terminal.
"""

import sys
from collections.abc import Callable, Sequence
from functools import cache
from math import fsum
from pathlib import Path
from statistics import median
from typing import Any

import sympy

from ndm_apps.plugins.physics.score import textbook
from ndm_apps.tasks import load_task
from tests.benchmark import deliver, table
from tests.plugins.physics.test_tasks import COUNTS

OUTPUT = Path("results/physics/benchmark.md")
UNION = tuple(COUNTS)[:22]
#: By columns, then in the order of the table.
SMALLEST = tuple(sorted(UNION, key=lambda name: COUNTS[name][0])[:12])
CONTROLS = ("damped_oscillator", "lorenz", "roessler", "driven_oscillator", "random_walk")
FULL, COARSE, FEW = (200, 60), (60, 60), (50, 10)
Run = dict[str, Any]


def system(run: Run) -> str:
    return str(run["task"]).removeprefix("physics/")


def variant(run: Run) -> tuple[float, tuple[int, int]]:
    """Return the noise, and the points and number of trajectories, of a run."""
    task = run["config"]["task"]
    return task["noise"], (task["system"]["time"]["points"], task["system"]["trajectories"])


def named(noise: float, size: tuple[int, int]) -> str:
    return f"{100 * noise:g} %" + {FULL: "", COARSE: ", coarse", FEW: ", few"}.get(size, f", {size[1]} x {size[0]}")


def chosen(
    runs: Sequence[Run], noises: Sequence[float], size: tuple[int, int] = FULL, among: Sequence[str] = UNION
) -> list[Run]:
    return [run for run in runs if system(run) in among and variant(run) in [(noise, size) for noise in noises]]


def right(runs: Sequence[Run]) -> str:
    """Return, for each seed, how many of the systems have the right count."""
    seeds = sorted({run["seed"] for run in runs})
    parts = [[run for run in runs if run["seed"] == seed] for seed in seeds]
    return "; ".join(f"{sum(run['correct'] for run in part)} of {len(part)}" for part in parts) or "not run"


def share(runs: Sequence[Run], key: str) -> str:
    """Return the share of the true laws that a key of the scores counts, over all runs."""
    laws = [(run["score"][key], run["n_conserved_true"]) for run in runs if run["n_conserved_true"]]
    many = sum(count for _, count in laws)
    return f"{100 * fsum(part * count for part, count in laws) / many:.1f} % of {many}" if many else "not run"


def false(run: Run) -> bool:
    """Whether a law was told that is no function of the true ones (counted right all the same, if the count is)."""
    return bool(run["score"] and run["score"]["spurious"])


def coefficients(runs: Sequence[Run], key: str, among: str = "compared") -> str:
    scores = [run["score"]["coefficients"] for run in runs]
    compared = sum(one[among] for one in scores)
    return f"{100 * sum(one[key] for one in scores) / compared:.1f} % of {compared}" if compared else "not run"


@cache
def is_polynomial(name: str) -> bool:
    """Whether all laws of a system are polynomials in its columns."""
    _, task = load_task(f"physics/{name}")
    symbols = [sympy.Symbol(column) for column in task.system.state]
    return all(law.is_polynomial(*symbols) for law in textbook(task.truth, task.system))


def drift(runs: Sequence[Run], polynomial: bool) -> str:
    found = [run["worst_drift"] for run in runs if is_polynomial(system(run)) is polynomial and run["worst_drift"]]
    return f"{max(found):.1e}" if found else "not run"


def worst(runs: Sequence[Run], value: Callable[[Run], float], unit: str) -> str:
    return f"{max(map(value, runs)):.1f} {unit}" if runs else "not run"


def aims(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return what is aimed at beside what was measured, a row for each number."""
    exact, slight = (chosen(runs, [noise]) for noise in (0.0, 0.01))
    controls = [run for run in runs if system(run) in CONTROLS]
    union = [run for run in runs if system(run) in UNION]
    times = [run["seconds"] for run in union]
    rows = {
        "counts, no noise": ("22 of 22", right(exact)),
        "counts, 1 %": ("21 of 22", right(slight)),
        "counts, 5 %": ("19 of 22", right(chosen(runs, [0.05]))),
        "counts, coarse, no noise": ("20 of 22", right(chosen(runs, [0.0], COARSE))),
        "counts, coarse, 1 %": ("18 of 22", right(chosen(runs, [0.01], COARSE))),
        "counts, few, 1 %, the 12 smallest": ("12 of 12", right(chosen(runs, [0.01], FEW, SMALLEST))),
        "runs of controls with a law": ("0", f"{sum(run['n_conserved'] > 0 for run in controls)} of {len(controls)}"),
        "runs of these 22 systems with a law that is none": ("", f"{sum(map(false, union))} of {len(union)}"),
        "laws spanned, 0 and 1 %": ("95 %", share([*exact, *slight], "spanned")),
        "equal to a textbook law, 0 and 1 %": ("80 %", share([*exact, *slight], "textbook")),
        "equal to a polynomial in textbook laws, 0 and 1 %": ("", share([*exact, *slight], "combinations")),
        "worst drift, no noise, polynomial laws": ("1e-8", drift(exact, True)),
        "worst drift, no noise, others": ("1e-5", drift(exact, False)),
        "coefficients within 1 %, 1 %": ("", coefficients(slight, "within_1_percent")),
        "coefficients within 2 sd, 1 %": ("90 %", coefficients(slight, "within_2_sd")),
        "... before they were rounded": ("90 %", coefficients(slight, "measured_within_2_sd", "measured")),
        "median time": ("3 s", f"{median(times):.1f} s" if times else "not run"),
        "worst time": ("60 s", worst(union, lambda run: run["seconds"], "s")),
        "worst memory": ("2048 MB", worst(union, lambda run: run["peak_memory_mb"], "MB")),
    }
    return [{"number": name, "aim": wanted, "measured": got} for name, (wanted, got) in rows.items()]


def counts(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Return a row for each system: the true count, and those found in each variant, seed by seed."""
    variants = sorted({variant(run) for run in runs}, key=lambda one: (one[1] != FULL, one[1] == FEW, one[0]))
    rows = []
    for name in COUNTS:
        own = sorted((run for run in runs if system(run) == name), key=lambda run: run["seed"])
        if own:
            row = {"system": name, "columns": str(COUNTS[name][0]), "true": str(COUNTS[name][1])}
            for one in variants:
                row[named(*one)] = " ".join(
                    str(run["n_conserved"]) + "†" * false(run) for run in own if variant(run) == one
                )
            rows.append(row)
    return rows


def page(runs: Sequence[Run]) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    return (
        f"# Conserved quantities: the union benchmark\n\n{len(runs)} runs; seeds {seeds}, one after the other where a "
        f"cell holds several numbers.\n\n{table(aims(runs))}\nLaws found († one of them is no function of the true "
        f"ones):\n\n{table(counts(runs))}"
    )


if __name__ == "__main__":
    deliver(page, OUTPUT, sys.argv[1:])
