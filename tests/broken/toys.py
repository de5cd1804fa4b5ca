"""Two small plugins for tests of configs and tasks: nothing runs, only the schemas matter."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.base import Plugin, Schema, Settings, Task


class Time(Schema):
    end: Annotated[float, Field(gt=0)]
    points: Annotated[int, Field(ge=2)]


class System(Schema):
    state: Annotated[tuple[str, ...], Field(min_length=1)]
    angles: tuple[str, ...] = ()
    parameters: dict[str, float] = Field(default_factory=dict)
    equations: dict[str, str | float]
    initial: dict[str, tuple[float, float]]
    where: str | None = None
    time: Time
    trajectories: Annotated[int, Field(ge=1)] = 60

    @model_validator(mode="after")
    def _equations_parse(self):
        names = [*self.state, *self.parameters]
        for key in ("equations", "initial"):
            if set(getattr(self, key)) != set(self.state):
                raise FieldError((key,), f"must have exactly the keys of state: {', '.join(self.state)}")
        for column, text in self.equations.items():
            try:
                parse_expression(text, names)
            except ValueError as error:
                raise FieldError(("equations", column), str(error)) from None
        if self.where is not None:
            try:
                parse_expression(self.where, names, allow_comparison=True)
            except ValueError as error:
                raise FieldError(("where",), str(error)) from None
        return self


class Constant(Schema):
    kind: Literal["constant"]
    level: float


class Schedule(Schema):
    kind: Literal["schedule"]
    levels: tuple[float, ...]


class Table(Schema):
    csv: Path


class Named(Schema):
    name: Literal["kepler", "pendulum"]


class PhysicsTask(Task):
    domain: Literal["physics"]
    system: System
    noise: Annotated[float, Field(ge=0)] = 0.0
    forcing: Annotated[Constant | Schedule, Field(discriminator="kind")] | None = None
    reference: Named | Table | None = None


class NDMSettings(Settings):
    ridge: Annotated[float, Field(gt=0)] = 1e-3
    hidden: Annotated[tuple[int, ...], Field(max_length=3)] = (64, 64)
    angles: bool = False
    degree: int | Literal["auto"] = "auto"


class SearchSettings(Settings):
    depth: Annotated[int, Field(ge=1)]


class GridTask(Task):
    domain: Literal["grid"]
    size: int = 3


PLUGINS = {
    "grid": Plugin("grid", "A toy.", GridTask, {"plain": Settings}, "nowhere:run", ()),
    "physics": Plugin(
        "physics", "A toy.", PhysicsTask, {"ndm": NDMSettings, "search": SearchSettings}, "nowhere:run", ()
    ),
}

TASK = """\
domain: physics
system:
  state: [q, p]
  parameters: {k: 1}
  equations:
    q: p
    p: -k*q
  initial: {q: [-1.5, 1.5], p: [-1, 1]}
  where: q**2 + p**2 > 0.1
  time: {end: 10, points: 200}
noise: 1e-3
"""

CONFIG = """\
task: spring.yaml
method: ndm
seed: 3
methods:
  ndm:
    ridge: 1e-2
    hidden: [8]
  search: {depth: 2}
"""
