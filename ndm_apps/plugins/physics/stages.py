"""Runs through the dictionaries: stage after stage, at no noise first; within a stage, forms of one law compete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, assess
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, evaluate
from ndm_apps.plugins.physics.level import EXACT_NOISE, NOISY, Level
from ndm_apps.plugins.physics.recalibrate import recalibrated
from ndm_apps.plugins.physics.scan import Family, settled
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import Found, Search, Spectrum
from ndm_apps.plugins.physics.tiers import SIMPLE, Tier
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import Grounds, polished, spanned_by
from ndm_apps.plugins.physics.windows import Averaged, averaged

Array = NDArray[np.float64]
#: A dictionary that is defined at a smaller part of the samples is left out.
LEAST_VALID = 0.7
#: Without noise more samples than these say nothing new: so many of a longer table are searched.
MOST = 12_000
#: A dictionary is searched with so many samples for each of its terms at least: with fewer, it fits any noise.
PER_TERM = 3


@final
@dataclass(frozen=True)
class Shares:
    """Trajectories by what they are for.

    Attributes
    ----------
    fitting, choosing
        Those that are fitted, and those that choose; without the latter, each is left out in turn.
    pooled
        All of them.
    judging
        Those that judge; None if there are too few.
    """

    fitting: Trajectories
    choosing: Trajectories | None
    pooled: Trajectories
    judging: Trajectories | None


@final
class Stages:
    """Searches for laws and constraints: at no noise in the samples, in noise in averages of them.

    Parameters
    ----------
    data
        All trajectories.
    divide
        Divides them, or their averages.
    levels
        What counts as conserved, at no noise and in noise of single samples.
    moving
        Number of columns that change.
    settings
        Tolerances, and how long it may take.
    fractions
        Numbers in [0, 1) that choose the samples at which gradients are compared.
    progress
        Called with searches done, searches in all, and a text.
    """

    def __init__(
        self,
        data: Trajectories,
        divide: Callable[[Trajectories], Shares],
        levels: Sequence[Level],
        moving: int,
        settings: SpectralSettings,
        fractions: Array,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self.data, self.divide = data, divide
        self.samples = self.averages = divide(data.thinned(MOST))
        self.thinned: Averaged | None = None
        self.levels, self.moving, self.settings = levels, moving, settings
        self.fractions, self.progress = fractions, progress
        self.end = None if settings.seconds is None else time.monotonic() + settings.seconds
        self.found: list[Found] = []
        self.spectra: list[Spectrum] = []
        self.searched: list[Tier] = []
        self.sigma, self.finest = levels[-1].sigma, levels[0]
        self.done = self.total = 0

    def shares(self, level: Level) -> Shares:
        """Return the trajectories that are searched and judged at a level."""
        return self.samples if level.exact else self.averages

    def expired(self) -> bool:
        """Whether time is up."""
        return self.end is not None and time.monotonic() > self.end

    def room(self, mean: Mean) -> int:
        """Return how many more can be found."""
        if mean == "all":
            return self.moving - sum(one.mean == "all" for one in self.found)
        return self.moving - len(self.found) - 1

    def run(self, stages: Sequence[Sequence[Tier]], families: Sequence[Family] = ()) -> list[str]:
        """Search; return what could not be done, in sentences.

        Dictionaries with an unknown number compete with those of two momenta.
        """
        self.total = len(self.levels) * sum(len(stage) for stage in stages)
        for level in map(self.informed, self.levels):
            if level is None:
                break
            for stage in stages:
                if self.room("each") <= 0:
                    return []
                # Once more if its laws show that there is less noise than was thought.
                while True:
                    late = self.search(stage, families, level)
                    if late is not None:
                        return [f"Time was up (seconds: {self.settings.seconds:g}) before dictionary {late.name!r}."]
                    finer = self.recalibrated(level)
                    if finer is level:
                        break
                    level = finer
        return []

    def search(self, stage: Sequence[Tier], families: Sequence[Family], level: Level) -> Tier | None:
        """Search the dictionaries of a stage; return the first for which there is no time."""
        searches: dict[Mean, list[Search]] = {"all": [], "each": []}
        scanned: list[Tier | None] = []
        if any(tier.name.endswith("P") for tier in stage) and not self.expired():
            scanned = [settled(family, self.shares(level).fitting, level) for family in families]
        for tier in [*stage, *(tier for tier in scanned if tier is not None)]:
            if self.expired():
                return tier
            self.done += 1
            text = f"{tier.name}, {len(tier.dictionary)} terms: {len(self.found)} found"
            self.progress(min(self.done, self.total), self.total, text)
            grounds = self.grounds(tier, level)
            if grounds is None:
                continue
            for mean, some in searches.items():
                some.append(Search(grounds, level, tier.name, mean))
                self.spectra.append(some[-1].spectrum)
            if tier not in self.searched:
                self.searched.append(tier)
        for mean, some in searches.items():
            self.compete(some, mean)
        return None

    def recalibrated(self, level: Level) -> Level:
        """Return a level with the noise that laws show; those found that do not pass there are given up."""
        data = self.shares(level).pooled
        finer = level
        for one in self.found:
            if one.mean == "each" and not one.level.exact:
                finer = recalibrated(replace(one, level=finer), data)
        if finer is level:
            return level
        self.sigma, self.finest = self.sigma * finer.sigma / level.sigma, finer
        self.found = [one if one.level.exact else replace(one, level=finer) for one in self.found]
        self.found = [one for one in self.found if one.level.exact or holds(one, data)]
        return finer

    def informed(self, level: Level) -> Level | None:
        """Return a level that knows which columns are exact from laws found; None if no column is noisy, after all.

        Noise is estimated too large where motion is fast for the sampling; an exact law proves that there is none. If
        there is none such, samples are averaged, and the level is that of the averages.
        """
        if level.exact:
            return level
        proven = np.zeros(len(level.sigma), dtype=bool)
        for one in (one for one in self.found if one.level.exact):
            proven[[n for atom in one.formula.dictionary.atoms for n in atom.columns]] = True
        sigma = np.where(proven, np.minimum(level.sigma, EXACT_NOISE * level.spreads), level.sigma)
        self.sigma = sigma
        if proven.any() and not (sigma > NOISY * level.spreads).any():
            return None
        self.finest = replace(level, sigma=sigma)
        if not proven.any():
            self.thinned = averaged(self.data, sigma)
            self.finest = replace(level, sigma=self.thinned.sigma)
            self.averages = self.divide(self.thinned.data) if self.thinned.window > 1 else self.divide(self.data)
        return self.finest

    def rates(self, tiers: Sequence[Tier], most: int) -> list[Found]:
        """Return functions that grow at a constant rate along each trajectory: H - t dH/dt is a law with time in it.

        Parameters
        ----------
        tiers
            Dictionaries to search. If those of degree 1 and 2 have none, no others are searched.
        most
            No more than these are looked for.
        """
        found: list[Found] = []
        for tier in tiers:
            if self.expired() or len(found) >= most or (not found and tier.name not in SIMPLE):
                break
            grounds = self.grounds(tier, self.finest)
            if grounds is not None:
                known = [one.formula for one in (*self.found, *found)]
                room = min(self.moving - len(known), most - len(found))
                found += Search(grounds, self.finest, tier.name, "line").all(known, room, self.expired)
        return found

    def beside(self, tier: Tier, known: Sequence[Formula]) -> list[Found]:
        """Return the laws of one more dictionary that are independent of known ones."""
        grounds = self.grounds(tier, self.finest)
        if grounds is None or self.expired():
            return []
        search = Search(grounds, self.finest, tier.name, "each")
        self.searched.append(tier)
        self.spectra.append(search.spectrum)
        return search.all(known, self.moving - 1 - len(known), self.expired)

    def grounds(self, tier: Tier, level: Level) -> Grounds | None:
        """Return the samples of a dictionary; None if it is defined at too few."""
        own = self.shares(level)
        try:
            if tier.dictionary.valid(own.pooled.values, level.sigma).mean() < LEAST_VALID:
                return None
            fitting = evaluate(tier.dictionary, own.fitting, level.sigma, noisy=not level.exact)
            choosing = None
            if own.choosing is not None:
                choosing = evaluate(tier.dictionary, own.choosing, level.sigma, noisy=not level.exact)
        except ValueError:
            return None
        if PER_TERM * len(tier.dictionary) > fitting.size:
            return None
        probes = fitting.values[(self.fractions * fitting.size).astype(int)]
        return Grounds(tier.dictionary, fitting, choosing, own.pooled, probes)

    def compete(self, searches: Sequence[Search], mean: Mean) -> None:
        """Add what the searches find, until they find no more; of forms of one law, the best."""
        searches = list(searches)
        while self.room(mean) > 0 and not self.expired():
            known = [one.formula for one in self.found]
            each = [search.all(known, self.room(mean), self.expired) for search in searches]
            candidates = [one for some in each for one in some]
            if not candidates:
                break
            # What a search did not find beside fewer laws, it does not find beside more.
            searches = [search for search, some in zip(searches, each, strict=True) if some]
            for one in sorted(candidates, key=lambda one: one.criterion):
                if self.room(mean) > 0 and self.is_new(one):
                    self.found.append(one)
            if len(searches) == 1:
                break

    def is_new(self, one: Found) -> bool:
        """Return whether a formula is independent of what was found."""
        values = self.shares(one.level).fitting.values
        probes = values[(self.fractions * len(values)).astype(int)]
        probes = probes[one.formula.dictionary.valid(probes, one.level.sigma)]
        spanned = spanned_by([other.formula for other in self.found], probes, one.level.spreads)
        return novelty(one.formula.gradient(probes) * one.level.spreads, spanned, typical=True) > one.level.independence

    def nearest(self) -> tuple[Formula, Assessment] | None:
        """Return the least changing function of the last search, and its figures on the trajectories that judge."""
        laws = [one for one in self.spectra if one.mean == "each"]
        if not laws:
            return None
        least, exact = laws[-1].least, laws[-1].exact
        level = self.levels[0] if exact else self.finest
        own = self.shares(level)
        samples = evaluate(least.dictionary, own.judging or own.pooled, level.sigma, noisy=not exact)
        return least, assess(samples, least.coefficients, level.sigma)


def holds(one: Found, data: Trajectories) -> bool:
    """Return whether a law found passes the tests of its level, the coefficients fitted anew."""
    level, dictionary = one.level, one.formula.dictionary
    samples = evaluate(dictionary, data, level.sigma, noisy=not level.exact)
    vector = polished(samples, one.formula.coefficients, level.sigma, one.mean, exact=level.exact)
    tested = crossed(samples, vector, level.sigma, one.mean, exact=level.exact)
    return not level.failures(tested, len(samples.starts), len(vector), samples.size, one.mean)
