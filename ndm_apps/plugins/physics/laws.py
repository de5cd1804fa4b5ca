"""Finishes what a search found: fits it again, rounds its coefficients, and judges it as it will be printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import final

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, assess
from ndm_apps.plugins.physics.background import background
from ndm_apps.plugins.physics.canonical import canonical, combined
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.formula import expression, normalised, printed, rational, term
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, centred, evaluate, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.projected import unbiased
from ndm_apps.plugins.physics.rounding import in_proportion, scaled
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.shorten import shortened
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import polished, spanned_by

Array = NDArray[np.float64]

#: A rounded formula must lie no farther from the leaves than the fitted one, by more than this part.
ROUNDING_COST = 0.01
#: Digits that are added to a printed formula until it is as good.
MORE_DIGITS = 4
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
    formula
        The same as a function of samples.
    deviations
        Standard deviation of each fitted coefficient by its term, from a bootstrap over trajectories, with the largest
        coefficient fixed.
    assessment
        Its figures on the trajectories that judge.
    failures
        The tests it did not pass there, in words.
    mean_value
        Its mean on all trajectories that fitted it.
    tier, exact
        The dictionary it was found with; whether it holds to EXACT_NOISE.
    """

    expression: sympy.Expr
    formula: Formula
    deviations: dict[str, float]
    assessment: Assessment
    failures: tuple[str, ...]
    mean_value: float
    tier: str
    exact: bool


def finished(
    one: Found,
    pooled: Trajectories,
    judging: Trajectories | None,
    others: Sequence[Formula],
    bootstrap: int,
    rng: np.random.Generator,
) -> Law:
    """Fit a formula again to all that may fit it, round it, and judge it as it will be printed.

    Parameters
    ----------
    one
        What was found.
    pooled, judging
        The trajectories that fit, and those that judge. Without the latter, the coefficients are judged on each
        trajectory by a fit to the others (the terms were chosen on all).
    others
        Laws accepted before.
    bootstrap
        Number of resamplings.
    rng
        Draws them.
    """
    level, mean = one.level, one.mean
    dictionary = one.formula.dictionary
    own = evaluate(dictionary, pooled, level.sigma, noisy=not level.exact)
    ties = np.eye(len(dictionary)) if one.ties is None else one.ties
    free = own if one.ties is None else combined(own, ties)
    start = np.linalg.pinv(ties) @ one.formula.coefficients
    fitted = polished(free, start, level.sigma, mean, exact=level.exact)
    weights = sampson_weights(free, fitted[:, None], level.sigma)
    if not level.exact:
        fitted, weights = unbiased(own, dictionary, ties, fitted, level, mean)
    replicates = _bootstrap(free, level, weights, mean, bootstrap, rng) @ ties.T
    raw, largest = normalised(ties @ fitted, dictionary)
    replicates = replicates / replicates[:, largest : largest + 1] * raw[largest]
    deviations = np.sqrt(((replicates - raw) ** 2).mean(axis=0))
    texts = _rounded(own, raw, replicates, deviations, dictionary, level, mean)
    values = np.array([float(text) for text in texts])
    deviations = deviations * abs(values[largest])
    if judging is not None:
        held = evaluate(dictionary, judging, level.sigma, noisy=not level.exact)
        behind = background(held.values, held.starts, others, level.sigma, noisy=not level.exact)
        outcome, trajectories = assess(held, values, level.sigma, mean, behind), len(held.starts)
    else:
        behind = background(own.values, own.starts, others, level.sigma, noisy=not level.exact)
        numbers = np.linalg.pinv(ties) @ values
        outcome, trajectories = crossed(free, numbers, level.sigma, mean, behind), len(own.starts)
    return Law(
        expression=expression(dictionary, texts),
        formula=Formula(dictionary, values),
        deviations={
            str(term(factors, dictionary.columns)): float(sd)
            for factors, sd in zip(dictionary.terms, deviations, strict=True)
        },
        assessment=outcome,
        failures=tuple(level.failures(outcome, trajectories, len(values), own.size, mean)),
        mean_value=float((own.terms.features @ values).mean()),
        tier=one.tier,
        exact=level.exact,
    )


def _rounded(
    samples: Samples,
    raw: Array,
    replicates: Array,
    deviations: Array,
    dictionary: Dictionary,
    level: Level,
    mean: Mean,
) -> list[Fraction | str]:
    """Return coefficients rounded as far as the formula stays as good: together, else each by itself."""
    whole = in_proportion(raw, replicates)
    if whole is not None:
        together = scaled(whole, [len(factors) == 2 and factors[0] == factors[1] for factors in dictionary.terms])
        if _as_good(samples, together, raw, level, mean):
            return list(together)
    # Coefficients err together: digits that each could spare may be needed for the sum.
    for more in range(MORE_DIGITS + 1):
        texts: list[Fraction | str] = [printed(value, sd / 10**more) for value, sd in zip(raw, deviations, strict=True)]
        if _as_good(samples, texts, raw, level, mean):
            break
    each = [rational(value, sd) or text for value, sd, text in zip(raw, deviations, texts, strict=True)]
    return each if _as_good(samples, each, raw, level, mean) else texts


def _as_good(samples: Samples, rounded: Sequence[Fraction | str], raw: Array, level: Level, mean: Mean) -> bool:
    before = assess(samples, raw, level.sigma, mean).distance
    after = assess(samples, np.array([float(text) for text in rounded]), level.sigma, mean).distance
    return after <= (max(before, ROUNDING_EXACT) if level.exact else (1.0 + ROUNDING_COST) * before)


def _bootstrap(
    samples: Samples, level: Level, weights: Array, mean: Mean, replicates: int, rng: np.random.Generator
) -> Array:
    """Fit again to trajectories drawn with replacement; the roots of their covariances add up by QR."""
    rows = np.sqrt(weights)[:, None] * centred(samples, samples.terms.features, weights, mean)
    terms, many = rows.shape[1], len(samples.starts)
    roots = [np.linalg.qr(part, mode="r") for part in np.split(rows, samples.starts[1:])]
    metrics = np.zeros((many, terms, terms))
    for (numbers, slope), noise in zip(samples.terms.slopes, level.sigma, strict=True):
        if len(numbers):
            products = noise**2 * weights[:, None, None] * slope[:, :, None] * slope[:, None, :]
            metrics[:, numbers[:, None], numbers] += np.add.reduceat(products, samples.starts, axis=0)
    found = []
    for _ in range(replicates):
        drawn = rng.integers(many, size=many)
        root = np.concatenate([roots[n] for n in drawn.tolist()])
        found.append(Problem(np.linalg.qr(root, mode="r"), metrics[drawn].sum(axis=0)).solve()[1][:, 0])
    return np.array(found)


def independent(law: Law, level: Level, others: Sequence[Law], probes: Array) -> Law:
    """Test on samples of the judging trajectories, too, that a formula depends on none of those before it."""
    if not others:
        return law
    known = spanned_by([other.formula for other in others], probes, level.spreads)
    part = novelty(law.formula.gradient(probes) * level.spreads, known, typical=True)
    if part > level.independence:
        return law
    message = f"depends on the others: {part:.3g} of its gradient is new, must be more than {level.independence:.3g}"
    return replace(law, failures=(*law.failures, message))


def judged(
    found: Sequence[Found],
    pooled: Trajectories,
    judging: Trajectories | None,
    bootstrap: int,
    rng: np.random.Generator,
    probes: Array,
) -> tuple[list[tuple[Found, Law]], list[Law]]:
    """Finish what was found in its simplest form; if any of that fails, as it was found if more of that passes.

    Returns
    -------
    The laws that pass and what they come from, and those that do not.
    """
    simplest = [shortened(one, pooled) for one in canonical(found, pooled)]
    laws, rejected = _each(simplest, pooled, judging, bootstrap, rng, probes)
    if rejected:
        others = _each(found, pooled, judging, bootstrap, rng, probes)
        if len(others[0]) > len(laws):
            return others
    return laws, rejected


def _each(
    found: Sequence[Found],
    pooled: Trajectories,
    judging: Trajectories | None,
    bootstrap: int,
    rng: np.random.Generator,
    probes: Array,
) -> tuple[list[tuple[Found, Law]], list[Law]]:
    laws: list[tuple[Found, Law]] = []
    rejected: list[Law] = []
    for one in found:
        others = [other.formula for _, other in laws if not one.level.exact]
        law = finished(one, pooled, judging, others, bootstrap, rng)
        law = independent(law, one.level, [other for _, other in laws], probes)
        if law.failures:
            rejected.append(law)
        else:
            laws.append((one, law))
    return laws, rejected
