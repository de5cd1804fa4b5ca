r"""Laws that hold but for a small perturbation: found by the same search, with a tolerance in place of noise.

A perturbation (other planets, a weak field) is smooth and differs from one trajectory to the next, so that a law is
neither exact nor off by white noise. It is searched for as if exact, with every column uncertain by a tolerance. Its
coefficients are then fitted with the variance :math:`s_i^2` of each trajectory i unknown (maximum likelihood),

.. math:: \min_v \sum_i n_i \log v^T W_i v,

where :math:`W_i` is the covariance of the terms along trajectory i: the least perturbed ones tell most. What remains is
told trajectory by trajectory: a trend (secular) and what varies about it (periodic). Nothing here is called conserved.
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

from ndm_apps.plugins.physics.assessment import drift
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.formula import expression, normalised, printed, rational, term
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import PROBES
from ndm_apps.plugins.physics.stages import Stages
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: How uncertain a column is taken to be, in units of its standard deviation.
TOLERANCE = 3e-4
#: A perturbed law varies along trajectories by no more than this part of what it differs between them.
DRIFT = 0.01
#: Least part of a formula's gradient outside the span of those before it, in units of the tolerance.
INDEPENDENT = 50.0
#: Samples in all: perturbed laws are smooth, and more would only take longer.
SAMPLES = 2400
#: Times the variances of trajectories are estimated anew.
ITERATIONS = 30


class Tolerant(Level):
    """What counts as conserved up to a perturbation."""

    @property
    def independence(self) -> float:
        """Least novelty of a formula: a copy of what is known may differ by the tolerance."""
        return INDEPENDENT * TOLERANCE


@final
@dataclass(frozen=True)
class Departure:
    """How far one trajectory departs from a law, in units of the largest term there (root mean square).

    Attributes
    ----------
    secular
        What a straight line in time gains from the first sample to the last.
    periodic
        Standard deviation about that line.
    """

    secular: float
    periodic: float


@final
@dataclass(frozen=True)
class Perturbed:
    """A law that holds but for a perturbation.

    Attributes
    ----------
    formula, expression
        The law, as it is printed.
    coefficients
        The same before rounding, by term.
    deviations
        Standard deviation of each coefficient by its term (jackknife over trajectories, the largest fixed).
    drift
        Standard deviation along trajectories over that of their means.
    departures
        Of each trajectory.
    tier
        The dictionary it was found with.
    """

    formula: Formula
    expression: sympy.Expr
    coefficients: dict[str, float]
    deviations: dict[str, float]
    drift: float
    departures: tuple[Departure, ...]
    tier: str

    def values(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return it as JSON values; ``labels`` name the trajectories."""
        return {
            "expression": str(self.expression),
            "latex": sympy.latex(self.expression),
            "drift": self.drift,
            "coefficients": self.coefficients,
            "coefficients_sd": self.deviations,
            "departures": {
                label: vars(one) for label, one in zip(labels, self.departures, strict=True)
            },
        }  # fmt: skip


def perturbed_laws(data: Trajectories, found: Discovery) -> list[Perturbed]:
    """Return the laws that hold up to a tolerance, in the dictionaries that were searched for exact ones.

    Parameters
    ----------
    data
        The trajectories; of a single one, nothing can be told.
    found
        What was found in them: its dictionaries are searched, and its split of the trajectories is kept.
    """
    noise = [found.noise[data.state[n]] for n in found.columns.tolist()]
    if len(data) < 2 or not found.tiers or float(np.median(noise)) > TOLERANCE:
        return []
    spreads = data.values.std(axis=0)
    spreads = np.where(spreads > 0, spreads, 1.0)
    thin = data.thinned(SAMPLES)
    settings = SpectralSettings(exact_drift=DRIFT)
    level = Tolerant(TOLERANCE * spreads, spreads, True, len(thin.values), settings)
    searching = Stages(
        data=thin,
        divide=found.parts.of,
        levels=[level],
        moving=len(found.columns),
        settings=settings,
        fractions=np.linspace(0.0, 1.0, PROBES, endpoint=False),
        progress=lambda done, total, text: None,
    )
    searching.run([[tier] for tier in found.tiers])
    laws = []
    for one in searching.found:
        if one.mean != "each":
            continue
        law = _finished(one.formula.dictionary, searching.samples.pooled, data, one.tier)
        if drift(law.formula(thin.values), thin.starts) < DRIFT:
            laws.append(law)
    return laws


def fitted(dictionary: Dictionary, data: Trajectories) -> tuple[Array, Array]:
    """Return the coefficients of given terms, each trajectory's variance being unknown, and jackknife replicates.

    Returns
    -------
    coefficients
        Shape ``(terms,)``, of any scale.
    replicates
        The same without one trajectory after the other, ``(trajectories, terms)``.
    """
    features = dictionary.evaluate(data.values).features
    scale = features.std(axis=0)
    parts = [np.cov(part, rowvar=False).reshape(len(scale), -1) for part in np.split(features / scale, data.starts[1:])]
    covariances, lengths = np.array(parts), data.lengths.astype(float)

    def coefficients(kept: NDArray[np.bool_]) -> Array:
        some, many = covariances[kept], lengths[kept]
        weights = 1.0 / np.maximum(np.trace(some, axis1=1, axis2=2), np.finfo(float).tiny)
        for _ in range(ITERATIONS):
            total = np.einsum("i,ijk->jk", many * weights, some)
            vector = eigh(total, np.diag(np.diag(total)), subset_by_index=[0, 0])[1][:, 0]
            # The scale of a law is free: one that is shrunk together with its terms' weights is the same law.
            vector = vector / np.linalg.norm(vector)
            rest = np.einsum("j,ijk,k->i", vector, some, vector)
            weights = 1.0 / np.maximum(rest, 1e-12 * float(rest.max()) + np.finfo(float).tiny)
        return np.asarray(vector / scale)

    everyone = np.ones(len(lengths), dtype=bool)
    others = [coefficients(everyone & (np.arange(len(lengths)) != n)) for n in range(len(lengths))]
    return coefficients(everyone), np.array(others)


def _finished(dictionary: Dictionary, pooled: Trajectories, data: Trajectories, tier: str) -> Perturbed:
    raw, others = fitted(dictionary, pooled)
    values, largest = normalised(raw, dictionary)
    replicates = others / others[:, largest : largest + 1] * values[largest]
    many = len(replicates)
    sd = np.sqrt((many - 1) / many * ((replicates - replicates.mean(axis=0)) ** 2).sum(axis=0))
    texts: list[Fraction | str] = [rational(v, e) or printed(v, e) for v, e in zip(values, sd, strict=True)]
    formula = Formula(dictionary, np.array([float(text) for text in texts]))
    terms = [str(term(factors, dictionary.columns)) for factors in dictionary.terms]
    return Perturbed(
        formula=formula,
        expression=expression(dictionary, texts),
        coefficients=dict(zip(terms, values.tolist(), strict=True)),
        deviations=dict(zip(terms, sd.tolist(), strict=True)),
        drift=drift(formula(data.values), data.starts),
        departures=tuple(departures(formula, data)),
        tier=tier,
    )


def departures(formula: Formula, data: Trajectories) -> list[Departure]:
    """Return how each trajectory departs from a law."""
    terms = formula.dictionary.evaluate(data.values).features * formula.coefficients
    found = []
    for (time, _), part in zip(data.each(), np.split(terms, data.starts[1:]), strict=True):
        value = part.sum(axis=1)
        size = max(float(np.sqrt((part**2).mean(axis=0)).max()), np.finfo(float).tiny)
        found.append(Departure(*trend(time, value / size)))
    return found


def trend(time: Array, values: Array) -> tuple[float, float]:
    """Return what a straight line in time gains over all times, and the standard deviation about it.

    Examples
    --------
    >>> secular, periodic = trend(np.arange(5.0), np.array([0.0, 1, 2, 3, 4]))
    >>> round(secular, 9), round(periodic, 9)
    (4.0, 0.0)
    """
    slope, level = np.polyfit(time - time.mean(), values, 1)
    return float(slope * np.ptp(time)), float((values - level - slope * (time - time.mean())).std())
