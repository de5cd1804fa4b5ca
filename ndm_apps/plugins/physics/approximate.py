r"""Approximate laws: the function of the state that changes least over a few periods, and how fast it decays.

Trajectories, or a single one, are cut into segments of a few periods. A function :math:`H = v \cdot \theta(x)` of the
dictionary that obeys a law up to a slow decay varies little within a segment once its straight line in time is taken
out: its vector is the first of :math:`W v = \lambda N v`, with W the covariance of residuals within segments, and N
what a small error of the columns brings, as for exact laws (:mod:`~ndm_apps.plugins.physics.leaf`). With the covariance
of everything in place of N, this is slow feature analysis (Wiskott and Sejnowski 2002), which asks for a decay that is
large beside the noise of single samples. Terms are left out one by one; the fewest are kept that predict left-out
segments as well as any, within a factor of two. What is left out is contiguous: terms that were fitted at high energies
must hold at low ones. The decay is fitted towards the value of H where it is least, the equilibrium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
import sympy
from numpy.typing import NDArray
from scipy.linalg import eigh

from ndm_apps.plugins.physics.decay import decay, lowest
from ndm_apps.plugins.physics.dictionary import Dictionary, Evaluated, Formula, polynomials
from ndm_apps.plugins.physics.formula import expression, normalised, printed, term
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]
Support = NDArray[np.intp]

#: Periods in a segment, fewer if too few segments are left. In less than one an odd function may pass for a slow one.
PERIODS = (1.5, 1.0)
FEWEST_IN_SEGMENT, FEWEST_SEGMENTS, ENOUGH_SEGMENTS = 12, 5, 12
FOLDS = 5
MOST_TERMS = 160
#: Of more samples, trajectories are left out at the end; of more segments, some in between.
MOST_SAMPLES, MOST_SEGMENTS = 10_000, 60
#: Columns are uncertain by this part of their standard deviation, or by their noise if that is more.
CLOSE = 0.01
#: The residual variance within segments must be below so many times what that uncertainty explains,
STILL = 10.0
#: and, in these units, below this part of that of the slowest single term;
SLOWER = 0.1
#: the decay must explain so much of the variance of the means of H in segments,
EXPLAINED = 0.9
#: its rate must be so many standard deviations from zero,
SIGNIFICANT = 5.0
#: and times the duration of a segment be less than this.
SLOW = 1.0
#: Fewer terms are preferred as long as the residual variance is within this factor of the least, or a standard error.
PRICE = 2.0
#: Added to the diagonal of N, in units of the terms' variances.
GUARD = 1e-10


@final
@dataclass(frozen=True)
class Approximate:
    """An approximate law.

    Attributes
    ----------
    formula, expression, deviations
        The law, its text, and standard deviations of its coefficients by term (jackknife over segments, the largest
        coefficient fixed).
    variation
        How far samples lie from the level of their segment, its line taken out: in units of the columns' standard
        deviations, on segments left out.
    equilibrium
        The least value of the law within the range of the data.
    rate, rate_deviation
        Of the exponential decay towards it.
    explained
        Part of its variance along trajectories that the decay explains.
    """

    formula: Formula
    expression: sympy.Expr
    deviations: dict[str, float]
    variation: float
    equilibrium: float
    rate: float
    rate_deviation: float
    explained: float

    def values(self) -> dict[str, Any]:
        """Return it as JSON values."""
        half = float(np.log(2) / self.rate)
        return {
            "expression": str(self.expression),
            "latex": sympy.latex(self.expression),
            "decay_rate": self.rate,
            "decay_rate_sd": self.rate_deviation,
            "half_life": half,
            "half_life_sd": half * self.rate_deviation / self.rate,
            "variation": self.variation,
            "equilibrium": self.equilibrium,
            "explained": self.explained,
            "coefficients": dict(zip(self.deviations, self.formula.coefficients.tolist(), strict=True)),
            "coefficients_sd": self.deviations,
        }


def approximate_law(data: Trajectories, degree: int = 4) -> Approximate | None:
    """Return the approximate law of trajectories that last for many periods; None if there is none."""
    data = data.take(np.arange(max(1, int(np.searchsorted(data.lengths.cumsum(), MOST_SAMPLES, side="right")))))
    pieces = segments(data)
    pieces = pieces[:: -(-len(pieces) // MOST_SEGMENTS)] if pieces else []
    if len(pieces) < FEWEST_SEGMENTS:
        return None
    span = float(np.mean([np.ptp(data.time[piece]) for piece in pieces]))
    relative = np.maximum(estimate_noise(data) / data.values.std(axis=0), CLOSE)
    sigma, error = relative * data.values.std(axis=0), float(np.sqrt((relative**2).mean()))
    for one in range(1, degree + 1):
        dictionary = polynomials(data.state, data.angles, one)
        if len(dictionary) > MOST_TERMS:
            break
        terms = dictionary.evaluate(data.values)
        scale = terms.features.std(axis=0)
        if not np.isfinite(scale).all() or not scale.all():
            break
        centred = (terms.features - terms.features.mean(axis=0)) / scale
        blurred = _blurred(terms, sigma) / np.outer(scale, scale) + GUARD * np.eye(len(scale))
        within = [_residual(data.time[piece], centred[piece]) for piece in pieces]
        support, ratio = _sparsest(within, blurred)
        alone = float((sum(np.diag(part) for part in within) / len(within) / np.diag(blurred)).min())
        if not 0 < ratio < min(STILL, SLOWER * alone) or len(support) > len(pieces):
            continue
        block = np.ix_(support, support)
        chosen = [part[block] for part in within]
        vectors = [
            _slowest(_mean(chosen, leave), blurred[block]) / scale[support] for leave in (None, *range(len(pieces)))
        ]
        found = _finished(data, pieces, dictionary.of(support), vectors, error * float(np.sqrt(ratio)))
        is_decay = found.explained > EXPLAINED and found.rate > SIGNIFICANT * found.rate_deviation
        if is_decay and found.rate * span < SLOW:
            return found
    return None


def segments(data: Trajectories) -> list[NDArray[np.intp]]:
    """Return the samples of each segment: trajectories cut into pieces of some periods of their slowest column."""
    crossings = np.zeros(len(data.state))
    duration = 0.0
    oscillating = np.where(data.is_angle, np.sin(data.values), data.values)
    centre = oscillating.mean(axis=0)
    for (time, _), values in zip(data.each(), np.split(oscillating, data.starts[1:]), strict=True):
        crossings += (np.diff(np.sign(values - centre), axis=0) != 0).sum(axis=0)
        duration += float(np.ptp(time))
    if crossings.min() == 0:
        return []
    found: list[NDArray[np.intp]] = []
    for periods in PERIODS:
        found = _cut(data, periods * 2 * duration / float(crossings.min()))
        if len(found) >= ENOUGH_SEGMENTS:
            break
    return found


def _cut(data: Trajectories, span: float) -> list[NDArray[np.intp]]:
    found: list[NDArray[np.intp]] = []
    for start, length in zip(data.starts.tolist(), data.lengths.tolist(), strict=True):
        many = min(int(np.ptp(data.time[start : start + length]) / span), length // FEWEST_IN_SEGMENT)
        if many >= 1:
            found += np.array_split(np.arange(start, start + length), many)
    return found


def _blurred(terms: Evaluated, sigma: Array) -> Array:
    """Return N: the covariance that errors ``sigma`` of the columns give the terms."""
    total = np.zeros((terms.features.shape[1],) * 2)
    for (numbers, slope), noise in zip(terms.slopes, sigma, strict=True):
        total[np.ix_(numbers, numbers)] += noise**2 * slope.T @ slope / len(slope)
    return total


def _residual(time: Array, values: Array) -> Array:
    """Return the covariance of values about their straight lines in time."""
    line = np.stack([np.ones(len(time)), time - time.mean()], axis=1)
    rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    return np.asarray(rest.T @ rest / max(len(time) - 2, 1))


def _mean(parts: Sequence[Array], leave: int | None = None) -> Array:
    return np.asarray(np.mean([part for n, part in enumerate(parts) if n != leave], axis=0))


def _slowest(within: Array, blurred: Array) -> Array:
    """Return the first vector of the eigenproblem, in the direction that has v'Nv = 1."""
    return np.asarray(eigh(within, blurred, subset_by_index=[0, 0])[1][:, 0])


def _sparsest(within: Sequence[Array], blurred: Array) -> tuple[Support, float]:
    """Return the fewest terms that predict left-out segments as well as any, and their ratio there."""
    folds = np.array_split(np.arange(len(within)), min(FOLDS, len(within)))
    training = [np.mean([within[n] for n in range(len(within)) if n not in fold], axis=0) for fold in folds]
    total = _mean(within)
    support = np.arange(len(blurred))
    tried: list[tuple[Support, float, float]] = []
    while True:
        block = np.ix_(support, support)
        ratios = np.empty(len(within))
        for fold, part in zip(folds, training, strict=True):
            vector = _slowest(part[block], blurred[block])
            spread = float(vector @ blurred[block] @ vector)
            ratios[fold] = [float(vector @ within[n][block] @ vector) / spread for n in fold]
        tried.append((support, float(ratios.mean()), float(ratios.std() / np.sqrt(len(ratios)))))
        if len(support) == 1:
            break
        importance = np.abs(_slowest(total[block], blurred[block])) * np.sqrt(np.diag(blurred)[support])
        if len(support) <= 12:
            removed = [np.delete(support, n) for n in range(len(support))]
            support = min(removed, key=lambda one: _ratio(total, blurred, one))
        else:
            support = np.delete(support, np.argsort(importance)[: max(1, len(support) // 20)])
    _, least, error = min(tried, key=lambda one: one[1])
    support, ratio, _ = next(one for one in reversed(tried) if one[1] <= max(PRICE * least, least + error))
    return support, ratio


def _ratio(within: Array, blurred: Array, support: Support) -> float:
    block = np.ix_(support, support)
    vector = _slowest(within[block], blurred[block])
    return float(vector @ within[block] @ vector / (vector @ blurred[block] @ vector))


def _finished(
    data: Trajectories, pieces: list[NDArray[np.intp]], dictionary: Dictionary, vectors: list[Array], variation: float
) -> Approximate:
    coefficients, largest = normalised(vectors[0], dictionary)
    others = np.array([vector / vector[largest] * coefficients[largest] for vector in vectors[1:]])
    many = len(others)
    sd = np.sqrt((many - 1) / many * ((others - others.mean(axis=0)) ** 2).sum(axis=0))
    texts: list[Fraction | str] = [printed(value, error) for value, error in zip(coefficients, sd, strict=True)]
    texts[largest] = Fraction(round(coefficients[largest]))
    formula = Formula(dictionary, coefficients)
    owner = np.searchsorted(data.starts, [piece[0] for piece in pieces], side="right") - 1
    times = np.array([data.time[piece].mean() for piece in pieces])
    levels = np.array([formula(data.values[piece]).mean() for piece in pieces])
    equilibrium = lowest(formula, data)
    rate, deviation, explained = decay(times, levels - equilibrium, owner)
    return Approximate(
        formula=formula,
        expression=expression(dictionary, texts),
        deviations={str(term(f, dictionary.columns)): float(e) for f, e in zip(dictionary.terms, sd, strict=True)},
        variation=variation,
        equilibrium=equilibrium,
        rate=rate,
        rate_deviation=deviation,
        explained=explained,
    )
