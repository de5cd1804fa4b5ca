"""The parts of a planning task: environment, controls, goal, what moves, and the score."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import Schema
from ndm_apps.wording import short

Formula = str | float


class Environment(Schema):
    """A Gymnasium environment, by its registered id or by ``module:Class``.

    Attributes
    ----------
    id
        A registered id, such as ``Pendulum-v1``; those of this package begin with ``ndm/``.
    entry_point
        ``module:Class`` of one that is not registered.
    kwargs
        Arguments of its constructor.
    steps
        Steps after which an episode is cut; null: the environment's own limit.
    """

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    entry_point: Annotated[str, Field(pattern=r"^[\w.]+:\w+$", max_length=200)] | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Environment:
        if (self.id is None) == (self.entry_point is None):
            raise ValueError("give exactly one of: id, entry_point")
        if self.entry_point is not None and self.steps is None:
            raise FieldError(("steps",), "missing, must be given for an environment that is not registered")
        return self


class Controls(Schema):
    """The controls of a task.

    Attributes
    ----------
    names
        One for each.
    levels
        Of a discrete action space: the controls that action 0, 1, ... apply. Null: the action is the control.
    cost
        Weights of the squares of the controls in the cost of a step: one number, or one for each.
    bound
        ``box``: each within its own bounds; ``ball``: within a circle of radius 1 besides.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    levels: Annotated[tuple[tuple[float, ...], ...], Field(min_length=2, max_length=1000)] | None = None
    cost: Annotated[float, Field(gt=0.0)] | Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(min_length=1)]
    bound: Literal["box", "ball"] = "box"

    @model_validator(mode="after")
    def _consistent(self) -> Controls:
        for number, level in enumerate(self.levels or ()):
            if len(level) != len(self.names):
                raise FieldError(("levels", number), f"got {short(list(level))}, must hold one value for each of names")
        if isinstance(self.cost, tuple) and len(self.cost) != len(self.names):
            raise FieldError(("cost",), f"got {len(self.cost)} numbers, must be one for each of names, or one in all")
        return self

    @property
    def costs(self) -> tuple[float, ...]:
        """The weight of each control."""
        return self.cost if isinstance(self.cost, tuple) else (self.cost,) * len(self.names)


class Goal(Schema):
    """Where to go.

    Attributes
    ----------
    state
        The value of each column at the goal, in terms of what ``episode`` names where it changes.
    reached
        A condition on columns that tells the goal region.
    """

    state: dict[str, Formula]
    reached: str


class Kinematic(Schema):
    """Which columns are the position of a point, and whether its moves may be refused by walls.

    Attributes
    ----------
    positions, velocities
        Columns; without velocities, the controls move the positions themselves.
    walls
        Moves may be refused.
    """

    positions: Annotated[tuple[str, ...], Field(min_length=1)]
    velocities: tuple[str, ...] = ()
    walls: bool = True


class Score(Schema):
    """How an episode is judged.

    Attributes
    ----------
    kind
        ``return`` or ``success``: what results are first ranked by.
    success
        ``terminated``, ``truncated`` (the whole episode was survived), or a condition on columns.
    last
        At each of so many last steps the condition must hold.
    measure
        What is divided by the optimum: ``return`` (``offset`` less the return: the cost), or number of ``steps``.
    offset
        The return at no cost.
    optimum
        How the least possible measure is computed: see ``references``. Null: it is not known.
    """

    kind: Literal["return", "success"]
    success: str
    last: Annotated[int, Field(ge=1, le=100_000)] = 1
    measure: Literal["return", "steps"] = "return"
    offset: float = 0.0
    optimum: (
        Literal["dynamic_programming", "minimum_energy", "fast_marching", "bang_time", "zermelo", "riccati"] | None
    ) = None
