"""Many runs: methods x settings x seeds, each in its own folder, several at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndm_apps import report, tracking
from ndm_apps.config import Config, expand_overrides, load_config, with_choice
from ndm_apps.errors import InputError
from ndm_apps.files import write_text


@dataclass(frozen=True)
class Member:
    """One run of a sweep: its folder name and its config."""

    label: str
    config: Config


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its result, or the reason why there is none."""

    label: str
    result: dict[str, Any] | None
    reason: str = ""


def members(
    reference: str | Path,
    overrides: Sequence[str] = (),
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Member]:
    """Return every run of a sweep.

    Parameters
    ----------
    reference
        Config, as for :func:`~ndm_apps.config.load_config`.
    overrides
        ``a.b=v``, or ``a.b=v1,v2`` for several values.
    methods, seeds
        By default those of the config's ``sweep`` section.
    """
    found = []
    for varied, chosen in expand_overrides(overrides):
        config = load_config(reference, chosen)
        fixed = any(override.startswith("method=") for override in chosen)
        for method in methods or ((config.run.method,) if fixed else config.sweep_methods):
            for seed in seeds if seeds is not None else config.sweep_seeds:
                label = "-".join([method, *([varied] if varied else []), f"seed{seed}"])
                found.append(Member(label, with_choice(config, method=method, seed=seed)))
    labels = [member.label for member in found]
    return [Member(m.label.replace("/", "_"), m.config) for m in dict(zip(labels, found, strict=True)).values()]


def sweep(
    runs: Sequence[Member],
    out: Path,
    *,
    jobs: int = 1,
    track: bool = True,
    warn: Callable[[str], None] = print,
    finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run every member in ``out/<label>`` and write the table and page of the whole.

    A member that is complete on disk is not run again, one that was cut off resumes, and one that fails does not stop
    the others. One thread each, so results do not depend on ``jobs``.

    Parameters
    ----------
    runs
        The members, see :func:`members`.
    out
        Folder of the sweep.
    jobs
        Runs at a time.
    track
        Send the runs to MLflow, nested under one parent.
    warn, finished
        Called with a warning, and with each outcome as it comes.
    """
    from joblib import Parallel, delayed

    if (out / "config.yaml").exists():
        raise InputError(f"--out: {out} is a run, not a sweep; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    plugin = runs[0].config.plugin
    write_text(out / "sweep.json", json.dumps({"runs": [member.label for member in runs]}, indent=1))
    parent = tracking.start_parent(out, plugin.domain, on_warning=warn) if track else None
    outcomes: list[Outcome] = []
    pool = Parallel(n_jobs=min(jobs, len(runs)), return_as="generator_unordered")
    for outcome in pool(delayed(_one)(member, out, track and parent is not None, parent) for member in runs):
        outcomes.append(outcome)
        finished(outcome)
    order = {member.label: number for number, member in enumerate(runs)}
    outcomes.sort(key=lambda outcome: order[outcome.label])
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    if results:
        table = report.compare(results)
        table.to_csv(out / "summary.csv")
        write_text(out / "summary.md", table.to_markdown())
    report.write_sweep_page(out)
    if parent is not None:
        failed = any(outcome.result is None for outcome in outcomes)
        tracking.finish_parent(out, status="FAILED" if failed else "FINISHED", on_warning=warn)
    return outcomes


def _one(member: Member, out: Path, track: bool, parent: str | None) -> Outcome:
    from ndm_apps.run import execute

    warnings: list[str] = []
    try:
        result = execute(
            member.config, out / member.label, resume=True, track=track, parent=parent, warn=warnings.append
        )
    except Exception as error:  # told in the list of outcomes; the other runs go on
        return Outcome(member.label, None, f"{type(error).__name__}: {error}")
    return Outcome(member.label, result, "; ".join(warnings))
