"""What a plugin is: a domain, its task schema, its methods with their settings, and one function that runs.

This module and every module that defines a ``PLUGIN`` import neither torch nor MLflow, so that ``ndm list`` and
``ndm check`` stay fast; the function that runs is named by a string and imported when a run starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ndm_apps.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

ENTRY_POINT_GROUP = "ndm_apps.plugins"


class Schema(BaseModel):
    """Base of every task and settings schema: unknown keys, infinities and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class Task(Schema):
    """Base of every task schema (WHAT is solved). Subclasses narrow ``domain`` to their own name."""

    domain: str


class Settings(Schema):
    """Base of every method's hyperparameters (HOW it is solved)."""


class DatasetSource(Schema):
    """A data set by name, or the user's own arrays.

    ``name`` is one of ``digits`` (ships with scikit-learn), ``mnist``, ``fashion_mnist``, ``cifar10``, ``omniglot`` and
    ``electricity`` (a sequence without a test set). ``npz`` is the path of a file with arrays ``x_train``,
    ``y_train``, ``x_test``, ``y_test``: vectors or images (``(samples, [channels,] height, width)``), and integer
    labels. A relative path starts at the file that names it.
    """

    name: Literal["digits", "mnist", "fashion_mnist", "cifar10", "omniglot", "electricity"] | None = None
    npz: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("npz")
    @classmethod
    def _beside_the_file(cls, npz: str | None, info: ValidationInfo) -> str | None:
        """Take a relative path as from the file that names it, so that a run can be repeated from anywhere."""
        if npz is None or not info.context:
            return npz
        return str(Path(info.context["folder"] or ".", npz).resolve())

    @model_validator(mode="after")
    def _one_source(self) -> DatasetSource:
        if (self.name is None) == (self.npz is None):
            raise ValueError("give exactly one of: name, npz")
        return self


class Checkpoint(Protocol):
    """Where a plugin saves and finds its state. Handed to it by the runner."""

    def due(self, step: int) -> bool:
        """Whether the state should be saved after ``step`` steps."""
        ...

    def save(self, state: Mapping[str, Any], step: int) -> None:
        """Save a nested mapping of tensors and JSON values, atomically, with all random-number states."""
        ...

    def load(self) -> dict[str, Any] | None:
        """Return the state to resume from (random-number states are restored), or None on a fresh run."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What the runner hands to a plugin beside its task and settings.

    Attributes
    ----------
    seed
        Seed of every random choice of the run. Global generators are seeded with it already.
    device, dtype
        Torch names, such as ``"cpu"``, ``"cuda:0"`` and ``"float32"``.
    evaluate
        ``"test"``, or ``"validation"``: hold out part of the training data, never touch the test set.
    log
        ``log(name, value, step)`` records one metric.
    progress
        ``progress(done, total, text)`` moves the progress bar.
    checkpoint
        Saves and restores the state of the run.
    """

    seed: int
    device: str
    dtype: str
    evaluate: Literal["test", "validation"]
    log: Callable[[str, float, int], None]
    progress: Callable[[int, int, str], None]
    checkpoint: Checkpoint


@dataclass(frozen=True)
class Picture:
    """A figure of the run's page with the sentence that tells what it shows (also its alternative text)."""

    figure: Figure
    caption: str


@dataclass(frozen=True)
class Animation:
    """A GIF of the run's page with the sentence that tells what it shows (also its alternative text)."""

    gif: bytes
    caption: str


@dataclass(frozen=True)
class Dataset:
    """What the run was trained on, for the record: name, where it came from, digest of its content, shape."""

    name: str
    source: str
    digest: str
    samples: int


@dataclass(frozen=True)
class Result:
    """What a plugin returns.

    Attributes
    ----------
    values
        The domain's part of ``result.json``: JSON values only.
    pictures
        Figures of the run's page by file name (without suffix).
    animations
        Films of the run's page by file name (without suffix).
    dataset
        The data of the run, if it has any.
    files
        Further text files of the run's folder, by name.
    model, example
        A module that ``torch.export`` can export with the example input, for MLflow; or None.
    """

    values: dict[str, Any]
    pictures: dict[str, Picture] = field(default_factory=dict)
    animations: dict[str, Animation] = field(default_factory=dict)
    dataset: Dataset | None = None
    files: dict[str, str] = field(default_factory=dict)
    model: nn.Module | None = None
    example: Any = None


@dataclass(frozen=True)
class Column:
    """A column of result tables: which value of ``result.json``, its heading, its format, which way is better.

    ``key`` is a dotted path, such as ``"shift.f1"``; ``format`` a format specification, such as ``".3f"``.
    """

    key: str
    heading: str
    format: str = ".3f"
    better: Literal["higher", "lower", ""] = ""


@dataclass(frozen=True)
class Plugin:
    """One application of the engine.

    Attributes
    ----------
    domain
        Its name, as in ``domain: continual`` of a task file.
    summary
        One sentence for ``ndm list``.
    task
        Schema of its task files.
    methods
        Settings schema of each method, by name.
    entry
        ``"module:function"``, a function ``(task, method, settings, context: RunContext) -> Result``.
    columns
        The columns of its result tables.
    demo
        Names of shipped configs that ``ndm demo`` runs, in order, each with the methods of its ``sweep`` section.
    inspect
        ``"module:function"`` for ``ndm inspect``, or "": a function ``(task, method, settings, state, run) -> Result``
        of the state last saved and the run's config (``seed``, ``device``, ``dtype``, ``evaluate``).
    validation
        Whether ``evaluate: validation`` keeps the plugin from its test data; a search for settings needs that.
    parallel
        Whether several processes that ``torchrun`` started can share a run. Each then calls ``entry`` with the same
        arguments, and finds the others by :func:`ndm_apps.engine.parallel.workers`.
    """

    domain: str
    summary: str
    task: type[Task]
    methods: Mapping[str, type[Settings]]
    entry: str
    columns: tuple[Column, ...]
    demo: tuple[str, ...] = ()
    inspect: str = ""
    validation: bool = False
    parallel: bool = False


def resolve(entry: str) -> Callable[..., Any]:
    """Import the object that a ``"module:name"`` string names."""
    module, _, name = entry.partition(":")
    return getattr(import_module(module), name)


def plugins() -> dict[str, Plugin]:
    """Return the installed plugins by domain, sorted by name."""
    found = {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}
    for name, plugin in found.items():
        if not isinstance(plugin, Plugin) or plugin.domain != name:
            raise InputError(f"entry point {ENTRY_POINT_GROUP}:{name} must be a Plugin whose domain is {name!r}")
    return dict(sorted(found.items()))
