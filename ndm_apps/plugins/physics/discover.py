"""Finds the conserved quantities of trajectories: how many are independent, their formulas, and the evidence.

Trajectories are split in three: one part fits coefficients, one chooses which terms a formula has, and one, which took
no part in finding it, judges it. Nothing here knows the equations of the system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.dictionary import Dictionary, number_of_terms, polynomials
from ndm_apps.plugins.physics.laws import Law, finished, independent
from ndm_apps.plugins.physics.leaf import Assessment, Samples, assess, evaluate
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.schema import FEWEST_TRAJECTORIES, SpectralSettings
from ndm_apps.plugins.physics.search import EXACT_NOISE, PROBES, Found, Level, Spectrum, search
from ndm_apps.plugins.physics.simulate import Trajectories, column_scales

Array = NDArray[np.float64]

#: Estimated noise above this, in units of a column's standard deviation, is taken for noise.
NOISY = 1e-5


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
    laws = [finished(one, dictionary, units, pooled, judging, settings, rng) for one in found]
    kept: list[tuple[Found, Law]] = []
    rejected: list[Law] = []
    judged = rng.choice(judging.size, min(PROBES, judging.size), replace=False)
    for one, law in zip(found, laws, strict=True):
        law = independent(law, one, [other for _, other in kept], judging, judged)
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


def _nearest(spectra: Sequence[Spectrum], level: Level, judging: Samples) -> tuple[Array, Assessment]:
    last = [one for one in spectra if not one.together and one.exact == level.exact]
    vector = np.zeros(judging.features.shape[-1])
    vector[: len(last[-1].best)] = last[-1].best
    return vector, assess(judging, vector, level.sigma)
