"""Discovery in the user's own data frames: ``discover(frame) -> Discovery``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import sympy
from pydantic import ValidationError

from ndm_apps.errors import FieldError, InputError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.base import Schema
from ndm_apps.plugins.physics import columns, pictures
from ndm_apps.plugins.physics.approximate import Approximate
from ndm_apps.plugins.physics.atoms import NUMPY
from ndm_apps.plugins.physics.dimensions import approximations, described
from ndm_apps.plugins.physics.invariants import Discovery as Evidence
from ndm_apps.plugins.physics.opinions import search
from ndm_apps.plugins.physics.page import write_page
from ndm_apps.plugins.physics.perturbed import Perturbed
from ndm_apps.plugins.physics.read import Measured, measured
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.source import Columns
from ndm_apps.plugins.physics.table import Table
from ndm_apps.plugins.physics.tex import document
from ndm_apps.wording import one_line, short

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class Discovery:
    """What was found in a data frame.

    Attributes
    ----------
    result
        Everything in JSON values, as in the ``result.json`` of a run: verdict, laws with errors, evidence, noise.
    evidence
        What it rests on: spectra, dictionaries, tests.
    measured
        The data as they were understood.
    nearly
        What holds approximately, if nothing holds exactly, with decay rates or drifts.

    Examples
    --------
    A mass on a spring, started at fifteen energies:

    >>> import pandas as pd
    >>> t = np.tile(np.linspace(0, 6, 40), 15)
    >>> size = np.repeat(np.linspace(1, 2, 15), 40)
    >>> frame = pd.DataFrame({"trajectory": size, "t": t, "x": size * np.sin(2 * t), "v": 2 * size * np.cos(2 * t)})
    >>> found = discover(frame, state=["x", "v"], degree=2)
    >>> found.n_conserved, found.constraints, found.approximate
    (1, (), ())
    >>> law = found.laws[0]
    >>> (law / law.coeff(sympy.Symbol("v"), 2)).expand()
    v**2 + 4*x**2

    Its value in each row of other data, constant along a trajectory that obeys the same law:

    >>> other = pd.DataFrame({"x": [3.0, 0.0, 3.0], "v": [0.0, 6.0, 6.0]})
    >>> energy = found.predict(other).iloc[:, 0]
    >>> (energy / energy[0]).round(6).tolist()
    [1.0, 1.0, 2.0]

    What is missing follows from the law: the speed at x = 0, of a mass let go at x = 3.

    >>> float(sympy.solve(law.subs("x", 0) - law.subs({"x": 3, "v": 0}), "v")[-1].round(6))
    6.0
    """

    result: dict[str, Any]
    evidence: Evidence
    measured: Measured
    nearly: tuple[Approximate | Perturbed, ...] = ()

    @property
    def verdict(self) -> str:
        """The outcome in one sentence, or two."""
        return str(self.result["verdict"])

    @property
    def laws(self) -> tuple[sympy.Expr, ...]:
        """The conserved quantities, functionally independent, in symbols named as the columns."""
        return tuple(law.expression for law in self.evidence.laws)

    @property
    def approximate(self) -> tuple[sympy.Expr, ...]:
        """What is conserved but for a decay or a perturbation; empty where something is conserved exactly.

        ``result["approximate"]`` has their rates, half-lives and drifts.
        """
        return tuple(law.expression for law in self.nearly)

    @property
    def constraints(self) -> tuple[sympy.Expr, ...]:
        """What has the same value on all data."""
        return tuple(law.expression for law in self.evidence.constraints)

    @property
    def n_conserved(self) -> int:
        """The number of independent conserved quantities."""
        return len(self.evidence.laws)

    @property
    def deviations(self) -> tuple[dict[str, float], ...]:
        """For each law, the standard deviations of its coefficients by term; that of the largest is 0, it is fixed."""
        return tuple(dict(law.deviations) for law in self.evidence.laws)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the value of each law in each row of a frame with the same columns; NaN where a value is missing.

        A law keeps its value along a trajectory that obeys the same equations. Approximate laws are there, too.

        Parameters
        ----------
        frame
            The columns that the laws were found in, in the same units (angles in degrees become radians as they did
            there). Columns of velocities that were derived from positions must be given.

        Returns
        -------
        pandas.DataFrame
            One column for each law, named by its formula; the rows of ``frame``.

        Raises
        ------
        InputError
            A column is missing or holds no numbers.
        """
        import pandas as pd

        values = {}
        for one in self.measured.columns:
            if one.header not in frame.columns:
                raise InputError(f"frame: no column {one.header!r}, must have those that the laws were found in")
            values[one.symbol] = columns.numbers(frame[one.header], one.header) * one.factor
        found = {}
        for law in (*self.laws, *self.approximate):
            tree = parse_expression(str(law), list(values))
            with np.errstate(all="ignore"):
                found[str(law)] = np.broadcast_to(tree.evaluate(values, NUMPY, np.float64), len(frame))
        return pd.DataFrame(found, index=frame.index)

    def tex(self) -> str:
        """Return the laws as a LaTeX document."""
        return document(self.result, self.measured.name)

    def report(self, path: str | Path) -> Path:
        """Write a page of the verdict, the laws with their errors, the figures, and what was read; return its path."""
        shown = self.measured.data.take(self.evidence.parts.judges)
        drawn = [draw(self.evidence, shown) for draw in (pictures.portrait, pictures.levels, pictures.drift)]
        spectrum = pictures.spectrum(self.evidence)
        return write_page(Path(path), self.result, self.measured.name, [one for one in (spectrum, *drawn) if one])


def discover(
    frame: pd.DataFrame,
    state: Sequence[str] = (),
    time: str = "t",
    trajectory: str = "trajectory",
    angles: Sequence[str] | None = None,
    *,
    units: Mapping[str, str] | None = None,
    error: Mapping[str, float] | None = None,
    velocities: bool = False,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    **settings: Any,
) -> Discovery:
    """Find the conserved quantities in a data frame with one row for each measurement.

    Parameters
    ----------
    frame
        Columns of times, of trajectories and of measurements.
    state
        The measured columns; by default all others.
    time, trajectory
        Columns of times and trajectories. Without the latter, a new trajectory begins where time goes back.
    angles
        Columns measured modulo 2 pi; by default those that jump by 2 pi or 360, and those in units of angle.
    units
        Units of columns, such as ``{"v": "m/s"}``.
    error
        Known standard deviations of the measurement; else they are estimated.
    velocities
        Add the velocity of each column of the state, from a local fit.
    seed
        Seed of every random choice.
    progress
        Called with searches done, searches in all, and a text.
    settings
        Of the method, such as ``degree=3`` or ``seconds=10``; see
        :class:`~ndm_apps.plugins.physics.schema.SpectralSettings`.

    Raises
    ------
    InputError
        The frame or an argument is wrong; in one line.

    Examples
    --------
    >>> import pandas as pd
    >>> t = np.tile(np.linspace(0, 6, 40), 15)
    >>> size = np.repeat(np.linspace(1, 2, 15), 40)
    >>> frame = pd.DataFrame({"trajectory": size, "t": t, "x": size * np.sin(t), "v": size * np.cos(t)})
    >>> found = discover(frame, state=["x", "v"], degree=2)
    >>> (found.laws[0] / found.laws[0].coeff(sympy.Symbol("x"), 2)).expand()
    v**2 + x**2
    """
    wanted = _validated(
        Columns, time=time, trajectory=trajectory, state=tuple(state), units=dict(units or {}),
        angles=None if angles is None else tuple(angles), error=dict(error or {}), velocities=velocities,
    )  # fmt: skip
    chosen = _validated(SpectralSettings, **settings)
    data = measured(Table(_frame(frame), {}), wanted, "frame", "frame")
    draws = np.random.default_rng([seed, 1]).spawn(2)[1]
    opinions = search(data.data, chosen, draws, progress, known_noise=data.noise, allowed=data.allows)
    found = opinions.found
    nearly = approximations(found, data)
    result = opinions.told(described(found, data, nearly))
    return Discovery(result, found, data, nearly)


def _frame(frame: Any) -> pd.DataFrame:
    import pandas as pd

    given = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    if not isinstance(given, pd.DataFrame):
        try:
            given = pd.DataFrame(given)
        except (ValueError, TypeError):
            raise InputError(f"frame: got {type(frame).__name__}, must be a data frame") from None
    return given.reset_index(drop=True).set_axis([str(header) for header in given.columns], axis=1)


_S = TypeVar("_S", bound=Schema)


def _validated(schema: type[_S], **values: Any) -> _S:
    try:
        return schema(**values)
    except ValidationError as error:
        first = error.errors()[0]
        inner = first.get("ctx", {}).get("error")
        if isinstance(inner, FieldError):
            raise InputError(f"{'.'.join(map(str, inner.path))}: {inner}") from None
        key = ".".join(map(str, first["loc"]))
        raise InputError(one_line(f"{key}: got {short(first['input'])}: {first['msg']}")) from None
