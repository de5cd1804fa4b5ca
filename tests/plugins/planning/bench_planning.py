"""The page of the planning benchmark: numbers aimed at beside numbers measured, for every task and planner.

``python -m tests.plugins.planning.bench_planning RUNS... --write``, where RUNS hold what ``make bench-planning`` ran.
With ``--write`` the page goes to ``results/planning/benchmark.md``, else to the terminal.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.benchmark import deliver, table

OUTPUT = Path("results/planning/benchmark.md")
Run = dict[str, Any]

#: For a task and model: what is asked, and of which key of a result it is asked.
AIMS: dict[tuple[str, str], tuple[str, str]] = {
    ("pendulum", "known"): ("<= 1.02 x optimum, 20/20", "ratio_to_optimum"),
    ("pendulum", "learned"): ("<= 1.05 x optimum, 20/20, 400 steps", "ratio_to_optimum"),
    ("mountain_car", "learned"): (">= 99.3, all, 2,000 steps", "mean_return"),
    ("cartpole", "learned"): ("500 of 500, 500 steps", "mean_return"),
    ("swing_up", "learned"): ("20/20 from 500 steps, no more than CEM on the known equations", "mean_return"),
    ("acrobot", "known"): (">= -62", "mean_return"),
    ("acrobot", "learned"): (">= -69 from 5,000 steps", "mean_return"),
    ("double_integrator", "learned"): ("", "ratio_to_optimum"),
    **{
        (f"maze_{size}", "learned"): ("all, <= 1.05 x fast marching", "ratio_to_optimum")
        for size in ("u", "medium", "large")
    },
    **{
        (f"pointmaze_{size}", "learned"): ("all, <= 1.25 x bang time", "ratio_to_optimum")
        for size in ("u", "medium", "large")
    },
    ("reacher", "learned"): (">= -3.55, 500 steps", "mean_return"),
    ("arm", "learned"): ("all, <= 1.05 x fast marching", "ratio_to_optimum"),
    ("zermelo_wind", "learned"): ("<= 1.005 x closed form", "ratio_to_optimum"),
    ("zermelo_shear", "learned"): ("<= 1.005 x closed form", "ratio_to_optimum"),
}
#: What a variant of the planner leaves out, by the setting that differs from the default.
ABLATIONS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "no metric": lambda planner: planner["epsilon"] > 1e-6,
    "seeds from the drift, no value": lambda planner: planner["seed"] == "drift",
    "straight lines, no value": lambda planner: planner["seed"] == "line",
    "no re-seeding": lambda planner: planner["reseed"] == 0,
    "no price on uncertainty": lambda planner: planner["uncertainty"] == 0,
}


def task(run: Run) -> str:
    return str(run["task"]).removeprefix("planning/")


def settings(run: Run) -> dict[str, Any]:
    return run["config"]["methods"][run["method"]]


def model(run: Run) -> str:
    return settings(run).get("model", "none")


def generic(run: Run) -> bool:
    """Return whether the model was learnt with no prior on its form."""
    return model(run) == "learned" and settings(run).get("learner", {}).get("structure") == "net"


def method(run: Run) -> str:
    """Return the method's name, with what it was given beside its own settings."""
    if model(run) == "none":
        return f"{run['method']}, {run['environment_steps']:,} steps"
    valued = settings(run).get("planner", {}).get("terminal") == "value"
    return run["method"] + (", our value at the end" if valued else "")


def left_out(run: Run) -> str:
    planner = settings(run).get("planner", {}) if run["method"] == "ndm" else {}
    return next((name for name, differs in ABLATIONS.items() if planner and differs(planner)), "")


def number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def spread(runs: Sequence[Run], key: str, form: str) -> str:
    """Return the mean of a key over runs, and the range over their seeds where there are several."""
    values = [run[key] for run in runs if run[key] is not None]
    if not values:
        return ""
    extent = f" ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else ""
    return f"{fmean(values):{form}}{extent}"


def row(runs: Sequence[Run]) -> dict[str, str]:
    episodes = sum(len(run["successes"]) for run in runs)
    return {
        "seeds": number(len({run["seed"] for run in runs}), "d"),
        "return": spread(runs, "mean_return", ".2f"),
        "success": f"{sum(sum(run['successes']) for run in runs)}/{episodes}",
        "x optimum": spread(runs, "ratio_to_optimum", ".3f"),
        "steps": number(max(run["environment_steps"] for run in runs), "d"),
        "ms a step, median": number(fmean(run["plan_ms_median"] for run in runs), ".2f"),
        "ms a step, mean": number(fmean(run["plan_ms_mean"] for run in runs), ".2f"),
        "of the processor": number(fmean(run["plan_cpu_ms_mean"] for run in runs), ".2f"),
        "seconds": number(fmean(run["seconds"] for run in runs), ".0f"),
    }


def grouped(runs: Sequence[Run], key: Callable[[Run], tuple[str, ...]]) -> dict[tuple[str, ...], list[Run]]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def aims(runs: Sequence[Run]) -> list[dict[str, str]]:
    whole = grouped(
        [run for run in runs if run["method"] == "ndm" and not left_out(run) and not generic(run)],
        lambda run: (task(run), model(run)),
    )
    rows = []
    for (name, source), (wanted, key) in AIMS.items():
        own = whole.get((name, source), [])
        measured = row(own) if own else {}
        form = ".3f" if key == "ratio_to_optimum" else ".2f"
        rows.append(
            {"task": name, "model": source, "asked": wanted, "measured": spread(own, key, form) if own else "not run"}
        )
        rows[-1] |= {column: text for column, text in measured.items() if column not in ("return", "x optimum")}
    return rows


def methods(runs: Sequence[Run]) -> list[dict[str, str]]:
    own = [run for run in runs if not left_out(run) and not generic(run)]
    groups = grouped(own, lambda run: (task(run), model(run), method(run)))
    compared = {key[:2] for key in groups if key[2] != "ndm"}
    order = sorted((key for key in groups if key[:2] in compared), key=lambda key: (key[:2], key[2] != "ndm", key[2]))
    return [{"task": key[0], "model": key[1], "method": key[2], **row(groups[key])} for key in order]


def generics(runs: Sequence[Run]) -> list[dict[str, str]]:
    groups = grouped(
        [run for run in runs if generic(run)], lambda run: (task(run), f"{settings(run)['learner']['random']:.0%}")
    )
    return [{"task": name, "random steps": share, **row(own)} for (name, share), own in sorted(groups.items())]


def ablations(runs: Sequence[Run]) -> list[dict[str, str]]:
    groups = grouped(
        [run for run in runs if run["method"] == "ndm" and not generic(run)],
        lambda run: (task(run), model(run), left_out(run)),
    )
    ablated = {key[:2] for key in groups if key[2]}
    return [
        {"task": name, "model": source, "left out": part or "nothing", **row(own)}
        for (name, source, part), own in sorted(groups.items())
        if (name, source) in ablated
    ]


def distinct(runs: Sequence[Run]) -> list[Run]:
    """Return each run once: configs overlap in those that they compare with."""
    return list({json.dumps([task(run), run["method"], run["seed"], settings(run)]): run for run in runs}.values())


def page(runs: Sequence[Run]) -> str:
    runs = distinct(runs)
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    text = f"# Planning\n\n{len(runs)} runs; model seeds {seeds}; means over runs, their range in brackets.\n\n"
    text += table(aims(runs))
    if compared := methods(runs):
        text += f"\nPlanners in the same episodes on the same model:\n\n{table(compared)}"
    if plain := generics(runs):
        text += f"\nNetworks for the model, with no prior on its form but linear controls:\n\n{table(plain)}"
    if parts := ablations(runs):
        text += f"\nOne part left out at a time:\n\n{table(parts)}"
    return text


if __name__ == "__main__":
    deliver(page, OUTPUT, sys.argv[1:])
