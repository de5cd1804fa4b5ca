"""The pages of the generative benchmark: paths, samples and warnings, judged independently, over model seeds.

``python -m tests.plugins.generative.bench_generative RUNS... --write``, where RUNS hold what ``ndm sweep`` made of
``configs/generative/mnist.yaml`` and ``fashion.yaml``. With ``--write`` the pages go to
``results/generative/{interpolation,samples,trust}.md``, else to the terminal.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ndm_apps import report
from ndm_apps.plugins.generative import compared, samples, trust
from ndm_apps.report.results import lookup
from tests.benchmark import table

OUTPUT = Path("results/generative")
Run = dict[str, Any]
Row = dict[str, str]

#: Columns of the paths: heading, key below ``different``, format.
PATH_COLUMNS = (
    ("confidence", "confidence", ".3f"),
    ("low", "low", ".3f"),
    ("third class", "third", ".3f"),
    ("classes", "classes", ".2f"),
    ("to real, pixels", "nearest", ".2f"),
    ("to real, features", "nearest_features", ".2f"),
    ("residual", "residual", ".2f"),
    ("ratio", "ratio", ".2f"),
    ("ppl", "roughness", ".2f"),
    ("unevenness", "unevenness", ".2f"),
    ("Fréchet", "frechet", ".1f"),
)
DIFFERENCES = ("confidence", "low", "third", "nearest", "nearest_features", "residual")
SAMPLE_COLUMNS = (
    ("confidence", "confidence", ".3f"),
    ("low", "low", ".3f"),
    ("to real, pixels", "nearest", ".2f"),
    ("Fréchet", "frechet", ".1f"),
    ("classes", "classes", ".2f"),
    ("kept", "kept", ".2f"),
)
#: Fréchet distance of samples that is asked for, by task.
ASKED_FRECHET = {"mnist": 12.0, "fashion": 6.0}


def task(run: Run) -> str:
    return str(run["task"]).removeprefix("generative/")


def shown(values: Sequence[float | None], form: str) -> str:
    """Return mean and standard error over runs, the mean alone for one."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    error = f" ± {stdev(known) / len(known) ** 0.5:{form}}" if len(known) > 1 else ""
    return f"{fmean(known):{form}}{error}"


def spread(runs: Sequence[Run], key: str, form: str) -> str:
    """Return mean and standard error over runs of the value under a dotted key."""
    return shown([lookup(run, key) for run in runs], form)


def grouped(runs: Sequence[Run], key: Callable[[Run], str]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def present(runs: Sequence[Run], key: str, order: Mapping[str, str]) -> list[str]:
    """Return the names below a dotted key that some run has, in the given order."""
    found = {name for run in runs for name in (lookup(run, key) or {})}
    return [name for name in order if name in found]


def named(method: str, meaning: str) -> str:
    return meaning if method == "ndm" else f"{method}: {meaning}"


def paths(runs: Sequence[Run], kind: str) -> list[Row]:
    """Return a row for each method and path."""
    return [
        {
            "path": named(method, compared.MEANINGS[name]),
            **{title: spread(own, f"interpolation.{name}.{kind}.{key}", form) for title, key, form in PATH_COLUMNS},
            "ms a pair": spread(own, f"interpolation.{name}.milliseconds", ".1f"),
            "converged": spread(own, f"interpolation.{name}.converged", ".3f"),
        }
        for method, own in grouped(runs, lambda run: run["method"]).items()
        for name in present(own, "interpolation", compared.MEANINGS)
    ]


def differences(runs: Sequence[Run], kind: str) -> list[Row]:
    """Return what each geodesic differs by from line and great arc, pair by pair; errors over runs and over pairs."""
    rows = []
    for name in present(runs, "interpolation", compared.MEANINGS):
        for other in compared.PLAIN:
            if name in compared.PLAIN:
                continue
            row = {"path": compared.MEANINGS[name], "less": compared.MEANINGS[other]}
            for key in DIFFERENCES:
                pairs = [lookup(run, f"interpolation.{name}.{kind}.against.{other}.{key}") for run in runs]
                known = [pair for pair in pairs if pair is not None]
                within = fmean(error for _, error in known) / len(known) ** 0.5
                row[key] = f"{shown([mean for mean, _ in known], '+.3f').replace('± +', '± ')} ({within:.3f})"
            rows.append(row)
    return rows


def change(run: Run, name: str, other: str) -> float | None:
    """Return by which share of the other path's points of low confidence a path has fewer or more."""
    low, base = (lookup(run, f"interpolation.{path}.different.low") for path in (name, other))
    return None if low is None or not base else low / base - 1


def aims(name: str, runs: Sequence[Run]) -> list[Row]:
    """Return what is asked of paths beside what is measured."""
    rows: list[Row] = []

    def row(asked: str, met: Sequence[bool], measured: str) -> None:
        rows.append({"asked": asked, "measured": measured, "met": f"{sum(met)} of {len(met)} runs"})

    for path, share in (("geodesic", 0.35), ("label_free", 0.20)):
        for other in compared.PLAIN:
            found = [value for run in runs if (value := change(run, path, other)) is not None]
            if found:
                wanted = f"down >= {share:.0%}" if path == "geodesic" or name == "mnist" else "a gain, whatever it is"
                least = share if path == "geodesic" or name == "mnist" else 0.0
                percent = shown([100 * value for value in found], "+.1f").replace("± +", "± ")
                row(
                    f"{compared.MEANINGS[path]}, share of low confidence against {compared.MEANINGS[other]}: {wanted}",
                    [value <= -least for value in found],
                    f"{percent} %",
                )
    for kind, key, sign, asked in (
        ("different", "nearest", 1, "geodesic, distance to real images (pixels) below {}"),
        ("same", "confidence", -1, "geodesic, one class, confidence above {}"),
        ("different", "frechet", 1, "stretch: geodesic, Fréchet distance at or below {}"),
    ):
        for other in compared.PLAIN:
            pairs = [
                (
                    lookup(run, f"interpolation.geodesic.{kind}.{key}"),
                    lookup(run, f"interpolation.{other}.{kind}.{key}"),
                )
                for run in runs
            ]
            if known := [(new, old) for new, old in pairs if new is not None]:
                row(
                    asked.format(compared.MEANINGS[other]),
                    [sign * new <= sign * old for new, old in known],
                    f"{shown([new for new, _ in known], '.3f')} against {shown([old for _, old in known], '.3f')}",
                )
    for asked, key, form, met in (
        ("geodesic, milliseconds a pair in the batch: <= 10", "milliseconds", ".1f", lambda value: value <= 10),
        ("geodesic, converged: >= 95 %", "converged", ".3f", lambda value: value >= 0.95),
    ):
        values = [value for run in runs if (value := lookup(run, f"interpolation.geodesic.{key}")) is not None]
        if values:
            row(asked, [met(value) for value in values], shown(values, form))
    return rows


def ways(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each method and way to draw samples."""
    return [
        {
            "samples": named(method, samples.MEANINGS[name]),
            **{title: spread(own, f"samples.{name}.{key}", form) for title, key, form in SAMPLE_COLUMNS},
        }
        for method, own in grouped(runs, lambda run: run["method"]).items()
        for name in present(own, "samples", samples.MEANINGS)
    ]


def warnings(runs: Sequence[Run]) -> list[Row]:
    """Return a row for each score, with its AUROC for each kind of image and path, and each target."""
    sources = [f"{where}.{name}" for where in ("images", "paths") for name in lookup(runs[0], f"trust.{where}")]
    meanings = trust.MEANINGS | trust.OF_PATHS
    return [
        {"score": meanings[score]}
        | {
            f"{source.replace('.', ', ')}: {target}": spread(runs, f"trust.{source}.auroc.{score}.{target}", ".2f")
            for source in sources
            for target in ("low", "far")
        }
        for score in meanings
    ]


def pages(runs: Sequence[Run]) -> dict[str, str]:
    """Return the pages by name."""
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs}))
    about = f"Model seeds {seeds}; mean ± standard error over runs. "
    found = {
        "interpolation": "# Interpolation\n\n" + about + "Endpoints are codes of test images that the judge classifies "
        "right; every path is taken at points uniform in length in the judge's features; low: share of points with a "
        "probability below 0.8; ppl and unevenness: of the path's own parametrisation. The judge is trained on images "
        "that no label of the model comes from.\n",
        "samples": "# Samples\n\n" + about + "Fréchet distance in the judge's 64 features; classes: as many equally "
        "frequent ones would have the entropy of those seen; kept: the share of what was drawn.\n",
        "trust": "# Warnings\n\n"
        + about
        + "AUROC of each score, 0.5 tells nothing; low: the judge's confidence is below "
        "0.8 (paths: more than in the median path), far: among the fifth farthest from real images in its features. "
        "More of a score is said to be worse; that sign was fixed before measuring.\n",
    }
    for name, own in grouped(runs, task).items():
        ndm = [run for run in own if run["method"] == "ndm"]
        accuracy = spread(own, "judge.accuracy", ".4f")
        found["interpolation"] += (
            f"\n## {name}\n\nThe judge is right on {accuracy} of real images.\n\n{table(aims(name, ndm))}"
        )
        for kind, title in (("different", "Two classes"), ("same", "One class")):
            found["interpolation"] += f"\n{title}:\n\n{table(paths(own, kind))}"
            found["interpolation"] += (
                "\nDifference pair by pair (in brackets the standard error over pairs, model seeds pooled):\n\n"
                f"{table(differences(ndm, kind))}"
            )
        asked = (
            f"Asked of samples of the density: at most {ASKED_FRECHET[name]:g}.\n\n" if name in ASKED_FRECHET else ""
        )
        found["samples"] += f"\n## {name}\n\n{asked}{table(ways(own))}"
        found["trust"] += f"\n## {name}\n\n{table(warnings(ndm))}"
    return found


if __name__ == "__main__":
    made = pages(report.load_results([Path(name) for name in sys.argv[1:] if name != "--write"]))
    for name, text in made.items():
        if "--write" in sys.argv:
            OUTPUT.mkdir(parents=True, exist_ok=True)
            (OUTPUT / f"{name}.md").write_text(text)
            print(OUTPUT / f"{name}.md")
        else:
            print(text)
