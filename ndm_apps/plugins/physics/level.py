"""What counts as conserved: thresholds at no noise, and at the noise of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm as normal_distribution

from ndm_apps.plugins.physics.assessment import Assessment, least_f
from ndm_apps.plugins.physics.leaf import Mean
from ndm_apps.plugins.physics.noise import RELATIVE_ERROR
from ndm_apps.plugins.physics.schema import SpectralSettings

Array = NDArray[np.float64]

#: Noise that is taken as given where none is found, in units of a column's standard deviation.
EXACT_NOISE = 1e-6
#: Estimated noise above this, in the same units, is taken for noise.
NOISY = 1e-5
#: Eigenvalues below these are looked at: at no noise (integration errors count), and in noise.
KEPT_EXACT, KEPT_NOISY = 25.0, 1.6
#: ... and below these on the trajectories that choose.
CHOSEN_EXACT, CHOSEN_NOISY = 25.0, 2.0
#: Entries below this part of the largest do not count in a formula.
FLOOR_EXACT, FLOOR_NOISY = 1e-6, 0.02
#: Parts of gradients outside the span of what is known that are worth a search.
NEW_EXACT, NEW_NOISY = 1e-5, 0.02
INDEPENDENT_EXACT = 1e-3
#: An independent formula's gradient must leave the span by this many times the noise at least.
INDEPENDENT_PER_NOISE = 3.0
#: The standard error of a leaf distance is believed up to so many times that of normal noise.
HEAVY_TAILS = 2.0
#: Most that a law may vary beyond known ones (noise adds to the second order what these do not explain).
BEYOND = 2.5
#: Longest formula in noise: with more terms, almost anything is fitted by accident.
MOST_TERMS = 24
#: ... that is constant over all data: a thin cloud of data, such as an attractor, fits long ones.
MOST_TOGETHER = 6
#: Leaves of a law lie this far from each other at least (median square), in units of the noise: if noise hides them,
#: nearly anything passes for constant ...
SEPARATED = 0.5
#: ... and by this factor farther than one of all candidates that are tried may, by chance, vary along them unnoticed.
APART = 2.0
#: Chance that any one of all candidates that are tried passes a test by luck.
LUCK = 1e-3


@dataclass(frozen=True)
class Level:
    """What counts as conserved.

    Attributes
    ----------
    sigma
        Noise of each column.
    spreads
        Standard deviation of each column.
    exact
        Whether there is no noise.
    estimated_from
        Number of samples that the noise was estimated from.
    settings
        Tolerances.
    tried
        How many candidates may be tried in all: where so many look for a law, luck has as many chances.
    """

    sigma: Array
    spreads: Array
    exact: bool
    estimated_from: int
    settings: SpectralSettings
    tried: int = 1

    @property
    def kept(self) -> float:
        """Largest eigenvalue that is looked at."""
        return KEPT_EXACT if self.exact else KEPT_NOISY

    @property
    def chosen(self) -> float:
        """Largest eigenvalue that is looked at on the trajectories that choose."""
        return CHOSEN_EXACT if self.exact else CHOSEN_NOISY

    @property
    def floor(self) -> float:
        """Entries of a vector below this part of the largest do not count."""
        return FLOOR_EXACT if self.exact else FLOOR_NOISY

    @property
    def new(self) -> float:
        """Least part of a gradient outside the span of what is known that is worth a search."""
        return NEW_EXACT if self.exact else NEW_NOISY

    @property
    def independence(self) -> float:
        """Least novelty of a formula."""
        if self.exact:
            return INDEPENDENT_EXACT
        relative = float(np.median(self.sigma / self.spreads))
        return max(self.settings.independence, INDEPENDENT_PER_NOISE * relative)

    def most_terms(self, mean: Mean) -> int:
        """Return how many terms a formula has in noise at most."""
        return MOST_TOGETHER if mean == "all" else MOST_TERMS

    def distance_limit(self, samples: int, terms: int, fitted: int, error: float = 0.0) -> float:
        """Largest mean squared leaf distance of what is conserved; ``error`` is its standard error, if known."""
        if self.exact:
            return KEPT_EXACT
        return 1.0 + 3.0 * self._chance(samples, error) + self.settings.distance + 2.0 * terms / fitted

    def _chance(self, samples: int, error: float) -> float:
        """Return the standard error of a leaf distance, that of the noise's estimate in it."""
        # Tails heavier than normal ones make it vary more, but not without bound.
        normal = float(np.sqrt(2.0 / samples))
        error = min(max(error, normal), HEAVY_TAILS * normal)
        return float(np.hypot(error, RELATIVE_ERROR / np.sqrt(self.estimated_from)))

    def least_separation(self, found: Assessment, limit: float) -> float:
        r"""Return how far leaves of a law must lie from each other, in units of the noise.

        Of N candidates, one whose squared leaf distance is truly :math:`\lambda e^{z\,\mathrm{se}}` passes a limit of
        :math:`\lambda` by luck, with z the normal quantile of a chance of 0.001/N. What may so hide along the leaves,
        but no more than is seen there, must be little beside how far they lie apart.
        """
        luck = float(np.exp(normal_distribution.isf(LUCK / self.tried) * self._chance(found.samples, found.error)))
        return max(SEPARATED, APART * min(limit * luck - 1.0, found.distance * luck))

    def failures(self, found: Assessment, trajectories: int, terms: int, fitted: int, mean: Mean) -> list[str]:
        """Return the tests that a function does not pass, in words."""
        failed = []
        if not self.exact and terms > (most := self.most_terms(mean)):
            failed.append(f"{terms} terms, must be at most {most} in noise")
        if not found.distance <= (distance := self.distance_limit(found.samples, terms, fitted, found.error)):
            failed.append(f"leaf distance {found.distance:.3g} > {distance:.3g}")
        if not self.exact and found.beyond > BEYOND:
            failed.append(f"varies beyond the noise that known laws explain: {found.beyond:.3g} > {BEYOND:g}")
        if self.exact and mean == "each" and found.drift > self.settings.exact_drift:
            failed.append(f"drift {found.drift:.3g} > {self.settings.exact_drift:.3g}")
        if not self.exact:
            limit = self.settings.whiteness + 4.0 / float(np.sqrt(found.samples))
            if found.autocorrelation > limit:
                failed.append(f"residuals correlate in time: {found.autocorrelation:.3g} > {limit:.3g}")
        if mean == "each":
            least = least_f(self.settings.f_statistic, trajectories, found.samples, LUCK / self.tried)
            if found.f_statistic < least:
                failed.append(f"trajectories do not differ: F {found.f_statistic:.3g} < {least:.3g}")
            if not self.exact and found.separation < (least := self.least_separation(found, distance)):
                failed.append(f"noise hides how trajectories differ: {found.separation:.3g} < {least:.3g}")
        return failed
