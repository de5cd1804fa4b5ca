"""A search with all that settings ask for: the dictionaries, then a chart, then formulas beyond the dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from ndm_apps.plugins.physics.invariants import Discovery, find_invariants
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.trajectories import Trajectories

if TYPE_CHECKING:
    from ndm_apps.plugins.physics.chart.opinion import Opinion


@final
@dataclass(frozen=True)
class Opinions:
    """What was found, and what a chart thinks of it.

    Attributes
    ----------
    found
        By the dictionaries, and what symbolic regression added to them.
    chart
        What a chart sees beside what the dictionaries alone wrote down; None if it was not asked, or cannot tell.
    added
        What symbolic regression added, so that a law was found; None if it was not asked.
    was_asked
        Whether a chart was asked.
    """

    found: Discovery
    chart: Opinion | None = None
    added: tuple[str, ...] | None = None
    was_asked: bool = False

    def told(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result with what a chart sees, if it was asked."""
        if not self.was_asked:
            return dict(values)
        from ndm_apps.plugins.physics.chart.report import told

        return told(values, self.chart, self.added)


def search(
    data: Trajectories,
    settings: SpectralSettings,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    **known: Any,
) -> Opinions:
    """Search as :func:`~ndm_apps.plugins.physics.invariants.find_invariants` does, and ask a chart if settings say so.

    Raises
    ------
    InputError
        As there; or symbolic regression is asked for, and Operon is not installed.
    """
    if settings.symbolic:
        from ndm_apps.plugins.physics.symbolic.regress import require

        require()
    start = deepcopy(rng)
    found = find_invariants(data, settings, rng, progress, **known)
    if not (settings.second_opinion or settings.symbolic):
        return Opinions(found)
    from ndm_apps.plugins.physics.chart.report import asked

    chart = asked(found, data, rng, progress)
    if not settings.symbolic or chart is None:
        return Opinions(found, chart, was_asked=True)
    from ndm_apps.plugins.physics.symbolic.beyond import beyond

    def again(more: SpectralSettings) -> Discovery:
        # The same draws, so that trajectories are divided in the same way.
        return find_invariants(data, more, deepcopy(start), progress, **known)

    found, added = beyond(again, found, chart.laws, data, settings, rng, progress)
    return Opinions(found, chart, added, was_asked=True)
