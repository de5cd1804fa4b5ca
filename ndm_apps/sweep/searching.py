"""A search for good settings, by Optuna over the space that a config declares, judged on held-out data alone."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ndm_apps.config import Config, dump_yaml, load_config, parse_seeds, with_choice
from ndm_apps.errors import InputError
from ndm_apps.files import write_text
from ndm_apps.interruption import Interruption
from ndm_apps.plugins.base import Column
from ndm_apps.report import lookup
from ndm_apps.search_space import Range, Search
from ndm_apps.sweep.drive import Progress, Sitting, open_pool
from ndm_apps.sweep.folder import SweepFolder
from ndm_apps.sweep.members import Member, add_member
from ndm_apps.sweep.worker import Outcome
from ndm_apps.wording import one_line, unknown

BEST, TRIALS = "best.yaml", "trials.csv"
FIXED = ("evaluate", "seed", "search")  # what the search section decides


@dataclass(frozen=True)
class Plan:
    """A search that can be done: a method, its space, and what judges.

    Attributes
    ----------
    config
        The config that is varied, evaluated on held-out data.
    search
        Its ``search`` section.
    space
        The part of the space that concerns its method.
    column
        The column of the metric.
    seeds
        Of the runs of each trial.
    reference, overrides
        Where the config came from.
    """

    config: Config
    search: Search
    space: Mapping[str, Range | tuple[Any, ...]]
    column: Column
    seeds: tuple[int, ...]
    reference: str | Path
    overrides: tuple[str, ...]

    def configured(self, settings: Mapping[str, Any], *further: str) -> Config:
        """Return the config with some settings of the space."""
        return load_config(self.reference, [*self.overrides, *further, *_assigned(settings)])


@dataclass(frozen=True)
class Trial:
    """One choice of settings, its runs, and the metric of each run; without scores it has failed."""

    settings: Mapping[str, Any]
    runs: tuple[Member, ...]
    scores: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """Mean of the scores, or nan."""
        return statistics.fmean(self.scores) if self.scores else math.nan


@dataclass(frozen=True)
class Found:
    """What a search has found: the best trial, all of them, the column they are judged by, and the config file."""

    best: Trial
    trials: tuple[Trial, ...]
    column: Column
    config: Path


def search(
    plan: Plan,
    out: Path,
    *,
    jobs: int | None = 1,
    ray: str | None = None,
    track: bool = True,
    command: Sequence[str] = (),
    warn: Callable[[str], None] = print,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Found:
    """Try settings and write the best as ``out/best.yaml``, a config that ``ndm run`` takes.

    Settings are chosen by a tree-structured Parzen estimator [1]_ from the results of all batches before, and rounded
    to four digits. Nothing else enters: a search that was cut off finds its runs on disk and goes on as if it had not
    been, and its result does not depend on ``jobs``.

    Parameters
    ----------
    plan
        From :func:`plan_search`.
    out
        Folder of the search: a sweep with ``trials.csv`` and ``best.yaml``.
    jobs, ray, track, command, warn, progress
        As in :func:`~ndm_apps.sweep.sweep`.

    Raises
    ------
    InputError
        If Optuna is not installed, the plugin refuses to hold data out, or no trial has come through.

    References
    ----------
    .. [1] Bergstra, Bardenet, Bengio, Kegl, "Algorithms for Hyper-Parameter Optimization", NeurIPS (2011).
    """
    optuna = _optuna()
    plugin, count = plan.config.plugin, plan.search.trials
    trials: list[Trial] = []
    members: dict[str, Member] = {}
    with open_pool(ray, jobs, plan.search.batch * len(plan.seeds), plugin.entry, track) as pool:
        folder = SweepFolder(out, {"command": list(command)})
        with Interruption(), Sitting(folder, pool, plugin, count * len(plan.seeds), track, warn, progress) as sitting:
            results: dict[str, Outcome] = {}
            while len(trials) < count:
                asked = _proposals(optuna, plan, trials, min(plan.search.batch, count - len(trials)))
                batch = [Trial(settings, _runs(plan, settings, members)) for settings in asked]
                new = {run.label: run for trial in batch for run in trial.runs if run.label not in results}
                if new:
                    results |= {outcome.label: outcome for outcome in sitting.perform(list(new.values()))}
                trials += [_judged(plan, trial, results) for trial in batch]
                write_text(out / TRIALS, _table(plan, trials))
            best = _best(plan, trials, results)
            config = _write_best(plan, best, out / BEST)
    return Found(best, tuple(trials), plan.column, config)


def plan_search(reference: str | Path, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Plan:
    """Return the search that a config declares, its space checked at every end and choice.

    Parameters
    ----------
    reference, overrides
        As for :func:`~ndm_apps.config.load_config`.
    seeds
        By default those of the ``search`` section.

    Raises
    ------
    InputError
        If the config declares no space for its method, a value in the space is wrong, there is no such metric, or the
        plugin does not say that it can evaluate on held-out data.
    """
    for override in overrides:
        if override.partition("=")[0].strip() in FIXED:
            raise InputError(f"--set {one_line(override)}: the search section decides {', '.join(FIXED[:2])}")
    config = load_config(reference, [*overrides, "evaluate=validation"])
    declared, plugin, method = config.run.search, config.plugin, config.run.method
    if declared is None:
        raise InputError(f"--search: {one_line(str(reference))} has no search section, with a space of settings to try")
    if not plugin.validation:
        raise InputError(f"--search: the plugin {plugin.domain!r} does not say that it can evaluate on held-out data")
    space = declared.of_method(method)
    if not space:
        raise config.source.error(("search", "space"), f"no setting of the chosen method {method!r}")
    judges = {column.key: column for column in plugin.columns if column.better}
    if declared.metric is not None and declared.metric not in judges:
        raise config.source.error(("search", "metric"), unknown("metric", declared.metric, list(judges)))
    column = judges[declared.metric or next(iter(judges))]
    plan = Plan(
        config, declared, space, column, tuple(seeds or parse_seeds(str(declared.seeds))), reference, tuple(overrides)
    )
    for key, values in space.items():
        for value in values.ends() if isinstance(values, Range) else values:
            try:
                plan.configured({key: value}, "evaluate=validation")
            except InputError as error:
                raise config.source.error(("search", "space", key), str(error)) from None
    return plan


def _assigned(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _runs(plan: Plan, settings: Mapping[str, Any], members: dict[str, Member]) -> tuple[Member, ...]:
    """Return the runs of some settings, those that were asked for before among them."""
    config = plan.configured(settings, "evaluate=validation")
    return tuple(add_member(members, _assigned(settings), with_choice(config, seed=seed)) for seed in plan.seeds)


def _judged(plan: Plan, trial: Trial, outcomes: Mapping[str, Outcome]) -> Trial:
    """Return the trial with the metric of its runs, if all have one."""
    scores = [lookup(outcomes[run.label].result or {}, plan.column.key) for run in trial.runs]
    valid = all(isinstance(score, (int, float)) and math.isfinite(score) for score in scores)
    return replace(trial, scores=tuple(map(float, scores))) if valid else trial


def _best(plan: Plan, trials: Sequence[Trial], outcomes: Mapping[str, Outcome]) -> Trial:
    """Return the best trial, the first of equal ones."""
    successful = [trial for trial in trials if trial.scores]
    if not successful:
        reasons = sorted({outcome.reason for outcome in outcomes.values() if outcome.result is None})
        told = reasons[0] if reasons else f"{plan.column.key} is missing from the results"
        raise InputError(f"--search: no trial has come through ({told})")
    return (max if plan.column.better == "higher" else min)(successful, key=lambda trial: trial.value)


def _proposals(optuna: Any, plan: Plan, trials: Sequence[Trial], count: int) -> list[dict[str, Any]]:
    """Return the next settings to try; they depend on the trials so far and on the seed, and on nothing else."""
    distributions = {key: _distribution(optuna, values) for key, values in plan.space.items()}
    (seed,) = np.random.SeedSequence([plan.search.seed, len(trials)]).generate_state(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that Optuna calls experimental
        sampler = optuna.samplers.TPESampler(seed=int(seed), constant_liar=True)
        direction = "maximize" if plan.column.better == "higher" else "minimize"
        study = optuna.create_study(sampler=sampler, direction=direction)
        for trial in trials:
            known = {key: _as_parameter(plan.space[key], value) for key, value in trial.settings.items()}
            state = optuna.trial.TrialState.COMPLETE if trial.scores else optuna.trial.TrialState.FAIL
            study.add_trial(
                optuna.trial.create_trial(
                    params=known, distributions=distributions, value=trial.value if trial.scores else None, state=state
                )
            )
        asked = [study.ask(distributions).params for _ in range(count)]
    return [{key: _as_setting(plan.space[key], chosen[key]) for key in plan.space} for chosen in asked]


def _distribution(optuna: Any, values: Range | tuple[Any, ...]) -> Any:
    if isinstance(values, tuple):
        return optuna.distributions.CategoricalDistribution(range(len(values)))  # choices may be lists
    if values.is_whole:
        return optuna.distributions.IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def _as_setting(values: Range | tuple[Any, ...], parameter: Any) -> Any:
    return values.rounded(parameter) if isinstance(values, Range) else values[parameter]


def _as_parameter(values: Range | tuple[Any, ...], setting: Any) -> Any:
    return setting if isinstance(values, Range) else values.index(setting)


def _table(plan: Plan, trials: Sequence[Trial]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["trial", *plan.space, plan.column.key, *(f"{plan.column.key} seed {seed}" for seed in plan.seeds)])
    for number, trial in enumerate(trials):
        values = [
            value if isinstance(value, (int, float, str)) else json.dumps(value) for value in trial.settings.values()
        ]
        scores = [trial.value, *trial.scores] if trial.scores else ["failed"]
        writer.writerow([number, *values, *scores])
    return stream.getvalue()


def _write_best(plan: Plan, best: Trial, path: Path) -> Path:
    """Write the best settings as a config: what was given, evaluated and seeded as that says."""
    seeds = ", ".join(map(str, plan.seeds))
    head = (
        f"# {plan.column.key} {best.value:.6g} on held-out data, mean over the seeds {seeds}: "
        f"the best of {plan.search.trials} trials.\n"
    )
    return write_text(path, head + dump_yaml(plan.configured(best.settings).resolved()))


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise InputError("--search: Optuna is not installed; pip install 'ndm-apps[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
