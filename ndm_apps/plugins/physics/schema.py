"""Schemas of physics tasks (WHAT: a system of equations to simulate) and of the method's settings (HOW)."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.expression import FUNCTIONS, parse_expression
from ndm_apps.plugins.base import Schema, Settings, Task
from ndm_apps.wording import listed, short, unknown

#: Fewest trajectories that can be split into a part to fit, one to choose the formula, and one to judge it.
FEWEST_TRAJECTORIES = 12
#: Samples of a task in all: what a run holds in memory.
MOST_SAMPLES = 2_000_000


class Time(Schema):
    """The times of the samples: ``points`` of them, evenly spaced from 0 to ``end``."""

    end: Annotated[float, Field(gt=0.0, le=1e6)]
    points: Annotated[int, Field(ge=20, le=100_000)]


class System(Schema):
    """An autonomous system of ordinary differential equations, and the trajectories that are measured.

    Attributes
    ----------
    state
        Names of the columns.
    angles
        The columns that are measured modulo 2 pi.
    parameters
        Named numbers that the equations may use.
    equations
        The time derivative of each column, in terms of columns and parameters.
    initial
        The range of each column that initial values are drawn from, uniformly.
    where
        A condition that initial values must meet, such as ``q**2 + p**2 > 0.1``.
    time
        When each trajectory is sampled.
    trajectories
        How many there are, 12 or more.
    """

    state: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]
    angles: tuple[str, ...] = ()
    parameters: dict[str, float] = Field(default_factory=dict)
    equations: dict[str, str | float]
    initial: dict[str, tuple[float, float]]
    where: str | None = None
    time: Time
    trajectories: Annotated[int, Field(ge=FEWEST_TRAJECTORIES, le=10_000)] = 60

    @model_validator(mode="after")
    def _consistent(self) -> System:
        _check_names(self.state, self.parameters)
        for n, angle in enumerate(self.angles):
            if angle not in self.state:
                raise FieldError(("angles", n), unknown("column", angle, self.state))
            if angle in self.angles[:n]:
                raise FieldError(("angles", n), f"got {short(angle)}, which is listed twice")
        for key, given in (("equations", self.equations), ("initial", self.initial)):
            for column in self.state:
                if column not in given:
                    raise FieldError((key,), f"no entry for the column {short(column)} of state, must have one")
            for column in given:
                if column not in self.state:
                    raise FieldError((key, column), unknown("column", column, self.state))
        names = [*self.state, *self.parameters]
        for column, text in self.equations.items():
            _check_expression(text, names, ("equations", column))
        for column, (low, high) in self.initial.items():
            if low > high:
                raise FieldError(("initial", column), f"got [{low}, {high}], must be [low, high] with low <= high")
        if self.where is not None:
            _check_expression(self.where, names, ("where",), condition=True)
        samples = self.trajectories * self.time.points * len(self.state)
        if samples > MOST_SAMPLES:
            raise FieldError(
                ("trajectories",),
                f"got {self.trajectories} trajectories of {self.time.points} points and {len(self.state)} columns: "
                f"{samples} values, must be at most {MOST_SAMPLES}",
            )
        return self


class Truth(Schema):
    """What is known of the system, for scoring only: the method never sees it.

    Attributes
    ----------
    n_conserved
        Number of functionally independent conserved quantities that do not depend on time.
    invariants
        Formulas of some or all of them.
    """

    n_conserved: Annotated[int, Field(ge=0, le=32)]
    invariants: tuple[str, ...] = ()


class PhysicsTask(Task):
    """A system whose conserved quantities are to be found from simulated measurements.

    ``noise`` is the standard deviation of Gaussian measurement noise on each column, in units of the column's own
    standard deviation (an angle's is taken of its values in (-pi, pi]).
    """

    domain: Literal["physics"]
    system: System
    noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    truth: Truth | None = None

    @model_validator(mode="after")
    def _truth_fits(self) -> PhysicsTask:
        if self.truth is None:
            return self
        columns = len(self.system.state)
        if self.truth.n_conserved > columns:
            raise FieldError(
                ("truth", "n_conserved"),
                f"got {self.truth.n_conserved}, must be at most the number of columns, {columns}",
            )
        for n, text in enumerate(self.truth.invariants):
            _check_expression(text, [*self.system.state, *self.system.parameters], ("truth", "invariants", n))
        return self


class SpectralSettings(Settings):
    """Settings of the method ``spectral``: a generalised eigenproblem over a dictionary of polynomials.

    It computes in float64 on the CPU, whatever ``dtype`` and ``device`` of the config say.

    Attributes
    ----------
    degree
        Highest degree of the dictionary; lower degrees are searched first. Angles enter by sine and cosine.
    terms
        Degrees whose dictionary has more terms than this are left out (the result says so).
    held_out
        Share of the trajectories that only judge the formulas found. A share as large again chooses among formulas;
        the rest is fitted.
    distance
        A noisy formula is accepted if its mean squared leaf distance on held-out trajectories, in units of the
        noise, exceeds 1 by no more than this, beside what chance allows.
    whiteness
        Largest autocorrelation (lags 1 to 3) of its residuals, beside what chance allows.
    exact_drift
        Largest drift of a formula found at no noise.
    f_statistic
        Smallest ratio of between- to within-trajectory variation of what counts as a law, not as a constraint.
    independence
        Smallest root-mean-square part of a formula's unit gradients outside the span of those found before.
    bootstrap
        Resamplings of the trajectories for the standard deviations of coefficients.
    """

    degree: Annotated[int, Field(ge=1, le=8)] = 4
    terms: Annotated[int, Field(ge=1, le=2000)] = 300
    held_out: Annotated[float, Field(ge=0.05, le=0.4)] = 0.2
    distance: Annotated[float, Field(ge=0.0, le=10.0)] = 0.02
    whiteness: Annotated[float, Field(gt=0.0, le=1.0)] = 0.08
    exact_drift: Annotated[float, Field(gt=0.0, le=0.1)] = 1e-4
    f_statistic: Annotated[float, Field(gt=1.0, le=1e6)] = 10.0
    independence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    bootstrap: Annotated[int, Field(ge=10, le=10_000)] = 50


def _check_names(state: Sequence[str], parameters: Sequence[str] | dict[str, float]) -> None:
    seen: dict[str, str] = {}
    for path, name in _paths(state, parameters):
        if not name.isidentifier() or keyword.iskeyword(name) or name in FUNCTIONS:
            raise FieldError(
                path,
                f"got {short(name)}, must be a name of letters, digits and _ that begins with no digit and is no "
                f"reserved word and no function (functions: {listed(FUNCTIONS)})",
            )
        # Python's parser, and so the equations, takes names that look alike for the same one.
        folded = unicodedata.normalize("NFKC", name)
        if folded in seen:
            raise FieldError(
                path, f"got {short(name)}, but {short(seen[folded])} is already the name of another column"
            )
        seen[folded] = name


def _paths(
    state: Sequence[str], parameters: Sequence[str] | dict[str, float]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from ((("state", n), name) for n, name in enumerate(state))
    yield from ((("parameters", name), name) for name in parameters)


def _check_expression(
    text: str | float, names: Sequence[str], path: tuple[str | int, ...], *, condition: bool = False
) -> None:
    try:
        parse_expression(text, names, allow_comparison=condition)
    except ValueError as error:
        raise FieldError(path, str(error)) from None
