"""Schemas of physics tasks (WHAT: a system of equations to simulate) and of the method's settings (HOW)."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.expression import FUNCTIONS, Expression, parse_expression
from ndm_apps.plugins.base import Schema, Settings, Task
from ndm_apps.plugins.physics.initial import Distribution, Start, check_starts
from ndm_apps.plugins.physics.kinetic.settings import KineticColumns, KineticTruth
from ndm_apps.plugins.physics.names import symbols
from ndm_apps.plugins.physics.separable import separated
from ndm_apps.plugins.physics.source import Recording
from ndm_apps.wording import listed, short, unknown

#: Fewest trajectories that are split into a part to fit, one to choose the formula, and one to judge it.
FEWEST_TRAJECTORIES = 12
#: Samples of a task in all: what a run holds in memory.
MOST_SAMPLES = 2_000_000


class Time(Schema):
    """The times of the samples: ``points`` of them, evenly spaced from 0 to ``end``.

    ``dop853`` chooses its own steps and is the more exact up to thousands of periods; ``symplectic``, for systems such
    as positions and momenta that only move each other, takes ``steps`` from sample to sample and keeps the error of
    the energy bounded for all times.
    """

    end: Annotated[float, Field(gt=0.0, le=1e6)]
    points: Annotated[int, Field(ge=20, le=100_000)]
    integrator: Literal["dop853", "symplectic"] = "dop853"
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10


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
    draw
        Auxiliary variables, such as an energy or an angle: ``[low, high]`` (uniform) or ``{mean, sd}`` (normal).
    initial
        Where each column starts: a distribution as in ``draw``, or an expression of parameters, auxiliary variables
        and columns that are drawn.
    where
        A condition that initial values must meet, such as ``q**2 + p**2 > 0.1``.
    process_noise
        Size of the random kicks that columns get at each sample: standard deviation per square root of time.
    time
        When each trajectory is sampled.
    trajectories
        How many there are, 2 or more: one alone cannot tell what all have in common from what each keeps.
    """

    state: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]
    angles: tuple[str, ...] = ()
    parameters: dict[str, float] = Field(default_factory=dict)
    equations: dict[str, str | float]
    draw: dict[str, Distribution] = Field(default_factory=dict)
    initial: dict[str, Start]
    where: str | None = None
    process_noise: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    time: Time
    trajectories: Annotated[int, Field(ge=2, le=10_000)] = 60

    @model_validator(mode="after")
    def _consistent(self) -> System:
        _check_names(self.state, self.parameters, self.draw)
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
        rates = {
            column: _check_expression(text, names, ("equations", column)).names.intersection(self.state)
            for column, text in self.equations.items()
        }
        if self.time.integrator == "symplectic" and separated(rates) is None:
            raise FieldError(
                ("time", "integrator"),
                "got 'symplectic', which needs columns of two kinds, the rates of each in terms of the other kind only",
            )
        check_starts(self.draw, self.initial, self.parameters)
        for column in self.process_noise:
            if column not in self.state:
                raise FieldError(("process_noise", column), unknown("column", column, self.state))
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
        Formulas: first of as many as are independent, then other textbook forms, functions of the first.
    kinetic
        The metric, and how many symmetries there are.
    """

    n_conserved: Annotated[int, Field(ge=0, le=32)]
    invariants: tuple[str, ...] = ()
    kinetic: KineticTruth | None = None


class PhysicsTask(Task):
    """A system whose conserved quantities are to be found: simulated measurements (``system``), or a file (``data``).

    ``noise`` is the standard deviation of Gaussian measurement noise on each simulated column, in units of the
    column's own standard deviation (an angle's is taken of its values in (-pi, pi]). ``kinetic`` tells positions and
    velocities apart, for the method of that name.
    """

    domain: Literal["physics"]
    system: System | None = None
    data: Recording | None = None
    noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    kinetic: KineticColumns | None = None
    truth: Truth | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PhysicsTask:
        if (self.system is None) == (self.data is None):
            raise ValueError("give exactly one of: system, data")
        if self.data is not None and self.noise:
            raise FieldError(("noise",), f"got {self.noise}, must be 0: it is added to what is simulated, not to data")
        return self

    @model_validator(mode="after")
    def _kinetic_fits(self) -> PhysicsTask:
        if self.kinetic is not None and self.system is not None:
            self.kinetic.check(self.system.state)
        if self.truth is not None and self.truth.kinetic is not None:
            if self.kinetic is None or self.system is None:
                raise FieldError(("truth", "kinetic"), "must go with a system and with kinetic: positions, velocities")
            self.truth.kinetic.check(self.kinetic.positions, (*self.kinetic.positions, *self.system.parameters))
        return self

    @model_validator(mode="after")
    def _truth_fits(self) -> PhysicsTask:
        if self.truth is None:
            return self
        state = self.system.state if self.system else tuple(symbols(self.data.state)) if self.data else ()
        columns = len(state)
        if not columns:
            raise FieldError(("data",), "no state is given, must be for a task with truth")
        if self.truth.n_conserved > columns:
            raise FieldError(
                ("truth", "n_conserved"),
                f"got {self.truth.n_conserved}, must be at most the number of columns, {columns}",
            )
        parameters = () if self.system is None else self.system.parameters
        for n, text in enumerate(self.truth.invariants):
            _check_expression(text, [*state, *parameters], ("truth", "invariants", n))
        return self


class SpectralSettings(Settings):
    """Settings of the method ``spectral``: a generalised eigenproblem over typed dictionaries, tier by tier.

    It computes in float64 on the CPU, whatever ``dtype`` and ``device`` of the config say.

    Attributes
    ----------
    degree
        Highest degree of polynomials. Angles enter by sine and cosine.
    special
        Search logarithms of positive columns, exponentials and inverse powers of differences of positions, and inverse
        distances of bodies, too. The data tell which columns are positive, and which are positions.
    expressions
        The user's own terms, such as ``1/(1 + x**2)``.
    bodies
        The columns of each body's position, such as ``[[x1, y1], [x2, y2]]``; else they are told by their names.
    rates
        Search quantities that grow at a constant rate along each trajectory, too, such as the position of a free
        centre of mass: less rate times time, they are laws that depend on time. They are reported apart.
    terms
        Dictionaries with more terms than this are left out (the result says which were searched).
    held_out
        Share of the trajectories that only judge the formulas found. A share as large again chooses among formulas;
        the rest is fitted. With fewer than 12 trajectories, each is left out of the fit in turn instead.
    seconds
        No new search begins after so long by the clock, and the best found so far is returned; null: no limit, and so
        the same result however busy the machine is.
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
        In noise, smallest root-mean-square part of a formula's unit gradients outside the span of those found before:
        what is new to a smaller part may be a known law with a little of another function.
    bootstrap
        Resamplings of the trajectories for the standard deviations of coefficients.
    second_opinion
        Let an invertible chart look for laws that no dictionary has (20 s and more for each one looked for): the
        verdict and ``evidence.second_opinion`` tell how many it sees.
    symbolic
        Let a chart look for them, and symbolic regression (Operon, an extra) for formulas of what it sees: what these
        are made of joins the dictionary, and the search decides (a minute and more for each
        law).
    """

    degree: Annotated[int, Field(ge=1, le=8)] = 4
    special: bool = True
    expressions: tuple[str, ...] = ()
    bodies: tuple[tuple[str, ...], ...] | None = None
    rates: bool = False
    terms: Annotated[int, Field(ge=1, le=2000)] = 600
    held_out: Annotated[float, Field(ge=0.05, le=0.4)] = 0.2
    seconds: Annotated[float, Field(gt=0.0, le=1e6)] | None = None
    distance: Annotated[float, Field(ge=0.0, le=10.0)] = 0.02
    whiteness: Annotated[float, Field(gt=0.0, le=1.0)] = 0.08
    exact_drift: Annotated[float, Field(gt=0.0, le=0.1)] = 1e-4
    f_statistic: Annotated[float, Field(gt=1.0, le=1e6)] = 10.0
    independence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    bootstrap: Annotated[int, Field(ge=10, le=10_000)] = 50
    second_opinion: bool = False
    symbolic: bool = False


def _check_names(state: Sequence[str], parameters: Iterable[str], draw: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for path, name in _paths(state, parameters, draw):
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
    state: Sequence[str], parameters: Iterable[str], draw: Iterable[str]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    yield from ((("state", n), name) for n, name in enumerate(state))
    yield from ((("parameters", name), name) for name in parameters)
    yield from ((("draw", name), name) for name in draw)


def _check_expression(
    text: str | float, names: Sequence[str], path: tuple[str | int, ...], *, condition: bool = False
) -> Expression:
    try:
        return parse_expression(text, names, allow_comparison=condition)
    except ValueError as error:
        raise FieldError(path, str(error)) from None
