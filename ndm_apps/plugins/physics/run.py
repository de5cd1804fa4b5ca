"""One physics run: simulate and measure the system, find what is conserved, judge it on held-out trajectories."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import sympy

from ndm_apps.plugins.base import Dataset, Result, RunContext
from ndm_apps.plugins.physics import pictures
from ndm_apps.plugins.physics.discover import Discovery, Split, find_invariants, split
from ndm_apps.plugins.physics.laws import Law
from ndm_apps.plugins.physics.leaf import drift
from ndm_apps.plugins.physics.schema import PhysicsTask, SpectralSettings
from ndm_apps.plugins.physics.search import CHOSEN_EXACT, CHOSEN_NOISY, Spectrum
from ndm_apps.plugins.physics.simulate import Trajectories, simulate

#: Eigenvalues of each search that the result lists.
LISTED = 12


def run(task: PhysicsTask, method: str, settings: SpectralSettings, context: RunContext) -> Result:
    """Run the method on one system; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    A run takes seconds: one that is resumed begins again.
    """
    context.checkpoint.load()
    choose, search = np.random.default_rng([context.seed, 1]).spawn(2)
    context.progress(0, 1, "simulating")
    data = simulate(task.system, task.noise, context.seed)
    clean = simulate(task.system, 0.0, context.seed) if task.noise else data
    parts = split(len(data.values), settings.held_out, choose)
    if context.evaluate == "validation":
        rest = np.sort(np.concatenate([parts.fitting, parts.choosing]))
        data, clean = data.take(rest), clean.take(rest)
        parts = split(len(rest), settings.held_out, choose)
    found = find_invariants(data, parts, settings, search, context.progress)
    for spectrum in found.spectra:
        if not spectrum.together:
            kind = "exact" if spectrum.exact else "noisy"
            context.log(f"least_eigenvalue/{kind}", float(spectrum.eigenvalues[0]), spectrum.degree)
    for degree in found.degrees:
        context.log("n_conserved", sum(law.degree <= degree for law in found.laws), degree)
    values = _values(task, found, parts, clean.take(parts.judging))
    shown = data.take(parts.judging)
    # What stays of the run: the formulas, and the coefficients behind them.
    formulas = [{"expression": str(law.expression), "coefficients": law.vector} for law in found.laws]
    context.checkpoint.save({"invariants": formulas}, len(found.degrees))
    return Result(
        values=values,
        pictures={
            "spectrum": pictures.spectrum(found),
            "portrait": pictures.portrait(found, shown),
            "drift": pictures.drift(found, shown),
        },
        dataset=_dataset(data),
    )


def _values(task: PhysicsTask, found: Discovery, parts: Split, clean: Trajectories) -> dict[str, Any]:
    truth = None if task.truth is None else task.truth.n_conserved
    drifts = [law.assessment.drift for law in found.laws]
    return {
        "n_conserved": len(found.laws),
        "n_conserved_true": truth,
        "correct": None if truth is None else len(found.laws) == truth,
        "worst_drift": max(drifts, default=None),
        "invariants": [_invariant(law, found, clean) for law in found.laws],
        "constraints": [
            *({"expression": name, "value": value} for name, value in found.constant.items()),
            *(_constraint(law, found, clean) for law in found.constraints),
        ],
        # Laws that hold but for a slow decay are not looked for: null, where an empty list would claim there are none.
        "approximate": None,
        "verdict": verdict(found),
        "evidence": _evidence(found, parts),
        "noise": found.noise,
    }


def _invariant(law: Law, found: Discovery, clean: Trajectories) -> dict[str, Any]:
    return {
        "expression": str(law.expression),
        "latex": sympy.latex(law.expression),
        "drift": law.assessment.drift,
        "drift_without_noise": drift(found.evaluate(law.vector, clean.values)),
        "coefficients_sd": law.deviations,
    }


def _constraint(law: Law, found: Discovery, clean: Trajectories) -> dict[str, Any]:
    return {
        "expression": str(law.expression),
        "latex": sympy.latex(law.expression),
        "value": float(found.evaluate(law.vector, clean.values).mean()),
        "coefficients_sd": law.deviations,
    }


def _evidence(found: Discovery, parts: Split) -> dict[str, Any]:
    return {
        "dictionary": _dictionary(found),
        "terms": len(found.dictionary),
        "trajectories": {name: len(part) for name, part in vars(parts).items()},
        "spectra": [_spectrum(one) for one in found.spectra],
        "tests": [_test(law) for law in (*found.laws, *found.constraints)],
        "rejected": [{**_test(law), "failed": list(law.failures)} for law in found.rejected],
        "least_changing": {"degree": found.degrees[-1], "noise_free": found.spectra[-1].exact, **vars(found.nearest)},
    }


def _spectrum(one: Spectrum) -> dict[str, Any]:
    return {
        "degree": one.degree,
        "of": "constraints" if one.together else "laws",
        "noise_free": one.exact,
        "eigenvalues": one.eigenvalues[:LISTED].tolist(),
        "threshold": CHOSEN_EXACT if one.exact else CHOSEN_NOISY,
    }


def _test(law: Law) -> dict[str, Any]:
    return {"expression": str(law.expression), "degree": law.degree, "noise_free": law.exact, **vars(law.assessment)}


def _dictionary(found: Discovery) -> str:
    dictionary = found.dictionary
    factors = [
        f"{atom.function}({dictionary.columns[atom.column]})" if atom.function else dictionary.columns[atom.column]
        for atom in dictionary.atoms
    ]
    return f"polynomials up to degree {found.degrees[-1]} in {', '.join(factors)}"


def verdict(found: Discovery) -> str:
    """Return the outcome in one sentence."""
    among = f"among {_dictionary(found)}"
    if not found.laws:
        return (
            f"No conserved quantity {among}: even the least changing one varies {found.nearest.drift:.2g} times as "
            "much along held-out trajectories as between them."
        )
    many = len(found.laws)
    head = "One conserved quantity" if many == 1 else f"{many} functionally independent conserved quantities"
    listed = ", ".join(f"{law.expression} (drift {law.assessment.drift:.1e})" for law in found.laws)
    return f"{head} {among}: {listed} on held-out trajectories."


def _dataset(data: Trajectories) -> Dataset:
    digest = hashlib.sha256(np.ascontiguousarray(data.values).tobytes()).hexdigest()
    samples = data.values.shape[0] * data.values.shape[1]
    return Dataset("trajectories", "simulated from the equations of the task", digest, samples)
