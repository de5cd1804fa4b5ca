"""The runs of a sweep: tasks x settings x methods x seeds, each with a folder name of its own."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ndm_apps import shipped
from ndm_apps.config import Config, expand_overrides, load_config, with_choice
from ndm_apps.errors import InputError

LONGEST_LABEL = 120  # characters; file systems take 255 bytes


@dataclass(frozen=True)
class Member:
    """One run of a sweep: its folder name and its config."""

    label: str
    config: Config


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
                add_member(found, varied, with_choice(config, method=method, seed=seed))
    return list(found.values())


def add_member(found: dict[str, Member], varied: Sequence[str], config: Config) -> Member:
    """Return the member of a config among those found, by label, where it is added if need be.

    Parameters
    ----------
    found
        Members by label.
    varied
        The settings in which it differs from others, as ``a.b=v``.
    config
        What it runs.
    """
    method = config.run.method
    label = "-".join([method, *_settings_of(method, varied), f"seed{config.run.seed}"])
    member = found.setdefault(_short(label), Member(_short(label), config))
    if member.config != config:
        # Two values that read the same as a folder name, such as a/b and a_b.
        distinct = _short(f"{label}-{_digest(f'{label} {json.dumps(config.resolved(), sort_keys=True)}')}")
        member = found.setdefault(distinct, Member(distinct, config))
    return member


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
