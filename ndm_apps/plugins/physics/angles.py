"""Which columns are angles, and their values in radians."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics import columns as find
from ndm_apps.plugins.physics.columns import Column
from ndm_apps.plugins.physics.source import Columns
from ndm_apps.plugins.physics.units import angle_factor, parse_unit
from ndm_apps.wording import short

Array = NDArray[np.float64]

#: A column is an angle if its jumps come within this part of a period to one.
_NEAR_PERIOD = 0.25
#: Names of columns that are worth a question. A swinging angle never jumps.
_LOOKS_LIKE_ONE = re.compile(r"(theta|phi|psi|alpha|beta|angle)_?\d*", re.IGNORECASE)


def in_radians(
    state: Sequence[Column], values: Array, starts: NDArray[np.intp], wanted: Columns, notes: list[str]
) -> tuple[list[Column], Array, frozenset[str]]:
    """Bring angles to radians in (-pi, pi]: those declared, or else those that jump by a turn or have such a unit.

    Parameters
    ----------
    state
        The columns.
    values
        Shape ``(samples, columns)``.
    starts
        Number of each trajectory's first sample.
    wanted
        Which columns are said to be angles.
    notes
        Gets what was done, in sentences.

    Returns
    -------
    The columns and their values with angles in radians, and the symbols of the angles.

    Raises
    ------
    InputError
        There is no such column, or its unit is none of angle.
    """
    declared = None if wanted.angles is None else {find.named(a, state, "angle").symbol for a in wanted.angles}
    columns, angles, values = list(state), set(), values.copy()
    for n, one in enumerate(state):
        per_unit = None if one.unit is None else angle_factor(one.unit)
        jump = _turn_of_jumps(values[:, n], starts)
        if declared is None:
            is_angle = per_unit is not None or jump is not None
            if is_angle:
                why = f"its unit is {one.unit}" if per_unit is not None else f"it jumps by {jump:.4g}"
                notes.append(
                    f"{one.symbol} is taken for an angle, because {why} (name the angles, or none, if it is not)."
                )
        else:
            is_angle = one.symbol in declared
        if not is_angle:
            if declared is None and _LOOKS_LIKE_ONE.fullmatch(one.symbol) and np.abs(values[:, n]).max() <= np.pi:
                notes.append(f"{one.symbol} is taken for a number; if it is an angle in radians, name it as one.")
            continue
        if one.unit is not None and not parse_unit(one.unit).is_dimensionless:
            raise InputError(f"column {short(one.header)}: an angle in {one.unit}, must be in rad or deg")
        factor = per_unit or (np.pi / 180 if jump == 360 else 1.0)
        if factor != 1.0:
            notes.append(f"{one.symbol} was brought to radians.")
        error = None if one.error is None else one.error * factor
        columns[n] = Column(one.header, one.symbol, "rad", error, factor)
        values[:, n] = np.pi - np.mod(np.pi - values[:, n] * factor, 2 * np.pi)
        angles.add(one.symbol)
    return columns, values, frozenset(angles)


def _turn_of_jumps(values: Array, starts: NDArray[np.intp]) -> float | None:
    """Return the period of a column that jumps by 2 pi or 360 and is otherwise smooth; None if it does not."""
    steps = np.abs(np.delete(np.diff(values), starts[1:] - 1))
    reach = float(np.ptp(values))
    for turn in (2 * np.pi, 360.0):
        jumps = steps > (1 - _NEAR_PERIOD) * turn
        if reach <= 1.001 * turn and jumps.any() and (steps[~jumps] < _NEAR_PERIOD * turn).all():
            return turn
    return None
