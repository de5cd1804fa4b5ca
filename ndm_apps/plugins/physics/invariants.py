"""Finds the conserved quantities of trajectories: how many are independent, their formulas, and the evidence.

Trajectories are split in three: one part fits coefficients, one chooses which terms a formula has, and one, which took
no part in finding it, judges it. Nothing here knows the equations of the system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.assessment import Assessment
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.kinds import Kinds, kinds
from ndm_apps.plugins.physics.laws import Law, finished, judged
from ndm_apps.plugins.physics.level import EXACT_NOISE, NOISY, Level
from ndm_apps.plugins.physics.lines import DEGREE, eliminated
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.rational import quotients
from ndm_apps.plugins.physics.scan import families
from ndm_apps.plugins.physics.schema import FEWEST_TRAJECTORIES, SpectralSettings
from ndm_apps.plugins.physics.search import CANDIDATES, PROBES, Found, Spectrum
from ndm_apps.plugins.physics.shorten import shortened
from ndm_apps.plugins.physics.stages import Shares, Stages
from ndm_apps.plugins.physics.tiers import SIMPLE, Allowed, Tier, stages, steady, vocabulary
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Estimated noise above this, in units of a column's standard deviation, leaves little to find.
TOO_NOISY = 0.3


@final
@dataclass(frozen=True)
class Split:
    """Numbers of the trajectories that fit, choose and judge.

    With too few to split, all fit and choose, and none is left to judge.
    """

    fitting: NDArray[np.intp]
    choosing: NDArray[np.intp]
    judging: NDArray[np.intp]

    @property
    def judges(self) -> NDArray[np.intp]:
        """Those that judge: with too few to split, all, each in turn."""
        return self.judging if len(self.judging) else self.fitting

    def of(self, data: Trajectories) -> Shares:
        """Divide trajectories."""
        pooled = data.take(np.unique(np.concatenate([self.fitting, self.choosing])))
        if len(self.judging) == 0:
            return Shares(data.take(self.fitting), None, pooled, None)
        return Shares(data.take(self.fitting), data.take(self.choosing), pooled, data.take(self.judging))


def split(trajectories: int, held_out: float, rng: np.random.Generator) -> Split:
    """Split trajectories at random; ``held_out`` is the share that judges, and the share that chooses."""
    if trajectories < FEWEST_TRAJECTORIES:
        everyone = np.arange(trajectories)
        return Split(everyone, everyone, everyone[:0])
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
    growing
        Quantities that grow at a constant rate along each trajectory (if the settings ask for ``rates``): less their
        rate times the time, they are laws that depend on time.
    constant
        Columns that never change, with their value.
    noise
        Estimated noise of each column, in units of its standard deviation.
    kinds
        What kinds of columns there are.
    spectra
        Eigenvalues of each search.
    tiers
        The dictionaries searched.
    nearest
        The least changing function of the last dictionary, and its figures on the judging trajectories.
    parts
        Which trajectories fitted, chose and judged.
    columns
        Numbers of the columns that change.
    window
        In noise, samples in a window that are averaged; 1 if they are not.
    notes
        What cannot be known from these data, or was not done, in sentences.
    """

    laws: tuple[Law, ...]
    constraints: tuple[Law, ...]
    rejected: tuple[Law, ...]
    growing: tuple[Law, ...]
    constant: dict[str, float]
    noise: dict[str, float]
    kinds: Kinds
    spectra: tuple[Spectrum, ...]
    tiers: tuple[Tier, ...]
    nearest: tuple[Formula, Assessment] | None
    parts: Split
    columns: NDArray[np.intp]
    window: int
    notes: tuple[str, ...]


def find_invariants(
    data: Trajectories,
    settings: SpectralSettings,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    *,
    known_noise: Mapping[str, float] | None = None,
    allowed: Allowed = lambda function, columns: True,
) -> Discovery:
    """Find the conserved quantities of trajectories.

    Parameters
    ----------
    data
        The trajectories.
    settings
        Dictionaries and tolerances.
    rng
        Splits the trajectories, and draws the points at which gradients are compared, and the bootstrap.
    progress
        Called with searches done, searches in all, and a text.
    known_noise
        Standard deviation of the measurement error of some columns, in their own units; else it is estimated.
    allowed
        Whether a function of some columns makes sense, by its name (sin, cos, log, exp, difference, radius) and theirs.

    Raises
    ------
    InputError
        No column ever changes, or not even the columns themselves are within the settings' ``terms``.
    """
    choose, bootstrap, points = rng.spawn(3)
    parts = split(len(data), settings.held_out, choose)
    spreads = data.values.std(axis=0)
    moving = np.ptp(data.values, axis=0) > 1e-12 * np.abs(data.values).max(axis=0)
    constant = {c: float(data.values[0, n]) for n, c in enumerate(data.state) if not moving[n]}
    if not moving.any():
        raise InputError("system: no column ever changes, so there is nothing to find")
    spreads = np.where(moving, spreads, 1.0)
    noise = estimate_noise(data)
    for column, error in (known_noise or {}).items():
        noise[data.state.index(column)] = error
    relative = np.where(moving, noise / spreads, 0.0)
    found_kinds = kinds(data, np.maximum(relative, EXACT_NOISE) * spreads, settings.bodies)
    words = vocabulary(
        data.state, np.flatnonzero(moving).tolist(), data.angles, found_kinds, settings.expressions, allowed
    )
    if len(words.plain) > settings.terms:
        raise InputError(
            f"methods.spectral.terms: got {settings.terms}, must be {len(words.plain)} or more for this system"
        )
    order = stages(words, settings.degree, settings.terms, special=settings.special)
    scans = families(words, data.values) if settings.special else []
    # Each dictionary is searched for laws, constraints and what grows, and once more for each law.
    tried = CANDIDATES * (sum(map(len, order)) + len(scans) + DEGREE) * (2 + len(spreads))
    levels = [Level(EXACT_NOISE * spreads, spreads, True, len(data.values), settings, tried)]
    if float(np.median(relative[moving])) > NOISY:
        levels.append(
            Level(np.maximum(relative, EXACT_NOISE) * spreads, spreads, False, len(data.values), settings, tried)
        )
    searching = Stages(
        data=data,
        divide=parts.of,
        levels=levels,
        moving=int(moving.sum()),
        settings=settings,
        fractions=points.uniform(size=PROBES),
        progress=progress,
    )
    notes = [_ALONE]
    if len(data) > 1:
        notes = searching.run(order, scans)
        for tier in quotients(searching.samples.fitting, words, settings.terms) if settings.special else ():
            if not any(one.mean == "each" for one in searching.found):
                searching.search([tier], (), levels[0])
        notes += _notes(parts, searching.sigma / spreads, moving, len(searching.levels))

    probes = (searching.averages.judging or searching.averages.pooled).values
    probes = probes[points.choice(len(probes), min(PROBES, len(probes)), replace=False)]
    laws, rejected = judged(searching.found, searching.shares, settings.bootstrap, bootstrap, probes)
    growing: list[Law] = []
    if len(data) > 1:
        simple = [tier for stage in order for tier in stage if tier.name in SIMPLE]
        special = steady(words, settings.terms) if settings.special else []
        growing = _growing(searching, [*simple, *special], laws, settings, bootstrap)
        passed, failed = _eliminated(searching, growing, laws, settings, bootstrap, probes)
        laws, rejected = [*laws, *passed], [*rejected, *failed]
    if len(data) > 1 and len(levels) > 1:
        # Laws have told that some columns have less noise, or none.
        noise = np.minimum(noise, searching.sigma)
    return Discovery(
        laws=tuple(law for one, law in laws if one.mean == "each"),
        constraints=tuple(law for one, law in laws if one.mean == "all"),
        rejected=tuple(rejected),
        constant=constant,
        growing=tuple(growing if settings.rates else ()),
        noise=dict(zip(data.state, np.where(moving, noise / spreads, 0.0).tolist(), strict=True)),
        kinds=found_kinds,
        spectra=tuple(searching.spectra),
        tiers=tuple(searching.searched),
        nearest=searching.nearest(),
        parts=parts,
        columns=np.flatnonzero(moving),
        window=1 if searching.thinned is None else searching.thinned.window,
        notes=tuple(notes),
    )


def _room(searching: Stages, laws: Sequence[tuple[Found, Law]]) -> int:
    return searching.moving - 1 - sum(one.mean == "each" for one, _ in laws)


def _growing(
    searching: Stages,
    tiers: Sequence[Tier],
    laws: Sequence[tuple[Found, Law]],
    settings: SpectralSettings,
    rng: np.random.Generator,
) -> list[Law]:
    """Return what grows at a constant rate, if it is asked for or may tell of more laws."""
    room = _room(searching, laws)
    found = []
    if settings.rates or (laws and room > 0):
        for one in searching.rates(tiers, room + 1):
            own = searching.shares(one.level)
            law = finished(shortened(one, own.pooled), own, [], settings.bootstrap, rng)
            found += [] if law.failures else [law]
    return found


def _eliminated(
    searching: Stages,
    growing: Sequence[Law],
    laws: Sequence[tuple[Found, Law]],
    settings: SpectralSettings,
    rng: np.random.Generator,
    probes: Array,
) -> tuple[list[tuple[Found, Law]], list[Law]]:
    """Return the laws that remain of what grows if time is eliminated, and those that failed, as ``judged`` does."""
    passed: list[tuple[Found, Law]] = []
    rejected: list[Law] = []
    lines = [str(law.expression) for law in growing]
    for degree in range(1, DEGREE + 1):
        known = [law for one, law in (*laws, *passed) if one.mean == "each"]
        if not known or len(lines) < 2 or _room(searching, [*laws, *passed]) <= 0:
            break
        tier = eliminated(searching.data.state, lines, [str(law.expression) for law in known], degree)
        if len(tier.dictionary) <= settings.terms:
            found = searching.beside(tier, [law.formula for law in known])
            new, failed = judged(found, searching.shares, settings.bootstrap, rng, probes, [*laws, *passed])
            passed, rejected = [*passed, *new], [*rejected, *failed]
    return passed, rejected


def _notes(parts: Split, relative: Array, moving: NDArray[np.bool_], levels: int) -> list[str]:
    """Return what cannot be known from such data, in sentences."""
    notes = []
    if len(parts.judging) == 0:
        notes.append(
            f"There are {len(parts.fitting)} trajectories only (fewer than {FEWEST_TRAJECTORIES}): the terms were "
            "chosen on all of them, and the coefficients judged on each by a fit to the others."
        )
    if levels > 1 and float(np.median(relative[moving])) > TOO_NOISY:
        notes.append(
            f"The noise is estimated at {float(np.median(relative[moving])):.0%} of the columns' spread (motion that "
            "is fast for the sampling looks like noise): laws may be hidden in it."
        )
    return notes


_ALONE = (
    "There is one trajectory only: what is constant along it may be a law or just a constant of all trajectories, so "
    "nothing is reported as conserved."
)
