"""Writes a Lagrangian that was found in a dictionary, and its momenta, as formulas."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from torch import Tensor

from ndm_apps.geometry.dictionary import Dictionary, Polynomials
from ndm_apps.plugins.physics.kinetic.functions import PotentialFunctions
from ndm_apps.plugins.physics.kinetic.lagrangian import ExpandedMetric, ExpandedPotential, Lagrangian
from ndm_apps.plugins.physics.kinetic.words import Named

#: Digits of printed coefficients.
DIGITS = 4
#: Coefficients below this part of the largest are not printed, at no noise and at some.
LEFT_OUT, LEFT_OUT_NOISY = 0.01, 0.05


def metric_formula(lagrangian: Lagrangian, symbols: Sequence[sympy.Symbol]) -> sympy.Matrix | None:
    """Return the metric as a table of expressions; None if it is a network."""
    metric = lagrangian.metric
    if not isinstance(metric, ExpandedMetric):
        return None
    terms, n = _terms(metric.functions, symbols), len(symbols)
    return sympy.Matrix(n, n, lambda i, j: _sum(metric.coefficients[i, j], terms))


def energy_formula(
    lagrangian: Lagrangian, symbols: Sequence[sympy.Symbol], rates: Sequence[sympy.Symbol], left_out: float = LEFT_OUT
) -> sympy.Expr | None:
    """Return the energy as an expression of positions and velocities; None if it is a network."""
    metric, potential = metric_formula(lagrangian, symbols), lagrangian.potential
    if metric is None or not isinstance(potential, ExpandedPotential):
        return None
    velocity = sympy.Matrix(rates)
    # A constant has no place among the functions of a potential; expanding its powers may give one.
    terms = _sum(potential.coefficients, _terms(potential.functions, symbols))
    return _pruned((velocity.T * metric * velocity)[0] / 2 + terms, left_out)


def momentum_formula(
    lagrangian: Lagrangian,
    field: Named,
    symbols: Sequence[sympy.Symbol],
    rates: Sequence[sympy.Symbol],
    left_out: float = LEFT_OUT,
) -> sympy.Expr | None:
    """Return the momentum g(xi, q') of a simple field; None if the metric is a network."""
    metric = metric_formula(lagrangian, symbols)
    if metric is None:
        return None
    n = len(symbols)
    components = [
        sympy.Float(float(field.constant[i])) + sum(float(field.linear[i, j]) * symbols[j] for j in range(n))
        for i in range(n)
    ]
    return _pruned((sympy.Matrix(components).T * metric * sympy.Matrix(rates))[0], left_out)


def _terms(functions: Dictionary, symbols: Sequence[sympy.Symbol]) -> list[sympy.Expr]:
    """Each function as an expression."""
    if isinstance(functions, PotentialFunctions):
        r = sympy.sqrt(sympy.Add(*(x**2 for x in symbols)))
        distances = [1 / r, sympy.log(r), r] if functions.radial else []
        return [*_terms(functions.polynomials, symbols)[1:], *distances]
    if not isinstance(functions, Polynomials):
        raise TypeError(f"functions must be polynomials, got {type(functions).__name__}")
    terms = []
    for row in functions.table.tolist():
        factors = [
            _factor(x, power, float(c), float(s), k in functions.angles)
            for k, (x, power, c, s) in enumerate(zip(symbols, row, functions.centre, functions.scale, strict=True))
        ]
        terms.append(sympy.prod(factors))
    return terms


def _factor(x: sympy.Symbol, power: int, centre: float, scale: float, angle: bool) -> sympy.Expr:
    if not angle:
        return ((x - centre) / scale) ** power
    if power == 0:
        return sympy.Integer(1)
    return sympy.sin((power + 1) // 2 * x) if power % 2 else sympy.cos(power // 2 * x)


def _sum(coefficients: Tensor, terms: Sequence[sympy.Expr]) -> sympy.Expr:
    return sympy.expand(sum(float(c) * term for c, term in zip(coefficients, terms, strict=True)))


def _pruned(formula: sympy.Expr, left_out: float) -> sympy.Expr:
    """Leave out constants and small coefficients, and round the others."""
    parts = [part.as_coeff_Mul() for part in sympy.Add.make_args(sympy.expand(formula)) if part.free_symbols]
    largest = max((abs(float(c)) for c, _ in parts), default=0.0)
    kept = [(c, part) for c, part in parts if abs(float(c)) > left_out * largest]
    return sympy.Add(*(printed(float(c)) * part for c, part in kept))


def printed(value: float) -> sympy.Expr:
    """Return a coefficient with :data:`DIGITS` digits, as an integer where that is one."""
    rounded = float(f"{value:.{DIGITS}g}")
    return sympy.Integer(int(rounded)) if rounded == int(rounded) else sympy.Float(rounded, DIGITS)
