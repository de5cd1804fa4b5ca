"""Finds the conserved quantities of trajectories: how many are independent, their formulas, and the evidence.

Trajectories are split in three: one part fits coefficients, one chooses which terms a formula has, and one, which took
no part in finding it, judges it. Nothing here knows the equations of the system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import final

import numpy as np
import sympy
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.dictionary import Dictionary, number_of_terms, polynomials
from ndm_apps.plugins.physics.formula import expression, normalised, printed, rational, term
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Assessment, Samples, assess, centred, evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.schema import FEWEST_TRAJECTORIES, SpectralSettings
from ndm_apps.plugins.physics.search import EXACT_NOISE, PROBES, Found, Level, Spectrum, gradients, search
from ndm_apps.plugins.physics.simulate import Trajectories, column_scales

Array = NDArray[np.float64]

#: Estimated noise above this, in units of a column's standard deviation, is taken for noise.
NOISY = 1e-5
#: A rounded formula must lie no farther from the leaves than the fitted one, by more than this part.
ROUNDING_COST = 0.01
#: ... or, at no noise, than this (squared, in units of EXACT_NOISE).
ROUNDING_EXACT = 1.0


@final
@dataclass(frozen=True)
class Split:
    """Numbers of the trajectories that fit, choose and judge."""

    fitting: NDArray[np.intp]
    choosing: NDArray[np.intp]
    judging: NDArray[np.intp]


def split(trajectories: int, held_out: float, rng: np.random.Generator) -> Split:
    """Split trajectories at random; ``held_out`` is the share that judges, and the share that chooses.

    Raises
    ------
    InputError
        There are fewer than 12.
    """
    if trajectories < FEWEST_TRAJECTORIES:
        raise InputError(
            f"got {trajectories} trajectories, must be {FEWEST_TRAJECTORIES} or more: some to fit, some to choose, "
            "some to judge"
        )
    order = rng.permutation(trajectories)
    size = max(3, ceil(held_out * trajectories))
    return Split(np.sort(order[2 * size :]), np.sort(order[size : 2 * size]), np.sort(order[:size]))


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


@final
@dataclass(frozen=True)
class Discovery:
    """What was found, and what it rests on.

    Attributes
    ----------
    laws, constraints
        Independent conserved quantities, and quantities with one value on all data.
    rejected
        Formulas that passed where they were chosen and failed where they were judged.
    constant
        Columns that never change, with their value.
    noise
        Estimated noise of each column, in units of its standard deviation.
    spectra
        Eigenvalues of each search.
    degrees
        The degrees searched.
    nearest
        Figures on the judging trajectories of the least changing function of the largest dictionary.
    nearest_vector
        Its coefficients.
    columns, units, dictionary
        Numbers of the columns that change, what they are divided by, and the largest dictionary of them.
    """

    laws: tuple[Law, ...]
    constraints: tuple[Law, ...]
    rejected: tuple[Law, ...]
    constant: dict[str, float]
    noise: dict[str, float]
    spectra: tuple[Spectrum, ...]
    degrees: tuple[int, ...]
    nearest: Assessment
    nearest_vector: Array
    columns: NDArray[np.intp]
    units: Array
    dictionary: Dictionary

    def evaluate(self, vector: Array, values: Array) -> Array:
        """Return the values of a combination of the dictionary, ``(..., all columns) -> (...)``."""
        return self.dictionary.features(values[..., self.columns] / self.units) @ vector


def find_invariants(
    data: Trajectories,
    parts: Split,
    settings: SpectralSettings,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Discovery:
    """Find the conserved quantities of trajectories.

    Parameters
    ----------
    data
        The trajectories.
    parts
        Which of them fit, choose and judge.
    settings
        Dictionary and tolerances.
    rng
        Draws the points at which gradients are compared, and the bootstrap.
    progress
        Called with searches done, searches in all, and a text.

    Raises
    ------
    InputError
        No column ever changes, or not even the dictionary of degree 1 is within the settings' ``terms``.
    """
    is_angle = [column in data.angles for column in data.state]
    spreads = column_scales(data.values)
    moving = np.ptp(data.values, axis=(0, 1)) > 1e-12 * np.abs(data.values).max(axis=(0, 1))
    constant = {c: float(data.values[0, 0, n]) for n, c in enumerate(data.state) if not moving[n]}
    if not moving.any():
        raise InputError("system: no column ever changes, so there is nothing to find")
    noise = estimate_noise(data.values, is_angle) / np.where(spreads > 0, spreads, 1.0)
    columns = [column for n, column in enumerate(data.state) if moving[n]]
    angles = [column for column in columns if column in data.angles]
    degrees = _degrees(len(columns) - len(angles), len(angles), settings)
    dictionary = polynomials(columns, angles, degrees[-1])
    # Angles keep their unit: a sine needs radians.
    units = np.where(is_angle, 1.0, spreads)[moving]
    samples = evaluate(dictionary, data.values[..., moving] / units)
    relative = noise[moving]
    sigma = np.maximum(relative, EXACT_NOISE) * spreads[moving] / units
    levels = [Level(EXACT_NOISE * spreads[moving] / units, True, samples.size, settings)]
    if float(np.median(relative)) > NOISY:
        levels.append(Level(sigma, False, samples.size, settings))
    fitting, choosing, judging = (samples.take(part) for part in (parts.fitting, parts.choosing, parts.judging))
    probes = rng.choice(fitting.size, min(PROBES, fitting.size), replace=False)

    found: list[Found] = []
    spectra: list[Spectrum] = []
    done, total = 0, 2 * len(levels) * len(degrees)
    for level in levels:
        for degree in degrees:
            size = dictionary.terms_of(degree)
            for together in (True, False):
                constraints = sum(one.together for one in found)
                room = len(columns) - constraints if together else len(columns) - len(found) - 1
                new, spectrum = search(
                    fitting.upto(size), choosing.upto(size), level, found,
                    degree=degree, together=together, room=room, probes=probes,
                )  # fmt: skip
                found += new
                spectra.append(spectrum)
                done += 1
                progress(done, total, f"degree {degree}, {size} terms: {len(found)} found")

    pooled = samples.take(np.concatenate([parts.fitting, parts.choosing]))
    laws = [_finished(one, dictionary, units, pooled, judging, settings, rng) for one in found]
    kept: list[tuple[Found, Law]] = []
    rejected: list[Law] = []
    judged = rng.choice(judging.size, min(PROBES, judging.size), replace=False)
    for one, law in zip(found, laws, strict=True):
        law = _independent(law, one, [other for _, other in kept], judging, judged)
        if law.failures:
            rejected.append(law)
        else:
            kept.append((one, law))
    nearest_vector, nearest = _nearest(spectra, levels[-1], judging)
    return Discovery(
        laws=tuple(law for one, law in kept if not one.together),
        constraints=tuple(law for one, law in kept if one.together),
        rejected=tuple(rejected),
        constant=constant,
        noise=dict(zip(data.state, noise.tolist(), strict=True)),
        spectra=tuple(spectra),
        degrees=degrees,
        nearest=nearest,
        nearest_vector=nearest_vector,
        columns=np.flatnonzero(moving),
        units=units,
        dictionary=dictionary,
    )


def _degrees(plain: int, angles: int, settings: SpectralSettings) -> tuple[int, ...]:
    degrees = [d for d in range(1, settings.degree + 1) if number_of_terms(plain, angles, d) <= settings.terms]
    if not degrees:
        needed = number_of_terms(plain, angles, 1)
        raise InputError(f"methods.spectral.terms: got {settings.terms}, must be {needed} or more for this system")
    return tuple(degrees)


def _finished(
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


def _independent(law: Law, one: Found, others: Sequence[Law], judging: Samples, probes: NDArray[np.intp]) -> Law:
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


def _nearest(spectra: Sequence[Spectrum], level: Level, judging: Samples) -> tuple[Array, Assessment]:
    last = [one for one in spectra if not one.together and one.exact == level.exact]
    vector = np.zeros(judging.features.shape[-1])
    vector[: len(last[-1].best)] = last[-1].best
    return vector, assess(judging, vector, level.sigma)
