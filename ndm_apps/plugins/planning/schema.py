"""Schema of planning tasks: WHAT is controlled, what it costs, where it should go, and how it is scored."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.expression import CONSTANTS, FUNCTIONS, ExpressionError, parse_expression
from ndm_apps.plugins.base import Task
from ndm_apps.plugins.planning.schema_parts import Controls, Environment, Formula, Goal, Kinematic, Score
from ndm_apps.wording import listed, short, unknown

#: Names of the entries of a flattened observation in expressions: o0, o1, ...
OBSERVATION = tuple(f"o{number}" for number in range(100))

Bounds = tuple[float, float]


class PlanningTask(Task):
    """An environment as an optimal control problem.

    Attributes
    ----------
    environment
        What is acted on.
    state
        Each column of the state in terms of the flattened observation ``o0``, ``o1``, ...
    angles
        The columns that are angles; in formulas they are in [-pi, pi).
    box
        Where each column lives; may be left out for angles.
    limits
        Where an episode ends because a column has left it.
    clips
        Where the environment is known to clip a column, such as a speed.
    smooth
        Where the motion is smooth: steps that begin or end beyond, as in contact with a stop, tell a model nothing.
    episode
        What differs from one episode to the next, such as a goal: read off its first observation.
    controls
        What may be done.
    objective
        ``cost``: the sum of squares of ``cost`` and controls; ``action``: the controls alone, up to the goal;
        ``time``: steps to the goal.
    cost
        Formulas of columns whose squares are summed.
    goal
        Where to go.
    mirror
        Columns and controls that change sign under a symmetry of the dynamics, a prior for what is learnt.
    kinematic
        For a point that moves among walls or in a current.
    experience
        Steps of the environment that a method may learn from.
    score
        How it is judged.
    """

    domain: Literal["planning"]
    environment: Environment
    state: Annotated[dict[str, Formula], Field(min_length=1, max_length=32)]
    angles: tuple[str, ...] = ()
    box: dict[str, Bounds] = Field(default_factory=dict)
    limits: dict[str, Bounds] = Field(default_factory=dict)
    clips: dict[str, Bounds] = Field(default_factory=dict)
    smooth: dict[str, Bounds] = Field(default_factory=dict)
    episode: dict[str, Formula] = Field(default_factory=dict)
    controls: Controls
    objective: Literal["cost", "action", "time"] = "cost"
    cost: tuple[Formula, ...] = ()
    goal: Goal
    mirror: tuple[str, ...] = ()
    kinematic: Kinematic | None = None
    experience: Annotated[int, Field(ge=1, le=100_000_000)]
    score: Score

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the state, in order."""
        return tuple(self.state)

    @property
    def bounds(self) -> tuple[Bounds, ...]:
        """The box of each column."""
        return tuple(self.box.get(column, (-math.pi, math.pi)) for column in self.state)

    @model_validator(mode="after")
    def _names(self) -> PlanningTask:
        seen: set[str] = set()
        for path, name in [
            *((("state", name), name) for name in self.state),
            *((("episode", name), name) for name in self.episode),
            *((("controls", "names", n), name) for n, name in enumerate(self.controls.names)),
        ]:
            if not name.isidentifier() or keyword.iskeyword(name) or name in FUNCTIONS or name in CONSTANTS:
                raise FieldError(path, f"got {short(name)}, must be a name: letters, digits and _, no digit first")
            if name in seen:
                raise FieldError(path, f"got {short(name)}, which is used twice")
            seen.add(name)
        for key, given in (("angles", self.angles), *self._ranged):
            for n, column in enumerate(given):
                if column not in self.state:
                    raise FieldError((key, column if isinstance(given, dict) else n), self._unknown(column))
        for n, name in enumerate(self.mirror):
            if name not in self.state and name not in self.controls.names:
                raise FieldError(("mirror", n), unknown("name", name, (*self.state, *self.controls.names)))
        return self

    @model_validator(mode="after")
    def _ranges(self) -> PlanningTask:
        for column in self.state:
            if column not in self.box and column not in self.angles:
                raise FieldError(("box",), f"no entry for {short(column)}, must have one (only angles may go without)")
        for key, given in self._ranged:
            for column, (low, high) in given.items():
                if low >= high:
                    raise FieldError((key, column), f"got [{low}, {high}], must be [low, high] with low < high")
        return self

    @model_validator(mode="after")
    def _formulas(self) -> PlanningTask:
        for key, given in (("state", self.state), ("episode", self.episode)):
            for name, text in given.items():
                _check(text, OBSERVATION, (key, name))
        names = (*self.state, *self.episode)
        for n, text in enumerate(self.cost):
            _check(text, names, ("cost", n))
        if self.objective == "cost" and not self.cost:
            raise FieldError(("cost",), "got no formulas, must have at least one for objective cost")
        _check(self.goal.reached, names, ("goal", "reached"), condition=True)
        if self.score.success not in ("terminated", "truncated"):
            _check(self.score.success, names, ("score", "success"), condition=True)
        return self

    @model_validator(mode="after")
    def _goal(self) -> PlanningTask:
        for column in self.state:
            if column not in self.goal.state:
                raise FieldError(("goal", "state"), f"no entry for {short(column)}, must have one for each column")
        for (column, (low, high)), text in zip(
            zip(self.state, self.bounds, strict=True), map(self.goal.state.get, self.state), strict=True
        ):
            tree = _check(text, self.episode, ("goal", "state", column))
            if tree.names or column in self.angles:
                continue
            value = float(tree.evaluate({}, {}))
            if not low <= value <= high:
                raise FieldError(
                    ("goal", "state", column), f"got {value:g}, must be inside the box of {column}: [{low:g}, {high:g}]"
                )
        for column in self.goal.state:
            if column not in self.state:
                raise FieldError(("goal", "state", column), self._unknown(column))
        return self

    @model_validator(mode="after")
    def _motion(self) -> PlanningTask:
        if self.kinematic is None:
            return self
        for key in ("positions", "velocities"):
            for n, column in enumerate(getattr(self.kinematic, key)):
                if column not in self.state:
                    raise FieldError(("kinematic", key, n), self._unknown(column))
        if self.kinematic.velocities and len(self.kinematic.velocities) != len(self.kinematic.positions):
            raise FieldError(("kinematic", "velocities"), "must be none, or one for each of positions")
        return self

    @property
    def _ranged(self) -> tuple[tuple[str, dict[str, Bounds]], ...]:
        return (("box", self.box), ("limits", self.limits), ("clips", self.clips), ("smooth", self.smooth))

    def _unknown(self, column: Any) -> str:
        return unknown("column", column, self.state)


def observations_used(task: PlanningTask) -> int:
    """Return how many entries the flattened observation must have for the formulas of a task.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> observations_used(SimpleNamespace(state={"theta": "atan2(o1, o0)"}, episode={"x": "o7"}))
    8
    """
    texts = " ".join(str(text) for text in (*task.state.values(), *task.episode.values()))
    return max((int(number) + 1 for number in re.findall(r"\bo(\d+)\b", texts)), default=0)


def _check(text: Any, names: Sequence[str] | dict, path: tuple[str | int, ...], *, condition: bool = False) -> Any:
    try:
        return parse_expression(text, tuple(names), allow_comparison=condition)
    except ExpressionError as error:
        raise FieldError(path, f"{error} (names: {listed(names) if len(names) < 30 else 'o0, o1, ...'})") from None
