"""The page of the paper's claims: tables of finished sweeps, and under each what the numbers bear out.

``python -m tests.plugins.supervised.bench_claims RUNS --write``, where RUNS holds the sweeps that ``make bench-claims``
makes, one folder a claim. With ``--write`` the page goes to ``results/claims/claims.md``, else to the terminal.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndm_apps import report
from ndm_apps.plugins.base import Column
from ndm_apps.plugins.supervised.claims import change_sentence, paired_difference, ratio_sentence
from ndm_apps.plugins.supervised.plugin import PLUGIN
from ndm_apps.report.results import label_of, varying_settings
from ndm_apps.report.tables import summary

OUTPUT = Path("results/claims/claims.md")
POINTS = {"unit": " points", "scale": 100}
COLUMNS = {column.key: column for column in PLUGIN.columns}
#: How a sentence calls the quantity of a column, and shows it.
QUANTITIES: dict[str, tuple[str, dict[str, Any]]] = {
    "final_accuracy": ("test accuracy", POINTS),
    "gap": ("the gap between training and test accuracy", POINTS),
    "noise_accuracy": ("accuracy under noise", POINTS),
    "fgsm_accuracy": ("accuracy under FGSM", POINTS),
    "pgd_accuracy": ("accuracy under PGD", POINTS),
    "corruption_accuracy": ("accuracy under common corruptions", POINTS),
    "ece": ("the calibration error", {}),
    "nll": ("the test negative log-likelihood", {}),
}
METHODS = {
    "ndm": "L_geo (curvature and volume)",
    "ndm_compatible": "L_geo with chart compatibility",
    "ndm_natural": "the natural gradient",
}
Runs = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Claim:
    """One section of the page: the folder of its runs, its title, what is asked, columns, and the sentences."""

    folder: str
    title: str
    question: str
    columns: tuple[str, ...]
    sentences: Callable[[Runs], list[str]]


def values(runs: Runs, key: str, **wanted: str) -> dict[int, float]:
    """Return a value by seed, of the runs whose labels are as wanted (``__`` in a name stands for a dot)."""
    chosen = [run for run in runs if all(label_of(run, k.replace("__", ".")) == v for k, v in wanted.items())]
    return {run["seed"]: run[key] for run in chosen if run[key] is not None}


def change(runs: Runs, what: str, key: str, new: dict[str, str], old: dict[str, str]) -> str:
    """Return the sentence on one column, new against old."""
    name, form = QUANTITIES[key]
    pair = [values(runs, key, **one) for one in (new, old)]
    if not comparable(*pair):
        return f"{what}: fewer than two seeds to compare {name} by."
    return change_sentence(what, name, paired_difference(*pair), better=COLUMNS[key].better, **form)


def ratio(runs: Runs, what: str, key: str, name: str, new: dict[str, str], old: dict[str, str]) -> str:
    """Return the sentence on the ratio of a positive quantity, new to old."""
    pair = [values(runs, key, **one) for one in (new, old)]
    if not comparable(*pair):
        return f"{what}: fewer than two seeds to compare {name} by."
    return ratio_sentence(what, name, *pair)


def comparable(new: dict[int, float], old: dict[int, float]) -> bool:
    """Whether two seeds or more have both values: some runs may not have met a target."""
    return len(new.keys() & old.keys()) > 1


def settings_of(runs: Runs, key: str) -> list[str]:
    """Return the values of a setting, in the order of their numbers where they are numbers."""
    found = {label_of(run, key) for run in runs}
    return sorted(
        found, key=lambda text: (float(text) if text.replace(".", "").replace("e-", "").isdigit() else 1e9, text)
    )


def of_generalisation(runs: Runs) -> list[str]:
    """Compare L_geo and the natural gradient with neither, and the NDM with each perceptron, task by task."""
    lines = []
    for task in dict.fromkeys(run["task"] for run in runs):
        here = [run for run in runs if run["task"] == task]
        present = dict.fromkeys(run["method"] for run in here)
        lines.append(f"**{task}**")
        for method in (name for name in METHODS if name in present):
            lines += [
                change(here, METHODS[method], key, {"method": method}, {"method": "ndm_plain"}) for key in QUANTITIES
            ]
        for rival in (method for method in present if method.startswith("mlp")):
            for method in ("ndm", "ndm_natural"):
                text = f"{method} in place of {rival}"
                lines.append(change(here, text, "final_accuracy", {"method": method}, {"method": rival}))
    return lines


def of_natural_gradient(runs: Runs) -> list[str]:
    """Compare steps and seconds to the target loss, for each weight of the learned metrics in the natural gradient."""
    key = "methods__ndm_natural__learned"
    lines = []
    adam = {"method": "ndm"}
    natural = [run for run in runs if run["method"] == "ndm_natural"]
    for learned in settings_of(natural, key.replace("__", ".")):
        new = {"method": "ndm_natural", key: learned}
        what = f"the natural gradient (learned metrics weighted {learned})"
        budgets = [values(runs, "steps_to_loss", **one) for one in (new, adam)]
        for name, found, whole in zip((what, "Adam"), budgets, (new, adam), strict=True):
            seeds = len(values(runs, "steps", **whole))
            if len(found) < seeds:
                lines.append(f"with {name}, {len(found)} of {seeds} runs reach the loss.")
        for quantity in ("steps", "seconds"):
            lines.append(ratio(runs, what, f"{quantity}_to_loss", f"{quantity} to the loss", new, adam))
        lines.append(change(runs, what, "final_accuracy", new, adam))
    return lines


def of_lambda(runs: Runs) -> list[str]:
    """Compare every weight of the geometric loss with none."""
    lines = []
    for method in dict.fromkeys(run["method"] for run in runs):
        key = f"methods__{method}__geometric"
        own = [run for run in runs if run["method"] == method]
        for weight in settings_of(own, key.replace("__", "."))[1:]:
            what = f"{METHODS[method]} at λ = {weight}"
            new, old = {"method": method, key: weight}, {"method": method, key: "0.0"}
            lines += [change(runs, what, name, new, old) for name in ("final_accuracy", "gap", "ece")]
            lines.append(ratio(runs, what, "squared_curvature", "mean R²", new, old))
    return lines


def of_approximations(runs: Runs) -> list[str]:
    """Compare fewer points with all, structure by structure, and each structure with the full Cholesky factor."""
    structure, points = "methods__ndm__structure", "methods__ndm__points"
    lines = []
    names = list(dict.fromkeys(label_of(run, structure.replace("__", ".")) for run in runs))
    exact = "–"
    for name in names:
        for few in settings_of(runs, points.replace("__", ".")):
            if few != exact:
                new, old = {structure: name, points: few}, {structure: name, points: exact}
                lines += _cost(runs, f"{name}: {few} points in place of all", new, old)
    for name in names:
        if name != "cholesky":
            new, old = {structure: name, points: exact}, {structure: "cholesky", points: exact}
            lines += _cost(runs, f"{name} in place of cholesky", new, old)
    return lines


def _cost(runs: Runs, what: str, new: dict[str, str], old: dict[str, str]) -> list[str]:
    return [
        change(runs, what, "final_accuracy", new, old),
        ratio(runs, what, "train_seconds", "training seconds", new, old),
    ]


CLAIMS = (
    Claim(
        "generalisation",
        "Generalisation, robustness, calibration",
        "Does the geometric loss help where data are few, against the same network without it and against perceptrons "
        "of as many parameters?",
        ("train_accuracy", "final_accuracy", "gap", "noise_accuracy", "fgsm_accuracy", "pgd_accuracy",
         "corruption_accuracy", "ece", "nll", "brier", "squared_curvature"),
        of_generalisation,
    ),
    Claim(
        "natural_gradient",
        "Natural gradient",
        "Does it need fewer steps, and less time, to the same training loss?",
        ("steps_to_loss", "seconds_to_loss", "train_seconds", "final_loss", "final_accuracy"),
        of_natural_gradient,
    ),
    Claim(
        "lambda",
        "The weight of the geometric loss",
        "What does accuracy pay for flatness?",
        ("final_accuracy", "gap", "ece", "squared_curvature", "train_seconds"),
        of_lambda,
    ),
    Claim(
        "approximations",
        "What each approximation costs",
        "Structures of the metric, and the geometric loss on some points of each batch only.",
        ("final_accuracy", "squared_curvature", "train_seconds"),
        of_approximations,
    ),
)  # fmt: skip
EXTRA = {
    "train_accuracy": Column("train_accuracy", "training accuracy", ".4f"),
    "final_loss": Column("final_loss", "final loss", ".2g", "lower"),
}


def section(claim: Claim, folder: Path) -> str:
    """Return the section of a claim from its runs."""
    runs = report.load_results([folder])
    by = ("task", "method", *(key for key in varying_settings(runs)))
    table = summary(runs, [EXTRA.get(key) or COLUMNS[key] for key in claim.columns], by)
    lines = [line if line.startswith("**") else f"- {line[0].upper()}{line[1:]}" for line in claim.sentences(runs)]
    return f"## {claim.title}\n\n{claim.question}\n\n{table.to_markdown()}\n" + "\n".join(lines) + "\n"


def page(runs: Path) -> str:
    """Return the whole page."""
    parts = [section(claim, runs / claim.folder) for claim in CLAIMS if (runs / claim.folder).is_dir()]
    judged = sum(part.count("chance would explain") + part.count("seeds could show") for part in parts)
    head = (
        "# The paper's claims, tested\n\n"
        "Mean ± standard deviation over seeds; settings were chosen on other seeds and held-out training data "
        "(`configs/claims`). A sentence compares runs of the same seed, so of the same training samples: mean ± "
        "standard deviation of the differences; it speaks of an effect where the 95% interval of the mean difference "
        "(Student's t) excludes no change. "
        f"There are {judged} comparisons on this page: about {judged * 0.05:.0f} would look like effects by chance "
        "alone if there were none.\n"
    )
    return "\n".join([head, *parts])


if __name__ == "__main__":
    text = page(Path(sys.argv[1]))
    if "--write" in sys.argv:
        OUTPUT.parent.mkdir(parents=True, exist_ok=True)
        OUTPUT.write_text(text)
        print(OUTPUT)
    else:
        print(text)
