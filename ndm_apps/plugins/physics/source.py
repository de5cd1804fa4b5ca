"""Schema of measured data: which file, and what its columns are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ndm_apps.errors import FieldError
from ndm_apps.plugins.base import Schema
from ndm_apps.plugins.physics.units import UnitError, parse_unit
from ndm_apps.wording import short, unknown

#: Columns of the state: what the dictionary can take.
MOST_COLUMNS = 32


class Columns(Schema):
    """What the columns of a table are, by their headers (or by the symbols that stand for them).

    Attributes
    ----------
    time
        The column of times.
    trajectory
        The column that tells trajectories apart. A table without it is split where time starts again.
    state
        The measured columns; empty for all others.
    angles
        Those measured modulo 2 pi; None for those that jump by 2 pi or 360, and those in units of angle.
    units
        Unit of some columns, such as ``m/s``; it goes before what the table says.
    error
        Standard deviation of the measurement of some columns, in their own unit, where it is known.
    velocities
        Add the velocity of each column of the state, from a local fit (positions only were measured).
    """

    time: Annotated[str, Field(min_length=1)] = "t"
    trajectory: Annotated[str, Field(min_length=1)] = "trajectory"
    state: Annotated[tuple[str, ...], Field(max_length=MOST_COLUMNS)] = ()
    angles: tuple[str, ...] | None = None
    units: dict[str, str] = Field(default_factory=dict)
    error: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default_factory=dict)
    velocities: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Columns:
        for key in ("state", "angles"):
            names = getattr(self, key) or ()
            for n, name in enumerate(names):
                if name in names[:n]:
                    raise FieldError((key,), f"got {short(name)}, which is listed twice")
        for name in self.state:
            if name in (self.time, self.trajectory):
                role = "time" if name == self.time else "trajectory"
                raise FieldError(("state",), f"got {short(name)}, which is the column of {role}")
        for column, unit in self.units.items():
            try:
                parse_unit(unit)
            except UnitError as error:
                raise FieldError(("units", column), str(error)) from None
        return self


class Recording(Columns):
    """Measured trajectories: a file, CSV or Parquet, or a table that is known by name.

    Attributes
    ----------
    file
        Its path; a relative one starts at the file that names it.
    table
        A name of :data:`ndm_apps.datasets.motion.NAMES`; angles and units are those of the table unless they are given.
    """

    file: Annotated[str, Field(min_length=1)] | None = None
    table: str | None = None

    @field_validator("file")
    @classmethod
    def _beside_the_file(cls, file: str | None, info: ValidationInfo) -> str | None:
        if file is None or not info.context:
            return file
        return str(Path(info.context["folder"] or ".", file).resolve())

    @field_validator("table")
    @classmethod
    def _known(cls, table: str | None) -> str | None:
        from ndm_apps.datasets.motion import NAMES  # numpy comes with it, which configs are checked without

        if table is not None and table not in NAMES:
            raise ValueError(unknown("table", table, NAMES))
        return table

    @model_validator(mode="after")
    def _one_source(self) -> Recording:
        if (self.file is None) == (self.table is None):
            raise ValueError("give exactly one of: file, table")
        return self
