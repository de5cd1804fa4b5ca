"""The domain's part of ``result.json``: what was found, in JSON values, and the verdict in one sentence."""

from __future__ import annotations

from typing import Any

import sympy

from ndm_apps.plugins.physics.assessment import drift
from ndm_apps.plugins.physics.forms import name
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.laws import Law
from ndm_apps.plugins.physics.level import CHOSEN_EXACT, CHOSEN_NOISY
from ndm_apps.plugins.physics.search import Spectrum
from ndm_apps.plugins.physics.trajectories import Trajectories

#: Eigenvalues of each search that the result lists.
LISTED = 12


def result_values(found: Discovery, clean: Trajectories | None = None) -> dict[str, Any]:
    """Return what was found as JSON values.

    Parameters
    ----------
    found
        What was found.
    clean
        The judging trajectories without noise, if they are known: drift is told for them, too.
    """
    drifts = [law.assessment.drift for law in found.laws]
    return {
        "n_conserved": len(found.laws),
        "worst_drift": max(drifts, default=None),
        "invariants": [_invariant(law, found.kinds, clean) for law in found.laws],
        "constraints": [
            *({"expression": name, "value": value} for name, value in found.constant.items()),
            *(_constraint(law) for law in found.constraints),
        ],
        "time_dependent": [_growing(law) for law in found.growing],
        # Laws that hold but for a slow decay are not looked for: null, where an empty list would claim there are none.
        "approximate": None,
        "verdict": verdict(found),
        "evidence": _evidence(found),
        "noise": found.noise,
        "notes": list(found.notes),
    }


def _invariant(law: Law, kinds: Kinds, clean: Trajectories | None) -> dict[str, Any]:
    return {
        "expression": str(law.expression),
        # By its form: momentum, angular momentum, energy; null for others.
        "name": name(law.formula, kinds),
        "latex": sympy.latex(law.expression),
        "drift": law.assessment.drift,
        "drift_without_noise": None if clean is None else drift(law.formula(clean.values), clean.starts),
        "coefficients": law.measured,
        "coefficients_sd": law.deviations,
    }


def _constraint(law: Law) -> dict[str, Any]:
    return {
        "expression": str(law.expression),
        "latex": sympy.latex(law.expression),
        "value": law.mean_value,
        "coefficients": law.measured,
        "coefficients_sd": law.deviations,
    }


def _growing(law: Law) -> dict[str, Any]:
    text = str(law.expression)
    return {"expression": f"({text}) - t*rate", "grows": text, "leaf_distance": law.assessment.distance}


def _evidence(found: Discovery) -> dict[str, Any]:
    least = None
    if found.nearest is not None:
        formula, figures = found.nearest
        least = {"dictionary": found.tiers[-1].name, "terms": len(formula.coefficients), **vars(figures)}
    return {
        "dictionaries": [
            {"name": tier.name, "words": tier.words, "terms": len(tier.dictionary)} for tier in found.tiers
        ],
        "samples_averaged": found.window,
        "trajectories": {name: len(part) for name, part in vars(found.parts).items()},
        "spectra": [_spectrum(one) for one in found.spectra],
        "tests": [_test(law) for law in (*found.laws, *found.constraints)],
        "rejected": [{**_test(law), "failed": list(law.failures)} for law in found.rejected],
        "least_changing": least,
    }


def _spectrum(one: Spectrum) -> dict[str, Any]:
    return {
        "dictionary": one.tier,
        "of": {"all": "constraints", "each": "laws", "line": "constant rates"}[one.mean],
        "noise_free": one.exact,
        "eigenvalues": one.eigenvalues[:LISTED].tolist(),
        "threshold": CHOSEN_EXACT if one.exact else CHOSEN_NOISY,
    }


def _test(law: Law) -> dict[str, Any]:
    return {
        "expression": str(law.expression), "dictionary": law.tier, "noise_free": law.exact, **vars(law.assessment)
    }  # fmt: skip


def among(found: Discovery) -> str:
    """Return the dictionaries searched, in words."""
    polynomials = [tier.words for tier in found.tiers if tier.name.startswith("poly")]
    others = [tier for tier in found.tiers if not tier.name.startswith("poly")]
    names = ", ".join(found.tiers[0].dictionary.columns[n] for n in found.columns.tolist()) if found.tiers else ""
    parts = [*polynomials[-1:], *(["typed dictionaries of special functions"] if others else [])]
    return f"{' and '.join(parts)} in {names}"


def verdict(found: Discovery) -> str:
    """Return the outcome in one sentence."""
    if not found.tiers:
        return " ".join(found.notes)
    if not found.laws:
        least = ""
        if found.nearest is not None:
            least = (
                f": even the least changing one varies {found.nearest[1].drift:.2g} times as much along held-out "
                "trajectories as between them"
            )
        return f"No conserved quantity among {among(found)}{least}."
    many = len(found.laws)
    head = "One conserved quantity" if many == 1 else f"{many} functionally independent conserved quantities"
    listed = ", ".join(f"{law.expression} (drift {law.assessment.drift:.1e})" for law in found.laws)
    return f"{head} among {among(found)}: {listed} on held-out trajectories."
