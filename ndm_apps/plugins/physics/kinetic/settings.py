"""Schemas of what a task says of positions and velocities, and of the settings of the method ``kinetic``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.base import Schema, Settings
from ndm_apps.wording import short, unknown


class KineticColumns(Schema):
    """Which columns are positions, and which are their velocities, in the same order."""

    positions: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
    velocities: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _paired(self) -> KineticColumns:
        if len(self.velocities) != len(self.positions):
            raise FieldError(
                ("velocities",), f"got {len(self.velocities)} columns, must be one for each of {len(self.positions)}"
            )
        return self

    def check(self, state: tuple[str, ...]) -> None:
        """Raise FieldError unless all are columns of the state, each named once."""
        seen: set[str] = set()
        for key, columns in (("positions", self.positions), ("velocities", self.velocities)):
            for number, column in enumerate(columns):
                if column not in state:
                    raise FieldError(("kinetic", key, number), unknown("column", column, state))
                if column in seen:
                    raise FieldError(("kinetic", key, number), f"got {short(column)}, which is listed twice")
                seen.add(column)


class KineticTruth(Schema):
    """What is known of the geometry of motion, for scoring only.

    Attributes
    ----------
    metric
        The kinetic metric, row by row, in terms of positions and parameters.
    metric_symmetries, symmetries
        Number of Killing fields of the metric, and of those that leave the potential, too.
    """

    metric: tuple[tuple[str | float, ...], ...]
    metric_symmetries: Annotated[int, Field(ge=0, le=36)]
    symmetries: Annotated[int, Field(ge=0, le=36)]

    def check(self, positions: tuple[str, ...], names: tuple[str, ...]) -> None:
        """Raise FieldError unless the metric is a square table of expressions, as large as there are positions."""
        n = len(positions)
        if len(self.metric) != n or any(len(row) != n for row in self.metric):
            raise FieldError(("truth", "kinetic", "metric"), f"must be {n} rows of {n} entries, one for each position")
        for i, row in enumerate(self.metric):
            for j, text in enumerate(row):
                try:
                    parse_expression(text, names)
                except ValueError as error:
                    raise FieldError(("truth", "kinetic", "metric", i, j), str(error)) from None


class KineticSettings(Settings):
    """Settings of the method ``kinetic``: a kinetic metric and a potential learned from positions and velocities.

    It computes in float64 on the CPU, whatever ``dtype`` and ``device`` of the config say.

    Attributes
    ----------
    solver
        ``dictionary`` (one eigenproblem) or ``metric_net`` (trained networks).
    window, stride
        Samples of a window of the weak Euler-Lagrange equations, and distance of the next one.
    held_out
        Share of the trajectories that only judge.
    points
        Positions that the Killing equations are set up on.
    degree, quadratic_degree
        Highest degree of the components of Killing vectors, and of quadratic integrals.
    tolerance
        Largest residual of a symmetry. (At 1 % noise, on seeds 1000 to 1003, true ones had at most 0.04 over the
        dictionary and, on seed 1000, 0.085 with networks; fields that only nearly were symmetries at least 0.12.)
    hidden, steps, batch, rate, refinement
        The networks: widths of hidden layers, steps of Adam, windows in each, learning rate, iterations of L-BFGS.
    """

    solver: Literal["dictionary", "metric_net"] = "dictionary"
    window: Annotated[int, Field(ge=8, le=1000)] = 24
    stride: Annotated[int, Field(ge=1, le=1000)] = 6
    held_out: Annotated[float, Field(ge=0.05, le=0.4)] = 0.2
    points: Annotated[int, Field(ge=200, le=5000)] = 600
    degree: Annotated[int, Field(ge=0, le=6)] = 3
    quadratic_degree: Annotated[int, Field(ge=0, le=6)] = 2
    tolerance: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(min_length=1, max_length=4)] = (32, 32)
    steps: Annotated[int, Field(ge=1, le=100_000)] = 300
    batch: Annotated[int, Field(ge=1, le=10_000)] = 64
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-2
    refinement: Annotated[int, Field(ge=0, le=100_000)] = 300
