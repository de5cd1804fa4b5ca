"""Many runs: tasks x settings x methods x seeds, each in its own folder, several at a time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ndm_apps import report, shipped, tracking
from ndm_apps.config import Config, expand_overrides, load_config, with_choice
from ndm_apps.errors import InputError
from ndm_apps.files import write_text

LONGEST_LABEL = 120  # characters; file systems take 255 bytes


@dataclass(frozen=True)
class Member:
    """One run of a sweep: its folder name and its config."""

    label: str
    config: Config


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its result, or the reason why there is none; ``refused`` if that was wrong input."""

    label: str
    result: dict[str, Any] | None
    reason: str = ""
    refused: bool = False


def members(
    reference: str | Path,
    overrides: Sequence[str] = (),
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> list[Member]:
    """Return every run of a sweep, each once: a setting of one method does not multiply the runs of the others.

    Parameters
    ----------
    reference
        Config, as for :func:`~ndm_apps.config.load_config`.
    overrides
        ``a.b=v``, or ``a.b=v1,v2`` for several values. What they set is left out of the config's tasks and variants.
    methods, seeds
        By default those that the overrides set, else those of the config's ``sweep`` section.

    Raises
    ------
    InputError
        If a config is wrong.
    """
    combinations = [chosen for _, chosen in expand_overrides(overrides)]
    varies = [len({chosen[n] for chosen in combinations}) > 1 for n in range(len(overrides))]
    keys = {override.partition("=")[0].strip() for override in overrides}
    if seeds and "seed" in keys:
        raise InputError("--set seed: --seeds gives the seeds already; leave one of them out")
    found: dict[str, Member] = {}
    base = load_config(reference, combinations[0])
    for (named, own), chosen in product(_own_settings(base, keys), combinations):
        try:
            # The task first: other settings may be inside it.
            config = load_config(
                reference, sorted((*own, *chosen), key=lambda setting: setting.partition("=")[0].strip() != "task")
            )
        except InputError as error:
            raise (base.source.error(("sweep",), str(error)) if own else error) from None
        varied = [*named, *(setting for setting, does in zip(chosen, varies, strict=True) if does)]
        for method in methods or ((config.run.method,) if "method" in keys else config.sweep_methods):
            for seed in seeds or ((config.run.seed,) if "seed" in keys else config.sweep_seeds):
                label = "-".join([method, *_settings_of(method, varied), f"seed{seed}"])
                member = Member(_short(label), with_choice(config, method=method, seed=seed))
                if found.setdefault(member.label, member).config != member.config:
                    # Two values that read the same as a folder name, such as a/b and a_b.
                    distinct = f"{label} {json.dumps(member.config.resolved(), sort_keys=True)}"
                    member = Member(_short(f"{label}-{_digest(distinct)}"), member.config)
                    found.setdefault(member.label, member)
    return list(found.values())


def _own_settings(config: Config, given: Collection[str]) -> list[tuple[list[str], list[str]]]:
    """Return the settings of each of the config's tasks and variants, as a folder names them, and as overrides."""
    tasks = () if "task" in given else config.run.sweep.tasks
    variants = [
        [f"{key}={json.dumps(value)}" for key, value in variant.items() if key not in given]
        for variant in config.run.sweep.variants or ({},)
    ]
    if not tasks:
        return [(variant, variant) for variant in variants]
    found = []
    for n, task in enumerate(tasks):
        path = ("sweep", "tasks", n)
        try:
            file = shipped.find("tasks", task, config.source.place(path).folder)
        except InputError as error:
            raise config.source.error(path, str(error)) from None
        found += [([f"task={task}", *variant], [f"task={json.dumps(str(file))}", *variant]) for variant in variants]
    return found


def _settings_of(method: str, varied: Sequence[str]) -> list[str]:
    """Return the varied settings that concern a method, short and fit for a folder name."""
    kept = []
    for setting in varied:
        key, _, value = setting.partition("=")
        if key in ("method", "seed") or (key.startswith("methods.") and not key.startswith(f"methods.{method}.")):
            continue
        kept.append(re.sub(r"[^\w.=+-]+", "_", f"{key.removeprefix(f'methods.{method}.')}={value}").strip("_"))
    return kept


def _short(label: str) -> str:
    return label if len(label.encode()) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL // 4]}-{_digest(label)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


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

    Returns
    -------
    list of Outcome
        In the order of ``runs``.

    Raises
    ------
    InputError
        If the folder cannot be used, or every member was refused for the same reason.
    """
    from joblib import Parallel, delayed

    is_new = _claim(out, runs)
    parent = tracking.start_parent(out, runs[0].config.plugin.domain, on_warning=warn) if track else None
    outcomes: list[Outcome] = []
    pool = Parallel(n_jobs=min(jobs, len(runs)), return_as="generator_unordered")
    try:
        for outcome in pool(delayed(_one)(member, out, parent) for member in runs):
            outcomes.append(outcome)
            finished(outcome)
    except BaseException:
        if parent is not None:
            tracking.finish_parent(out, status="KILLED", on_warning=warn)
        raise
    order = {member.label: number for number, member in enumerate(runs)}
    outcomes.sort(key=lambda outcome: order[outcome.label])
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    if results:
        table = report.compare(results)
        table.to_csv(out / "summary.csv")
        write_text(out / "summary.md", table.to_markdown())
        report.write_sweep_page(out)
    if parent is not None:
        status = "FINISHED" if len(results) == len(outcomes) else "FAILED"
        tracking.finish_parent(out, status=status, on_warning=warn)
    if all(outcome.refused for outcome in outcomes) and len({outcome.reason for outcome in outcomes}) == 1:
        if is_new:
            _withdraw(out)
        raise InputError(outcomes[0].reason)
    return outcomes


def _claim(out: Path, runs: Sequence[Member]) -> bool:
    """Write the list of runs into a folder that is new, empty, or a sweep's; return whether it held no sweep."""
    if (out / "config.yaml").exists():
        raise InputError(f"--out: {out} is a run, not a sweep; choose another folder")
    try:
        is_new = not (out / "sweep.json").exists()
        if is_new and out.exists() and any(not path.name.startswith(".sweep.json-") for path in out.iterdir()):
            raise InputError(f"--out: {out} is not empty and holds no sweep; choose another folder")
        write_text(out / "sweep.json", json.dumps({"runs": [member.label for member in runs]}, indent=1))
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({(error.strerror or str(error)).lower()})") from error
    return is_new


def _withdraw(out: Path) -> None:
    """Remove what a sweep of wrong input wrote; its members have removed theirs."""
    for name in ("sweep.json", "tracking.json"):
        (out / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's file is in there
        out.rmdir()


def _one(member: Member, out: Path, parent: str | None) -> Outcome:
    from ndm_apps.run import execute

    warnings: list[str] = []
    try:
        result = execute(
            member.config,
            out / member.label,
            resume=True,
            track=parent is not None,
            parent=parent,
            warn=warnings.append,
        )
    except InputError as error:
        return Outcome(member.label, None, str(error), refused=True)
    except Exception as error:  # told in the list of outcomes; the other runs go on
        return Outcome(member.label, None, _reason(error))
    return Outcome(member.label, result, "; ".join(warnings))


def _reason(error: Exception) -> str:
    """Return an error in one line, with the place in the program where it came up."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at is not None else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def send(path: Path, *, warn: Callable[[str], None] = print) -> list[bool]:
    """Send to MLflow what it lacks of the runs at or below a folder, those of a sweep nested under it.

    Returns
    -------
    list of bool
        For each run, whether MLflow holds all of it. Every run is tried, also after one has failed.
    """
    held = []
    sweeps = {file.parent for file in path.rglob("sweep.json")}
    # MLflow's own copies of runs, which may lie below the same folder, have no log.
    for folder in sorted(file.parent for file in path.rglob("metrics.jsonl")):
        config = load_config(folder / "config.yaml")
        parent = None
        if folder.parent in sweeps:
            parent = tracking.start_parent(folder.parent, config.plugin.domain, on_warning=warn)
        held.append(tracking.sync(folder, parent=parent, on_warning=warn))
    for folder in sorted(sweeps):
        if (folder / "tracking.json").exists():
            tracking.finish_parent(folder, on_warning=warn)
    return held
