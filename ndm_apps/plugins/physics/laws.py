"""Finishes what a search found: fits it again, rounds its coefficients, and judges it as it will be printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, assess
from ndm_apps.plugins.physics.background import background
from ndm_apps.plugins.physics.canonical import canonical, combined
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.formula import expression, normalised, term
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, Problem, Samples, centred, evaluate, sampson_weights
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.neighbours import Neighbours
from ndm_apps.plugins.physics.projected import unbiased
from ndm_apps.plugins.physics.rounding import as_exact, as_likely, rounded
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.shorten import shortened
from ndm_apps.plugins.physics.stages import Shares
from ndm_apps.plugins.physics.trial import polished, spanned_by

Array = NDArray[np.float64]


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
    measured
        The coefficients themselves before they were rounded, by term, at the same value of the largest.
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
    measured: dict[str, float]
    assessment: Assessment
    failures: tuple[str, ...]
    mean_value: float
    tier: str
    exact: bool


def finished(
    one: Found,
    shares: Shares,
    others: Sequence[Formula],
    bootstrap: int,
    rng: np.random.Generator,
) -> Law:
    """Fit a formula again to all that may fit it, round it, and judge it as it will be printed.

    Parameters
    ----------
    one
        What was found.
    shares
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
    own = evaluate(dictionary, shares.pooled, level.sigma, noisy=not level.exact)
    ties = np.eye(len(dictionary)) if one.ties is None else one.ties
    free = own if one.ties is None else combined(own, ties)
    start = np.linalg.pinv(ties) @ one.formula.coefficients
    fitted = polished(free, start, level.sigma, mean, exact=level.exact)
    weights = sampson_weights(free, fitted[:, None], level.sigma)
    if level.exact:
        replicates = _bootstrap(free, level, weights, mean, bootstrap, rng) @ ties.T
    else:
        fitted, weights = unbiased(own, dictionary, ties, fitted, level, mean)
        neighbours = Neighbours(free, weights, level.sigma, mean)
        fitted, replicates = neighbours.fit(), neighbours.bootstrap(bootstrap, rng) @ ties.T
    raw, largest = normalised(ties @ fitted, dictionary)
    replicates = replicates / replicates[:, largest : largest + 1] * raw[largest]
    deviations = np.sqrt(((replicates - raw) ** 2).mean(axis=0))
    accepts = as_exact(own, raw, level, mean) if level.exact else as_likely(neighbours, ties, raw)
    texts = rounded(dictionary, raw, replicates, accepts)
    values = np.array([float(text) for text in texts])
    # As measured, in the scale of the formula as it is printed.
    deviations, raw = deviations * abs(values[largest]), raw * abs(values[largest])
    names = [str(term(factors, dictionary.columns)) for factors in dictionary.terms]
    if shares.judging is not None:
        held = evaluate(dictionary, shares.judging, level.sigma, noisy=not level.exact)
        behind = background(held, others, level.sigma, mean, noisy=not level.exact)
        outcome, trajectories = assess(held, values, level.sigma, mean, behind), len(held.starts)
    else:
        behind = background(own, others, level.sigma, mean, noisy=not level.exact)
        numbers = np.linalg.pinv(ties) @ values
        outcome, trajectories = crossed(free, numbers, level.sigma, mean, behind), len(own.starts)
    return Law(
        expression=expression(dictionary, texts),
        formula=Formula(dictionary, values),
        deviations=dict(zip(names, deviations.tolist(), strict=True)),
        measured=dict(zip(names, raw.tolist(), strict=True)),
        assessment=outcome,
        failures=tuple(level.failures(outcome, trajectories, len(values), own.size, mean)),
        mean_value=float((own.terms.features @ values).mean()),
        tier=one.tier,
        exact=level.exact,
    )


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
    shares: Callable[[Level], Shares],
    bootstrap: int,
    rng: np.random.Generator,
    probes: Array,
    before: Sequence[tuple[Found, Law]] = (),
) -> tuple[list[tuple[Found, Law]], list[Law]]:
    """Finish what was found in its simplest form; if any of that fails, as it was found if more of that passes.

    Parameters
    ----------
    found
        What was found, independent of what passed ``before``.
    shares
        The trajectories of a level.
    bootstrap, rng
        As in :func:`finished`.
    probes
        Samples at which gradients are compared.
    before
        Laws that passed already.

    Returns
    -------
    The laws that pass and what they come from, and those that do not.
    """
    simplest = []
    for exact in (True, False):
        own = [one for one in found if one.level.exact is exact]
        if own:
            pooled = shares(own[0].level).pooled
            simplest += [shortened(one, pooled) for one in canonical(own, pooled)]
    laws, rejected = _each(simplest, shares, bootstrap, rng, probes, before)
    if rejected:
        others = _each(found, shares, bootstrap, rng, probes, before)
        if len(others[0]) > len(laws):
            return others
    return laws, rejected


def _each(
    found: Sequence[Found],
    shares: Callable[[Level], Shares],
    bootstrap: int,
    rng: np.random.Generator,
    probes: Array,
    before: Sequence[tuple[Found, Law]],
) -> tuple[list[tuple[Found, Law]], list[Law]]:
    laws: list[tuple[Found, Law]] = []
    rejected: list[Law] = []
    for one in found:
        known = [other for _, other in (*before, *laws)]
        behind = [] if one.level.exact else [other.formula for other in known]
        law = finished(one, shares(one.level), behind, bootstrap, rng)
        law = independent(law, one.level, known, probes)
        if law.failures:
            rejected.append(law)
        else:
            laws.append((one, law))
    return laws, rejected
