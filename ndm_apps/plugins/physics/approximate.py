r"""Approximate laws: the function of the state that changes least over a few periods, and how fast it decays.

Trajectories, or a single one, are cut into segments of a few periods. A function :math:`H = v \cdot \theta(x)` of the
dictionary that obeys a law up to a slow decay varies little within a segment once its straight line in time is taken
out: its vector is the first of :math:`W v = \lambda B v`, with W the covariance of residuals within segments, and B the
covariance of everything (slow feature analysis, Wiskott and Sejnowski 2002). Terms are left out one by one; the fewest
are kept that predict left-out segments as well as any, within a factor of two. The decay is fitted towards the value of
H where it is least, the equilibrium.
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
from scipy.optimize import least_squares, minimize

from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, polynomials
from ndm_apps.plugins.physics.formula import expression, normalised, printed, term
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
#: The residual variance within segments must be below this part of that of the slowest single term,
SLOWER = 0.1
#: and below this part of that of H itself, noise included;
STILL = 0.01
#: the decay must explain so much of the variance of H along trajectories,
EXPLAINED = 0.9
#: and its rate must be so many standard deviations from zero.
SIGNIFICANT = 5.0
#: Fewer terms are preferred as long as the residual variance is within this factor of the least, or a standard error.
PRICE = 2.0
#: Added to the diagonal of B, in units of the terms' variances.
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
        Standard deviation within segments, its line taken out, over that on all samples; on segments left out.
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
            "coefficients_sd": self.deviations,
        }


def approximate_law(data: Trajectories, degree: int = 4) -> Approximate | None:
    """Return the approximate law of trajectories that last for many periods; None if there is none."""
    data = data.take(np.arange(max(1, int(np.searchsorted(data.lengths.cumsum(), MOST_SAMPLES, side="right")))))
    pieces = segments(data)
    pieces = pieces[:: -(-len(pieces) // MOST_SEGMENTS)] if pieces else []
    if len(pieces) < FEWEST_SEGMENTS:
        return None
    for one in range(1, degree + 1):
        dictionary = polynomials(data.state, data.angles, one)
        if len(dictionary) > MOST_TERMS:
            break
        features = dictionary.evaluate(data.values).features
        centred = features - features.mean(axis=0)
        scale = centred.std(axis=0)
        if not np.isfinite(scale).all() or not scale.all():
            break
        centred = centred / scale
        # What never varies at all is no decaying law: a part of each term's variance keeps it from counting as one.
        whole = centred.T @ centred / len(centred) + GUARD * np.eye(len(scale))
        within = [_residual(data.time[piece], centred[piece]) for piece in pieces]
        support, ratio = _sparsest(within, whole)
        alone = float((sum(np.diag(part) for part in within) / len(within) / np.diag(whole)).min())
        if not 0 < ratio < min(STILL, SLOWER * alone) or len(support) > len(pieces):
            continue
        block = np.ix_(support, support)
        chosen = [part[block] for part in within]
        vectors = [
            _slowest(_mean(chosen, leave), whole[block]) / scale[support] for leave in (None, *range(len(pieces)))
        ]
        found = _finished(data, pieces, dictionary.of(support), vectors, ratio)
        is_decay = found.explained > EXPLAINED and found.rate > SIGNIFICANT * found.rate_deviation
        if is_decay:
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


def _residual(time: Array, values: Array) -> Array:
    """Return the covariance of values about their straight lines in time."""
    line = np.stack([np.ones(len(time)), time - time.mean()], axis=1)
    rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
    return np.asarray(rest.T @ rest / max(len(time) - 2, 1))


def _mean(parts: Sequence[Array], leave: int | None = None) -> Array:
    return np.asarray(np.mean([part for n, part in enumerate(parts) if n != leave], axis=0))


def _slowest(within: Array, whole: Array) -> Array:
    """Return the first vector of the eigenproblem, in the direction that has v'Bv = 1."""
    return np.asarray(eigh(within, whole, subset_by_index=[0, 0])[1][:, 0])


def _sparsest(within: Sequence[Array], whole: Array) -> tuple[Support, float]:
    """Return the fewest terms that predict left-out segments as well as any, and their ratio there."""
    folds = [np.arange(fold, len(within), FOLDS) for fold in range(FOLDS)]
    training = [np.mean([within[n] for n in range(len(within)) if n not in fold], axis=0) for fold in folds]
    total = _mean(within)
    support = np.arange(len(whole))
    tried: list[tuple[Support, float, float]] = []
    while True:
        block = np.ix_(support, support)
        ratios = np.empty(len(within))
        for fold, part in zip(folds, training, strict=True):
            vector = _slowest(part[block], whole[block])
            spread = float(vector @ whole[block] @ vector)
            ratios[fold] = [float(vector @ within[n][block] @ vector) / spread for n in fold]
        tried.append((support, float(ratios.mean()), float(ratios.std() / np.sqrt(len(ratios)))))
        if len(support) == 1:
            break
        importance = np.abs(_slowest(total[block], whole[block])) * np.sqrt(np.diag(whole)[support])
        if len(support) <= 12:
            removed = [np.delete(support, n) for n in range(len(support))]
            support = min(removed, key=lambda one: _ratio(total, whole, one))
        else:
            support = np.delete(support, np.argsort(importance)[: max(1, len(support) // 20)])
    _, least, error = min(tried, key=lambda one: one[1])
    support, ratio, _ = next(one for one in reversed(tried) if one[1] <= max(PRICE * least, least + error))
    return support, ratio


def _ratio(within: Array, whole: Array, support: Support) -> float:
    block = np.ix_(support, support)
    vector = _slowest(within[block], whole[block])
    return float(vector @ within[block] @ vector / (vector @ whole[block] @ vector))


def _finished(
    data: Trajectories, pieces: list[NDArray[np.intp]], dictionary: Dictionary, vectors: list[Array], ratio: float
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
    lowest = _lowest(formula, data)
    rate, deviation = _decay(times, levels - lowest, owner)
    return Approximate(
        formula=formula,
        expression=expression(dictionary, texts),
        deviations={str(term(f, dictionary.columns)): float(e) for f, e in zip(dictionary.terms, sd, strict=True)},
        variation=float(np.sqrt(ratio)),
        equilibrium=lowest,
        rate=rate,
        rate_deviation=deviation,
        explained=_explained(data, pieces, owner, formula, lowest, rate),
    )


def _explained(
    data: Trajectories, pieces: list[NDArray[np.intp]], owner: NDArray[np.intp], formula: Formula, lowest: float,
    rate: float,
) -> float:  # fmt: skip
    left = total = 0.0
    for trajectory in np.unique(owner):
        used = np.concatenate([piece for piece, who in zip(pieces, owner, strict=True) if who == trajectory])
        values = formula(data.values[used]) - lowest
        shape = np.exp(-rate * (data.time[used] - data.time[used[0]]))
        left += float(((values - shape * (shape @ values) / (shape @ shape)) ** 2).sum())
        total += float(((values - values.mean()) ** 2).sum())
    return 1 - left / max(total, np.finfo(float).tiny)


def _lowest(formula: Formula, data: Trajectories) -> float:
    """Return the least value of a formula within the ranges of the columns."""
    low, high = data.values.min(axis=0), data.values.max(axis=0)
    start = data.values[int(np.argmin(formula(data.values)))]
    scale = np.maximum(high - low, np.finfo(float).tiny)

    def scaled(x: Array) -> tuple[float, Array]:
        point = (low + x * scale)[None]
        return float(formula(point)[0]), formula.gradient(point)[0] * scale

    found = minimize(scaled, (start - low) / scale, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * len(low))
    spread = float(formula(data.values).std())
    return 0.0 if abs(found.fun) < 1e-9 * spread else float(found.fun)


def _decay(times: Array, levels: Array, owner: NDArray[np.intp]) -> tuple[float, float]:
    """Fit ``levels = A exp(-rate t)``, with A of each trajectory; return the rate and its jackknife deviation."""

    def fitted(kept: NDArray[np.bool_]) -> float:
        t, y, who = times[kept], levels[kept], np.unique(owner[kept], return_inverse=True)[1]

        def amplitudes(rate: float) -> Array:
            shape = np.exp(-rate * (t - times.min()))
            return np.bincount(who, shape * y) / np.bincount(who, shape**2)

        def rest(parameters: Array) -> Array:
            rate = float(parameters[0])
            return np.asarray(y - amplitudes(rate)[who] * np.exp(-rate * (t - times.min())))

        span = max(float(np.ptp(times)), np.finfo(float).tiny)
        return float(least_squares(rest, [0.5 / span], x_scale=1 / span).x[0])

    everything = np.ones(len(times), dtype=bool)
    rate = fitted(everything)
    others = []
    for n in range(len(times)):
        kept = everything.copy()
        kept[n] = False
        others.append(fitted(kept))
    many = len(others)
    return rate, float(np.sqrt((many - 1) / many * ((np.array(others) - np.mean(others)) ** 2).sum()))
