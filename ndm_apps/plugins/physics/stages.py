"""Runs through the dictionaries: stage after stage, at no noise first; within a stage, forms of one law compete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.physics.assessment import Assessment, assess
from ndm_apps.plugins.physics.dictionary import Formula
from ndm_apps.plugins.physics.independence import novelty
from ndm_apps.plugins.physics.leaf import Mean, evaluate
from ndm_apps.plugins.physics.level import EXACT_NOISE, NOISY, Level
from ndm_apps.plugins.physics.scan import Family, settled
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import Found, Search, Spectrum
from ndm_apps.plugins.physics.tiers import Tier
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import Grounds, spanned_by

Array = NDArray[np.float64]
#: A dictionary that is defined at a smaller part of the samples is left out.
LEAST_VALID = 0.7


@final
class Stages:
    """Searches for laws and constraints.

    Parameters
    ----------
    fitting, choosing
        Trajectories that are fitted, and those that choose; without the latter, each is left out in turn.
    pooled
        All of them.
    levels
        What counts as conserved, at no noise and in noise.
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
        fitting: Trajectories,
        choosing: Trajectories | None,
        pooled: Trajectories,
        levels: Sequence[Level],
        moving: int,
        settings: SpectralSettings,
        fractions: Array,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self.fitting, self.choosing, self.pooled = fitting, choosing, pooled
        self.levels, self.moving, self.settings = levels, moving, settings
        self.fractions, self.progress = fractions, progress
        self.end = None if settings.seconds is None else time.monotonic() + settings.seconds
        self.found: list[Found] = []
        self.spectra: list[Spectrum] = []
        self.searched: list[Tier] = []
        self.sigma = levels[-1].sigma

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
        done, total = 0, len(self.levels) * sum(len(stage) for stage in stages)
        for level in map(self.informed, self.levels):
            if level is None:
                break
            for stage in stages:
                if self.room("each") <= 0:
                    return []
                searches: dict[Mean, list[Search]] = {"all": [], "each": []}
                scanned: list[Tier | None] = []
                if any(tier.name.endswith("P") for tier in stage) and not self.expired():
                    scanned = [settled(family, self.fitting, level) for family in families]
                for tier in [*stage, *(tier for tier in scanned if tier is not None)]:
                    if self.expired():
                        return [f"Time was up (seconds: {self.settings.seconds:g}) before dictionary {tier.name!r}."]
                    done += 1
                    self.progress(done, total, f"{tier.name}, {len(tier.dictionary)} terms: {len(self.found)} found")
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
        return []

    def informed(self, level: Level) -> Level | None:
        """Return a level that knows which columns are exact from laws found; None if no column is noisy, after all.

        Noise is estimated too large where motion is fast for the sampling; an exact law proves that there is none.
        """
        if level.exact:
            return level
        proven = np.zeros(len(level.sigma), dtype=bool)
        for one in (one for one in self.found if one.level.exact):
            proven[[n for atom in one.formula.dictionary.atoms for n in atom.columns]] = True
        sigma = np.where(proven, np.minimum(level.sigma, EXACT_NOISE * level.spreads), level.sigma)
        self.sigma = sigma
        return replace(level, sigma=sigma) if (sigma > NOISY * level.spreads).any() else None

    def rates(self, tiers: Sequence[Tier]) -> list[Found]:
        """Return functions that grow at a constant rate along each trajectory: H - t dH/dt is a law with time in it."""
        level = next((one for one in map(self.informed, reversed(self.levels)) if one is not None), self.levels[0])
        found: list[Found] = []
        for tier in tiers:
            grounds = self.grounds(tier, level)
            if grounds is None or self.expired():
                continue
            known = [one.formula for one in (*self.found, *found)]
            found += Search(grounds, level, tier.name, "line").all(known, self.moving - len(known), self.expired)
        return found

    def grounds(self, tier: Tier, level: Level) -> Grounds | None:
        """Return the samples of a dictionary; None if it is defined at too few."""
        try:
            if tier.dictionary.valid(self.pooled.values, level.sigma).mean() < LEAST_VALID:
                return None
            fitting = evaluate(tier.dictionary, self.fitting, level.sigma, noisy=not level.exact)
            choosing = None
            if self.choosing is not None:
                choosing = evaluate(tier.dictionary, self.choosing, level.sigma, noisy=not level.exact)
        except ValueError:
            return None
        probes = fitting.values[(self.fractions * fitting.size).astype(int)]
        return Grounds(tier.dictionary, fitting, choosing, self.pooled, probes)

    def compete(self, searches: Sequence[Search], mean: Mean) -> None:
        """Add what the searches find, until they find no more; of forms of one law, the best."""
        while self.room(mean) > 0 and not self.expired():
            known = [one.formula for one in self.found]
            candidates = [one for search in searches for one in search.all(known, self.room(mean), self.expired)]
            if not candidates:
                break
            for one in sorted(candidates, key=lambda one: one.criterion):
                if self.room(mean) > 0 and self.is_new(one):
                    self.found.append(one)
            if len(searches) == 1:
                break

    def is_new(self, one: Found) -> bool:
        """Return whether a formula is independent of what was found."""
        probes = self.fitting.values[(self.fractions * len(self.fitting.values)).astype(int)]
        probes = probes[one.formula.dictionary.valid(probes, one.level.sigma)]
        spanned = spanned_by([other.formula for other in self.found], probes, one.level.spreads)
        return novelty(one.formula.gradient(probes) * one.level.spreads, spanned, typical=True) > one.level.independence

    def nearest(self, judging: Trajectories) -> tuple[Formula, Assessment] | None:
        """Return the least changing function of the last search, and its figures."""
        laws = [one for one in self.spectra if one.mean == "each"]
        if not laws:
            return None
        level = self.levels[0 if laws[-1].exact else -1]
        least = laws[-1].least
        samples = evaluate(least.dictionary, judging, level.sigma, noisy=not level.exact)
        return least, assess(samples, least.coefficients, level.sigma)
