"""Dimensional analysis of formulas: the unit of each coefficient, and what no choice of units can make right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import sympy

from ndm_apps.plugins.physics.approximate import Approximate, approximate_law
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.kepler import attracted, orbits
from ndm_apps.plugins.physics.perturbed import Perturbed, perturbed_laws
from ndm_apps.plugins.physics.read import Measured
from ndm_apps.plugins.physics.results import result_values
from ndm_apps.plugins.physics.units import Unit


class _UnknownUnitError(Exception):
    """A column without a unit occurs."""


def approximations(found: Discovery, measured: Measured) -> tuple[Approximate | Perturbed, ...]:
    """Return the laws that hold approximately, if none holds exactly: one that decays, or else perturbed ones."""
    if found.laws:
        return ()
    slow = approximate_law(measured.data)
    return tuple(perturbed_laws(measured.data, found)) if slow is None else (slow,)


def described(
    found: Discovery, measured: Measured, nearly: Sequence[Approximate | Perturbed] | None = None
) -> dict[str, Any]:
    """Return what was found in measured data as JSON values: what was read, and the laws with their units.

    If a law is one of bodies around a centre, Kepler's laws are told orbit by orbit.

    Parameters
    ----------
    found
        What is conserved.
    measured
        The data.
    nearly
        What is approximately; by default :func:`approximations`.
    """
    nearly = approximations(found, measured) if nearly is None else nearly
    values = result_values(found) | {"data": measured.values(), "orbits": None}
    for entry, law in zip(values["invariants"], found.laws, strict=True):
        entry["units"] = annotate(law.expression, measured.units)
    if not found.laws:
        values["approximate"] = [_entry(law, measured) for law in nearly]
        values["verdict"] += _verdict(nearly, measured)
    formulas = (law.formula for law in (*found.laws, *nearly))
    columns = next(filter(None, (attracted(formula, found.kinds) for formula in formulas)), None)
    if columns is not None:
        seen = dict(zip(measured.labels, orbits(measured.data, *columns), strict=True))
        values["orbits"] = {label: one.values() for label, one in seen.items() if one is not None}
    return values


def _entry(law: Approximate | Perturbed, measured: Measured) -> dict[str, Any]:
    values = law.values() if isinstance(law, Approximate) else law.values(measured.labels)
    return values | {"units": annotate(law.expression, measured.units)}


def _verdict(nearly: Sequence[Approximate | Perturbed], measured: Measured) -> str:
    perturbed = [law for law in nearly if isinstance(law, Perturbed)]
    if perturbed:
        listed = ", ".join(f"{law.expression} (drift {law.drift:.1e})" for law in perturbed)
        return f" Nearly conserved, but for a perturbation: {listed}."
    for slow in nearly:
        values = slow.values()
        unit = f" {measured.time.unit}" if measured.time.unit else ""
        return (
            f" Approximately conserved is {slow.expression}: it decays to {slow.equilibrium:.3g} with half-life "
            f"{values['half_life']:.3g} ± {values['half_life_sd']:.1g}{unit}."
        )
    return ""


def annotate(formula: sympy.Expr, units: Mapping[str, Unit]) -> dict[str, Any] | None:
    """Return the units of a sum and of its coefficients.

    The sum is scaled so that one coefficient is 1: it has the unit of that term, and every other coefficient the
    quotient of the two. A law holds in any units, with coefficients that have these.

    Parameters
    ----------
    formula
        A law.
    units
        Units of columns by name.

    Returns
    -------
    ``value``, ``coefficients`` (by term) and ``impossible``: sentences on functions of quantities with a dimension.
    None if a column of the law has no unit.

    Examples
    --------
    >>> from ndm_apps.plugins.physics.units import parse_unit
    >>> q, p = sympy.symbols("q p")
    >>> annotate(p**2 / 2 - sympy.cos(q), {"q": parse_unit("rad"), "p": parse_unit("rad/s")})
    {'value': '1', 'coefficients': {'cos(q)': '1', 'p**2': 's**2'}, 'impossible': []}
    """
    impossible: list[str] = []
    found: dict[str, tuple[float, Unit]] = {}
    try:
        for part in sympy.Add.make_args(formula):
            coefficient, term = part.as_coeff_Mul()
            found[str(term)] = abs(float(coefficient)), _unit(term, units, impossible)
    except _UnknownUnitError:
        return None
    _, whole = max(found.values(), key=lambda one: one[0])
    return {
        "value": str(whole),
        "coefficients": {term: str(whole / unit) for term, (_, unit) in sorted(found.items())},
        "impossible": list(dict.fromkeys(impossible)),
    }


def _unit(term: sympy.Expr, units: Mapping[str, Unit], impossible: list[str]) -> Unit:
    if term.is_Symbol:
        if term.name not in units:
            raise _UnknownUnitError
        return units[term.name]
    if term.is_Mul:
        total = Unit()
        for factor in term.args:
            total = total * _unit(factor, units, impossible)
        return total
    if term.is_Pow and term.exp.is_Rational:
        return _unit(term.base, units, impossible) ** Fraction(int(term.exp.p), int(term.exp.q))
    # A number in a sum, such as a softening length, has whatever unit the rest has.
    inside = [_unit(argument, units, impossible) for argument in term.args if not argument.is_Number]
    if term.is_Add:
        if len({one.dimension for one in inside}) > 1:
            impossible.append(f"{term} adds quantities of different dimensions")
        return inside[0]
    if isinstance(term, (sympy.sin, sympy.cos, sympy.exp)) and not inside[0].is_dimensionless:
        impossible.append(f"{term} is a function of a quantity in {inside[0]}: its scale is hidden")
    return Unit()
