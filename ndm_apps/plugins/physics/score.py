"""Scores found laws against a task's truth. The method sees nothing of this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.expression import FUNCTIONS, parse_expression
from ndm_apps.plugins.physics.identity import Values, is_affine, is_polynomial
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.schema import System, Truth
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: A formula is a law if its unit gradients leave the span of the true ones by no more than this (root mean square).
SINE = 0.03
#: Part of a unit gradient, or of the largest coefficient, that rounding errors may make up.
NEGLIGIBLE = 1e-6
#: Highest degree of the polynomials in textbook laws that a formula may be.
DEGREE = 3
#: Samples at which gradients are compared.
POINTS = 400
#: Largest variation along clean trajectories, in units of the terms', of what is exactly conserved.
EXACT = 1e-7

_SYMPY: dict[str, Any] = {
    name: getattr(sympy, {"abs": "Abs", "min": "Min", "max": "Max"}.get(name, name)) for name in FUNCTIONS
}


def textbook(truth: Truth, system: System) -> list[sympy.Expr]:
    """Return the true laws as sympy expressions of the columns, parameters as exact numbers.

    Built from the parsed trees; no text is handed to sympy's own parser.
    """
    known: dict[str, Any] = {"pi": sympy.pi, "e": sympy.E}
    known |= {name: _exact(value) for name, value in system.parameters.items()}
    known |= {name: sympy.Symbol(name) for name in system.state}
    names = [*system.state, *system.parameters]
    return [parse_expression(text, names).evaluate(known, _SYMPY, _exact) for text in truth.invariants]


def score(
    found: Sequence[sympy.Expr],
    deviations: Sequence[Mapping[str, float]],
    truth: Truth,
    system: System,
    clean: Trajectories,
    rng: np.random.Generator,
    measured: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:
    """Compare found laws with the truth.

    Parameters
    ----------
    found
        The formulas as they are reported.
    deviations
        For each, the standard deviations of its coefficients by the text of their terms.
    truth, system
        Of the task. The truth must list as many formulas as there are laws.
    clean
        Trajectories without noise.
    rng
        Draws the points at which formulas are compared in many digits.
    measured
        For each formula, its coefficients before they were rounded.

    Returns
    -------
    dict
        ``spanned``
            Functionally independent true laws among the found formulas, over their true number; None if that is 0. A
            formula is a true law if the root mean square, over clean samples, of the part of its unit gradient outside
            the span of the true laws' gradients (columns in units of their standard deviations) is at most
            :data:`SINE`.
        ``worst_sine``
            The largest such part of a true law's gradient outside the span of the found ones'; None without laws.
        ``spurious``
            Found formulas that are no laws, or depend on those before.
        ``textbook``
            Found formulas that equal, up to scale and an added constant, one of the truth's formulas, over the number
            of true laws. Equality is exact: coefficients must have been rounded to exact numbers.
        ``combinations``
            The same for formulas that are a polynomial, of degree :data:`DEGREE` at most, in the truth's formulas.
        ``coefficients``
            ``worst_error``, the largest relative error of a coefficient against the nearest formula of the same terms
            that is exactly conserved; ``compared``, how many coefficients were, and how many of these are
            ``within_1_percent`` and ``within_2_sd`` of it. The largest coefficient of a formula sets its scale and
            does not count; the error of a term that should not be there is taken relative to it. A formula whose
            terms hold no exact law adds to ``without_exact_form``. A rounded coefficient may be exact whatever its
            standard deviation; what that is worth, the coefficients before they were rounded tell: of so many
            ``measured``, each with a standard deviation and equal ones counted once, these are
            ``measured_within_2_sd``.
        ``sines``
            For each found formula, the part of its gradient outside the span of the true ones'.
    """
    laws = textbook(truth, system)
    symbols = [sympy.Symbol(name) for name in system.state]
    points = clean.values[np.linspace(0, len(clean.values) - 1, min(POINTS, len(clean.values))).astype(int)]
    spreads = clean.values.std(axis=0)
    true_gradients, own = (gradients(formulas, symbols, points) * spreads[:, None] for formulas in (laws, found))
    finite = np.isfinite(true_gradients).all(axis=(1, 2)) & np.isfinite(own).all(axis=(1, 2))
    true_gradients, own = true_gradients[finite], own[finite]
    count = truth.n_conserved
    sines = [novelty(own[..., n], true_gradients) for n in range(len(found))]
    covered: list[int] = []
    for n, sine in enumerate(sines):
        # Estimates of one law lie no farther from each other than both from the law.
        least = NEGLIGIBLE + sine + max((sines[other] for other in covered), default=0.0)
        if sine <= SINE and novelty(own[..., n], own[..., covered]) > least:
            covered.append(n)
    # Off the trajectories: along one, every law has one value.
    values = Values(symbols, points[finite] * rng.uniform(0.9, 1.1, points[finite].shape))
    equal = [_equal(found[n], laws, values) for n in covered]
    return {
        "spanned": len(covered) / count if count else None,
        "worst_sine": max((novelty(true_gradients[..., n], own) for n in range(count)), default=None),
        "spurious": len(found) - len(covered),
        "textbook": equal.count("textbook") / count if count else None,
        "combinations": (len(equal) - equal.count("")) / count if count else None,
        "coefficients": _coefficients(found, deviations, symbols, clean)
        | _measured(found, measured, deviations, symbols, clean),
        "sines": sines,
    }


def gradients(formulas: Sequence[sympy.Expr], symbols: Sequence[sympy.Symbol], points: Array) -> Array:
    """Return the gradients of formulas, shape ``(points, columns, formulas)``."""
    found = np.empty((len(points), len(symbols), len(formulas)))
    for n, formula in enumerate(formulas):
        slopes = sympy.lambdify(symbols, [formula.diff(symbol) for symbol in symbols], "numpy", cse=True)
        with np.errstate(all="ignore"):
            for column, slope in enumerate(slopes(*points.T)):
                found[:, column, n] = slope
    return found


def _exact(number: float) -> sympy.Rational:
    return sympy.Rational(repr(number))


def _equal(formula: sympy.Expr, laws: Sequence[sympy.Expr], values: Values) -> str:
    if formula.has(sympy.Float):
        return ""
    if any(is_affine(formula, law, values) for law in laws):
        return "textbook"
    return "combination" if any(is_polynomial(formula, laws, degree, values) for degree in range(1, DEGREE + 1)) else ""


def _coefficients(
    found: Sequence[sympy.Expr],
    deviations: Sequence[Mapping[str, float]],
    symbols: Sequence[sympy.Symbol],
    clean: Trajectories,
) -> dict[str, Any]:
    errors: list[float] = []
    inside = without = 0
    for formula, spread in zip(found, deviations, strict=True):
        terms, values = _parts(formula, symbols)
        sd = np.array([spread.get(str(term), 0.0) for term in terms])
        exact = nearest_exact(terms, values, sd, symbols, clean)
        if exact is None:
            without += 1
            continue
        sizes, largest = np.abs(exact), np.argmax(np.abs(values))
        sizes = np.where(sizes > NEGLIGIBLE * sizes[largest], sizes, sizes[largest])
        rest = np.arange(len(values)) != largest
        errors += (np.abs(values - exact) / sizes)[rest].tolist()
        # Beside two standard deviations, the digits that the clean trajectories leave.
        inside += int((np.abs(values - exact) <= 2.0 * sd + 1e-9 * sizes)[rest].sum())
    return {
        "compared": len(errors),
        "worst_error": max(errors, default=None),
        "within_1_percent": sum(error <= 0.01 for error in errors),
        "within_2_sd": inside,
        "without_exact_form": without,
    }


def _measured(
    found: Sequence[sympy.Expr],
    measured: Sequence[Mapping[str, float]],
    deviations: Sequence[Mapping[str, float]],
    symbols: Sequence[sympy.Symbol],
    clean: Trajectories,
) -> dict[str, int]:
    inside: list[bool] = []
    for formula, values, spread in zip(found, measured, deviations, strict=False):
        terms, _ = _parts(formula, symbols)
        if not values.keys() >= set(map(str, terms)):
            continue  # a term with a number in it, such as log(x**2 + y**2)/2
        raw = np.array([values[str(term)] for term in terms])
        sd = np.array([spread[str(term)] for term in terms])
        exact = nearest_exact(terms, raw, sd, symbols, clean)
        if exact is not None:
            numbers = zip(np.abs(raw).round(12).tolist(), sd.tolist(), np.abs(raw - exact).tolist(), strict=True)
            inside += {value: error <= 2.0 * own for value, own, error in numbers if own > 0.0}.values()
    return {"measured": len(inside), "measured_within_2_sd": sum(inside)}


def _parts(formula: sympy.Expr, symbols: Sequence[sympy.Symbol]) -> tuple[list[sympy.Expr], Array]:
    """Return the terms of a sum without their coefficients, and these."""
    pieces = [one.as_independent(*symbols, as_Add=False) for one in sympy.Add.make_args(formula) if one.free_symbols]
    return [term for _, term in pieces], np.array([float(value) for value, _ in pieces])


def nearest_exact(
    terms: Sequence[sympy.Expr], values: Array, deviations: Array, symbols: Sequence[sympy.Symbol], clean: Trajectories
) -> Array | None:
    """Return the coefficients of the nearest combination of some terms that clean trajectories conserve.

    Near is meant in units of the standard deviations (of the values, where these are 0), at the same value of the
    largest coefficient. None if no combination with that coefficient is conserved.
    """
    function = sympy.lambdify(symbols, list(terms), "numpy", cse=True)
    with np.errstate(all="ignore"):
        features = np.stack(np.broadcast_arrays(*function(*clean.values.T), clean.time)[:-1], axis=-1)
    if not np.isfinite(features).all():
        return None
    scale = features.std(axis=0)
    scale[scale == 0.0] = 1.0
    means = np.add.reduceat(features, clean.starts) / clean.lengths[:, None]
    within = (features - np.repeat(means, clean.lengths, axis=0)) / scale / np.sqrt(len(features))
    sizes, right = np.linalg.svd(np.linalg.qr(within, mode="r"))[1:]
    conserved = right[sizes <= EXACT].T / scale[:, None]
    largest = int(np.argmax(np.abs(values)))
    if not conserved.size or np.abs(conserved[largest]).max() <= EXACT * np.abs(conserved).max():
        return None
    # One combination has the largest coefficient as it is; the others have none of it, and are added as they help.
    lead = conserved[largest]
    base = conserved @ lead / (lead @ lead) * values[largest]
    free = conserved @ np.linalg.svd(lead[None])[2][1:].T
    unit = 1.0 / np.where(deviations > 0.0, deviations, np.abs(values))
    steps = np.linalg.lstsq(free * unit[:, None], (values - base) * unit, rcond=None)[0]
    return base + free @ steps
