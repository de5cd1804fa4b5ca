"""Reads config files (HOW a task is solved): extends, overrides, defaults, and errors that name file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, final

from pydantic import Field, field_validator

from ndm_apps import shipped
from ndm_apps.errors import InputError
from ndm_apps.overrides import LARGEST_SEED, apply_override, expand_overrides, parse_seeds, require_distinct
from ndm_apps.plugins.base import Plugin, Schema, Settings, Task
from ndm_apps.search_space import Search
from ndm_apps.tasks import read_task, validate_task
from ndm_apps.validation import validate
from ndm_apps.wording import short, unknown
from ndm_apps.yaml_source import KeyPath, Place, Source, read_yaml, shown
from ndm_apps.yaml_values import dump_yaml

__all__ = ["Config", "RunConfig", "Sweep", "dump_yaml", "expand_overrides", "load_config", "parse_seeds", "with_choice"]

LONGEST_CHAIN = 20

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


@final
class Sweep(Schema):
    """What ``ndm sweep`` runs: tasks x variants x methods x seeds.

    Attributes
    ----------
    methods, tasks
        By default the config's own.
    variants
        Settings, as ``{a.b: v}``, each of which is run; ``ndm run`` runs the sweep of a config with tasks or variants.
    seeds
        A list, one, or text such as ``0:5``.
    """

    methods: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    variants: tuple[dict[str, Any], ...] = ()
    seeds: str | Seed | Annotated[tuple[Seed, ...], Field(min_length=1)] = "0:5"

    @field_validator("methods", "tasks", "seeds")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) < len(value):
            raise ValueError(f"got {short(list(value))}, must not hold an item twice")
        if isinstance(value, str):
            try:
                parse_seeds(value, "")
            except InputError as error:
                raise ValueError(str(error).removeprefix(": ")) from None
        return value


@final
class RunConfig(Schema):
    """The keys of a config file (beside ``extends``, which is resolved when it is read).

    Attributes
    ----------
    task
        Name of a shipped task, path of a task file (relative to this file), or the task itself as a mapping.
    task_name
        How results call the task; by default the name of its file.
    method
        One of the methods of the task's domain.
    seed
        Seed of every random choice.
    device
        ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    dtype, threads
        Floating-point type, and number of CPU threads.
    evaluate
        On the test set, or on a part of the training set held out for validation.
    checkpoint_every
        Steps between checkpoints; 0: at the end only.
    methods
        Settings of methods, by name. Those of methods that are not chosen are validated too.
    sweep
        What ``ndm sweep`` runs.
    search
        What ``ndm sweep --search`` tries.
    """

    task: str | dict[str, Any]
    task_name: str | None = None
    method: str
    seed: Seed = 0
    device: str = "cpu"
    dtype: Literal["float32", "float64"] = "float32"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    evaluate: Literal["test", "validation"] = "test"
    checkpoint_every: Annotated[int, Field(ge=0)] = 50
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sweep: Sweep = Field(default_factory=Sweep)
    search: Search | None = None

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]{0,2}))?|mps", device):
            raise ValueError(f"got {short(device)}, must be cpu, cuda, cuda:N (such as cuda:0) or mps")
        return device

    @field_validator("task_name")
    @classmethod
    def _printable_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name):
            raise ValueError(f"got {short(name)}, must hold letters, digits and _ . - / only (such as physics/kepler)")
        return name


@final
@dataclass(frozen=True, eq=False)
class Config:
    """A config that is complete and valid: task, method and settings, as a run needs them.

    Two configs are equal when they resolve to the same run.

    Attributes
    ----------
    run
        The validated file, its task written out.
    plugin
        The plugin of the task's domain.
    task
        The validated task, of the plugin's class.
    task_name
        What results call it, such as ``continual/digits``.
    settings
        Validated settings of the chosen method.
    """

    run: RunConfig
    plugin: Plugin
    task: Task
    task_name: str
    settings: Settings
    source: Source = field(repr=False)

    @property
    def name(self) -> str:
        """Name for folders: domain and last part of the task's name, such as ``continual-digits``."""
        return f"{self.plugin.domain}-{self.task_name.rsplit('/', maxsplit=1)[-1]}"

    @property
    def sweep_methods(self) -> tuple[str, ...]:
        """The methods of a sweep."""
        return self.run.sweep.methods or (self.run.method,)

    @property
    def sweep_seeds(self) -> tuple[int, ...]:
        """The seeds of a sweep."""
        seeds = self.run.sweep.seeds
        if isinstance(seeds, str):
            return parse_seeds(seeds)
        return (seeds,) if isinstance(seeds, int) else seeds

    def resolved(self) -> dict[str, Any]:
        """Return everything that defines the run, defaults included: a config by itself, in plain values."""
        return {
            "task": _plain(self.task),
            "task_name": self.task_name,
            **self.run.model_dump(mode="json", exclude={"task", "task_name", "methods", "sweep", "search"}),
            "methods": {self.run.method: _plain(self.settings)},
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.resolved() == other.resolved()

    def __hash__(self) -> int:
        return hash(dump_yaml(self.resolved()))


def load_config(reference: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read, merge and validate a config.

    Parameters
    ----------
    reference
        Path of a config file, or the name of a shipped one, such as ``continual/digits``.
    overrides
        Values that replace those of the file, as ``a.b=v``. A key inside a task that the file names, such as
        ``task.noise=0.1``, changes that task for this run.

    Raises
    ------
    InputError
        In one line: the place (``FILE:LINE`` or ``--set a.b=v``), the key, the value got and the values allowed.
    """
    path = shipped.find("configs", reference)
    source = _read_extended(path, (), {})
    require_distinct(overrides)
    task_name = None
    for override in overrides:
        if override.startswith("task.") and isinstance(source.data.get("task"), str):
            task_name, task = read_task(source, ("task",))
            source = source.grafted(("task",), task)
        source = apply_override(source, override)
    return _complete(source, task_name or path.stem)


def with_choice(config: Config, *, method: str | None = None, seed: int | None = None) -> Config:
    """Return the config with another method (its settings are those of the file) or another seed.

    Raises
    ------
    InputError
        The domain has no such method, its settings are incomplete, or the seed is out of range.
    """
    source = config.source
    if method is not None:
        source = source.with_value(("method",), method, Place(f"method={method}"))
    if seed is not None:
        source = source.with_value(("seed",), seed, Place(f"seed={seed}"))
    return _complete(source, config.task_name)


def _complete(source: Source, default_name: str) -> Config:
    """Validate from the outside in: the run, its task, the settings of all methods."""
    run = validate(RunConfig, source)
    name = default_name
    if isinstance(run.task, str):
        name, task_source = read_task(source, ("task",))
        source = source.grafted(("task",), task_source)
    plugin, task = validate_task(source, ("task",))
    _require_methods(source, plugin, run)
    settings = {m: validate(plugin.methods[m], source, ("methods", m)) for m in run.methods}
    if run.method not in settings:
        # Defaults serve; what has none is reported where the method is chosen.
        bare = Source({"methods": {run.method: {}}}, {(): source.place(("method",))})
        settings[run.method] = validate(plugin.methods[run.method], bare, ("methods", run.method))
    name = run.task_name or _as_name(name)
    return Config(
        run=run.model_copy(update={"task": source.data["task"], "task_name": name}),
        plugin=plugin,
        task=task,
        task_name=name,
        settings=settings[run.method],
        source=source,
    )


def _require_methods(source: Source, plugin: Plugin, run: RunConfig) -> None:
    named: dict[KeyPath, str] = {("method",): run.method}
    named |= {("methods", method): method for method in run.methods}
    named |= {("sweep", "methods", n): method for n, method in enumerate(run.sweep.methods)}
    for path, method in named.items():
        if method not in plugin.methods:
            raise source.error(path, unknown(f"method of {plugin.domain}", method, list(plugin.methods)))


def _read_extended(path: Path, chain: tuple[Path, ...], read: dict[Path, Source]) -> Source:
    """Read a config file on top of those it extends."""
    identity = path.resolve()
    if identity in read:
        return read[identity]
    source = read_yaml(path)
    parents = source.data.get("extends", [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise source.error(("extends",), f"got {short(parents)}, must be a path, a shipped name or a list of these")
    chain = (*chain, identity)
    below: Source | None = None
    for n, parent in enumerate(parents):
        at = ("extends", n)
        try:
            file = shipped.find("configs", parent, path.parent)
        except InputError as error:
            raise source.error(("extends",), str(error), at=at) from None
        if file.resolve() in chain:
            circle = " -> ".join(shown(one) for one in (*chain[chain.index(file.resolve()) :], file))
            raise source.error(("extends",), f"the files extend each other in a circle: {circle}", at=at)
        if len(chain) >= LONGEST_CHAIN:
            raise source.error(("extends",), f"more than {LONGEST_CHAIN} files extend each other", at=at)
        base = _read_extended(file, chain, read)
        below = below.merged(base) if below else base
    own = {key: value for key, value in source.data.items() if key != "extends"}
    source = Source(own, {p: at for p, at in source.places.items() if p[:1] != ("extends",)})
    read[identity] = below.merged(source) if below else source
    return read[identity]


def _plain(model: Schema) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, round_trip=True)


def _as_name(text: str) -> str:
    """Return ``text`` fit for folder names and table rows."""
    return re.sub(r"[^\w./-]", "_", text)
