"""Finishes what a search found: fits it again, rounds its coefficients, and judges it as it will be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.dictionary import Dictionary
from ndm_apps.plugins.physics.formula import expression, normalised, printed, rational, term
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Assessment, Samples, assess, centred, problem, sampson_weights
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import Found, Level, gradients

Array = NDArray[np.float64]

#: A rounded formula must lie no farther from the leaves than the fitted one, by more than this part.
ROUNDING_COST = 0.01
#: ... or, at no noise, than this (squared, in units of EXACT_NOISE).
ROUNDING_EXACT = 1.0


@final
@dataclass(frozen=True)
class Law:
    """A formula as it is printed, and how it did on the trajectories that judge.

    Attributes
    ----------
    expression
        In the names of the columns.
    vector
        Its coefficients in the dictionary of scaled columns.
    deviations
        Standard deviation of each fitted coefficient by its term, from a bootstrap over trajectories, with the largest
        coefficient fixed at 1 in size.
    assessment
        Its figures on the trajectories that judge.
    failures
        The tests it did not pass there, in words.
    degree, exact
        Degree of the dictionary it was found with; whether it holds to EXACT_NOISE.
    """

    expression: sympy.Expr
    vector: Array
    deviations: dict[str, float]
    assessment: Assessment
    failures: tuple[str, ...]
    degree: int
    exact: bool


def finished(
    one: Found,
    dictionary: Dictionary,
    units: Array,
    pooled: Samples,
    judging: Samples,
    settings: SpectralSettings,
    rng: np.random.Generator,
) -> Law:
    """Fit a formula again to all that may fit it, round it, and judge it as it will be printed."""
    own = pooled.of(one.support)
    level, together = one.level, one.together
    weights = sampson_weights(own, one.coefficients[:, None], level.sigma)
    fitted = problem(own, level.sigma, weights, together).solve()[1][:, 0]
    replicates = _bootstrap(own, level, weights, together, settings.bootstrap, rng)
    exponents = np.array(dictionary.exponents, dtype=int)[one.support]
    columns = np.array([atom.column for atom in dictionary.atoms])
    powers = exponents * np.array([atom.function == "" for atom in dictionary.atoms])
    scale = np.prod(units[columns] ** powers, axis=1)  # from coefficients of scaled columns to those of columns
    raw, largest = normalised(fitted / scale, exponents)
    replicates = replicates / scale
    replicates = replicates / replicates[:, largest : largest + 1] * raw[largest]
    deviations = np.sqrt(((replicates - raw) ** 2).mean(axis=0))
    texts: list[Fraction | str] = [printed(value, sd) for value, sd in zip(raw, deviations, strict=True)]
    rounded = [rational(value, sd) or text for value, sd, text in zip(raw, deviations, texts, strict=True)]
    if _as_good(own, rounded, raw, scale, level, together):
        texts = rounded
    values = np.array([float(text) for text in texts]) * scale
    outcome = assess(judging.of(one.support), values, level.sigma, together)
    trajectories = len(judging.features)
    formula = expression(dictionary, one.support.tolist(), texts)
    return Law(
        expression=formula,
        vector=replace(one, coefficients=values).vector(len(dictionary)),
        deviations={
            str(term(dictionary, number)): float(sd)
            for number, sd in zip(one.support.tolist(), deviations, strict=True)
        },
        assessment=outcome,
        failures=tuple(level.failures(outcome, trajectories, len(values), own.size, together)),
        degree=one.degree,
        exact=level.exact,
    )


def _as_good(
    samples: Samples, rounded: Sequence[Fraction | str], raw: Array, scale: Array, level: Level, together: bool
) -> bool:
    before = assess(samples, raw * scale, level.sigma, together).distance
    after = assess(samples, np.array([float(text) for text in rounded]) * scale, level.sigma, together).distance
    return after <= (max(before, ROUNDING_EXACT) if level.exact else (1.0 + ROUNDING_COST) * before)


def _bootstrap(
    samples: Samples, level: Level, weights: Array, together: bool, replicates: int, rng: np.random.Generator
) -> Array:
    """Fit again to trajectories drawn with replacement; the roots of their covariances add up by QR."""
    rows = np.sqrt(weights)[..., None] * centred(samples.features, weights, together)
    roots = np.linalg.qr(rows, mode="r")
    slopes = np.sqrt(weights)[..., None] * samples.slopes * level.sigma[:, None, None, None]
    metrics = np.einsum("jmtp,jmtq->mpq", slopes, slopes)
    whole = problem(samples, level.sigma, weights, together)
    found = []
    for _ in range(replicates):
        drawn = rng.integers(len(roots), size=len(roots))
        root = np.concatenate(roots[drawn])
        found.append(replace(whole, root=root, metric=metrics[drawn].sum(axis=0)).solve()[1][:, 0])
    return np.array(found)


def independent(law: Law, one: Found, others: Sequence[Law], judging: Samples, probes: NDArray[np.intp]) -> Law:
    """Test on the judging trajectories, too, that a formula depends on none of those before it."""
    if not others:
        return law
    known = gradients(judging, np.stack([other.vector for other in others], axis=1), probes)
    part = novelty(gradients(judging, law.vector[:, None], probes)[..., 0], known)
    if part > one.level.independence:
        return law
    message = (
        f"depends on the others: {part:.3g} of its gradient is new, must be more than {one.level.independence:.3g}"
    )
    return replace(law, failures=(*law.failures, message))
