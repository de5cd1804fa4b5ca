"""The domain's part of ``result.json`` for the geometry of motion, and what is scored against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor

from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.atoms import NUMPY
from ndm_apps.plugins.physics.kinetic.analysis import Geometry
from ndm_apps.plugins.physics.kinetic.counting import independent_laws
from ndm_apps.plugins.physics.kinetic.formula import (
    LEFT_OUT,
    LEFT_OUT_NOISY,
    energy_formula,
    metric_formula,
    momentum_formula,
    printed,
)
from ndm_apps.plugins.physics.kinetic.learning import Learned
from ndm_apps.plugins.physics.kinetic.settings import KineticColumns, KineticTruth
from ndm_apps.plugins.physics.kinetic.symmetry import drift
from ndm_apps.plugins.physics.kinetic.verdict import broken_by_potential, curvature_range, cyclic_coordinates, verdict

#: Residuals of Killing fields that the result lists.
LISTED = 8


def result_values(geometry: Geometry, columns: KineticColumns) -> dict[str, Any]:
    """Return what was found as JSON values."""
    learned, symmetries = geometry.learned, geometry.symmetries
    drifts = (*symmetries.drifts, *geometry.quadratic_drifts[geometry.quadratic.reducible :])
    return {
        "n_conserved": independent_laws(geometry),
        "worst_drift": max((geometry.energy_drift, *drifts)),
        "invariants": _invariants(geometry, columns),
        "constraints": [],
        "approximate": None,
        "verdict": verdict(geometry),
        "noise": _noise(learned, columns),
        "kinetic": {**_learned(learned, columns), **_geometry(geometry)},
    }


def refused_values(learned: Learned, columns: KineticColumns, reason: str) -> dict[str, Any]:
    """Return the result where the motions have no kinetic metric and potential."""
    return {
        "n_conserved": 0,
        "worst_drift": None,
        "invariants": [],
        "constraints": [],
        "approximate": None,
        "verdict": f"No kinetic metric and potential explain the motions: {reason}.",
        "noise": _noise(learned, columns),
        "kinetic": _learned(learned, columns) | {"metric": None},
    }


def score(
    geometry: Geometry, truth: KineticTruth, columns: KineticColumns, parameters: dict[str, float]
) -> dict[str, Any]:
    """Return what of the geometry is right: keys beside those of ``kinetic`` in the result."""
    found = len(geometry.symmetries.metric), len(geometry.symmetries.both)
    return {
        "metric_error": metric_error(geometry, truth, columns, parameters),
        "metric_symmetries_true": truth.metric_symmetries,
        "symmetries_true": truth.symmetries,
        "counts_right": found == (truth.metric_symmetries, truth.symmetries),
    }


def metric_error(
    geometry: Geometry, truth: KineticTruth, columns: KineticColumns, parameters: dict[str, float]
) -> float:
    """Return the relative root mean square error of the metric, at the factor that makes it least."""
    names = [*columns.positions, *parameters]
    values = {
        **{name: np.float64(value) for name, value in parameters.items()},
        **dict(zip(columns.positions, geometry.points.numpy().T, strict=True)),
    }
    many, n = geometry.points.shape
    true = np.empty((many, n, n))
    for i, row in enumerate(truth.metric):
        for j, text in enumerate(row):
            true[:, i, j] = parse_expression(text, names).evaluate(values, NUMPY, np.float64)
    found = geometry.learned.lagrangian.metric(geometry.points).numpy()
    # In units of the coordinates' speeds, so that all entries count.
    unit = geometry.learned.fitting.samples()[1].std(0).numpy()
    true, found = true * unit * unit[:, None], found * unit * unit[:, None]
    factor = (true * found).sum() / (found**2).sum()
    return float(np.sqrt(((factor * found - true) ** 2).sum() / (true**2).sum()))


def _learned(learned: Learned, columns: KineticColumns) -> dict[str, Any]:
    metric = metric_formula(learned.lagrangian, [sympy.Symbol(name) for name in columns.positions])
    expansion = learned.expansion
    return {
        "solver": "metric_net" if expansion is None else "dictionary",
        "positions": list(columns.positions),
        "velocities": list(columns.velocities),
        "residual": learned.residual,
        "residual_unit": "noise" if learned.noisy else "momenta",
        "solves": learned.solves,
        "dictionary": None if expansion is None else expansion.tier._asdict(),
        "lagrangians": None if expansion is None else expansion.many,
        "metric": None if metric is None else _table(metric, LEFT_OUT_NOISY if learned.noise else LEFT_OUT),
    }


def _geometry(geometry: Geometry) -> dict[str, Any]:
    symmetries, quadratic = geometry.symmetries, geometry.quadratic
    low, middle, high = curvature_range(geometry)
    both, jacobi = symmetries.both.spectrum, geometry.jacobi_curvature
    count = len(symmetries.both)
    return {
        "curvature": {"mean": float(geometry.curvature.mean()), "q10": low, "median": middle, "q90": high},
        "killing_metric": symmetries.metric.spectrum[:LISTED].tolist(),
        "killing_both": both[:LISTED].tolist(),
        "metric_symmetries": len(symmetries.metric),
        "symmetries": count,
        "next_residual": float(both[count]) if count < len(both) else None,
        "algebras": list(geometry.algebras),
        "symmetries_of_metric": [one.text for one in geometry.of_metric],
        "symmetries_of_both": [one.text for one in geometry.of_both],
        "broken_by_potential": broken_by_potential(geometry),
        "cyclic_coordinates": cyclic_coordinates(geometry),
        "momentum_drifts": list(symmetries.drifts),
        "momentum_drift": max(symmetries.drifts, default=None),
        "energy_drift": geometry.energy_drift,
        "quadratic": {
            "reducible": quadratic.reducible,
            "irreducible": quadratic.irreducible,
            "residuals": quadratic.spectrum[:LISTED].tolist(),
            "drifts": list(geometry.quadratic_drifts),
        },
        "bound": None if geometry.bound is None else geometry.bound._asdict(),
        "energy": geometry.energy,
        "jacobi_curvature": _quantiles(jacobi),
        "isometry_residual": geometry.isometry_residual,
        "growth_rate": geometry.growth_rate,
    }


def _quantiles(values: Tensor) -> list[float] | None:
    if not len(values):
        return None
    found: list[float] = values.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=values.dtype)).tolist()
    return found


def _invariants(geometry: Geometry, columns: KineticColumns) -> list[dict[str, Any]]:
    """Energy and momenta of simple symmetries as formulas; none for networks."""
    learned = geometry.learned
    symbols, rates = ([sympy.Symbol(name) for name in part] for part in (columns.positions, columns.velocities))
    left_out = LEFT_OUT_NOISY if learned.noise else LEFT_OUT
    energy = energy_formula(learned.lagrangian, symbols, rates, left_out)
    if energy is None:
        return []
    found = [(energy, geometry.energy_drift)]
    q, v = learned.judging.samples()
    for one in geometry.of_both:
        formula = momentum_formula(learned.lagrangian, one, symbols, rates, left_out)
        value = (learned.lagrangian.momentum(q, v) * one(q)).sum(-1).numpy()
        if formula is not None:
            found.append((formula, drift(value, learned.judging.owners())))
    return [
        {"expression": str(formula), "latex": sympy.latex(formula), "drift": size, "coefficients_sd": None}
        for formula, size in found
    ]


def _noise(learned: Learned, columns: KineticColumns) -> dict[str, float] | None:
    noise = learned.noise
    if noise is None:
        return None
    names = (*columns.positions, *columns.velocities)
    return dict(zip(names, torch.cat(noise).tolist(), strict=True))


def _table(metric: sympy.Matrix, left_out: float) -> list[list[str]]:
    """Entries of the metric with four digits, without terms that are nothing beside the two diagonal entries."""
    n = metric.shape[0]
    parts = {
        (i, j): [part.as_coeff_Mul() for part in sympy.Add.make_args(metric[i, j])] for i in range(n) for j in range(n)
    }
    sizes = [max(abs(float(c)) for c, _ in parts[k, k]) ** 0.5 for k in range(n)]

    def text(i: int, j: int) -> str:
        kept = [(float(c), part) for c, part in parts[i, j] if abs(float(c)) > left_out * sizes[i] * sizes[j]]
        return str(sympy.Add(*(printed(c) * part for c, part in kept)))

    return [[text(i, j) for j in range(n)] for i in range(n)]
