"""Puts the second opinion into the result of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ndm_apps.plugins.physics.chart.opinion import second_opinion
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.schema import FEWEST_TRAJECTORIES
from ndm_apps.plugins.physics.trajectories import Trajectories


def add_opinion(
    values: Mapping[str, Any],
    found: Discovery,
    data: Trajectories,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> dict[str, Any]:
    """Ask a chart how many laws it sees, and return the result with the answer.

    Parameters
    ----------
    values
        The result, with ``verdict``, ``evidence`` and ``notes``.
    found, data
        What was found, and in which trajectories.
    rng
        Draws samples and first weights.
    progress
        Told what is being done.

    Returns
    -------
    dict
        The same with ``evidence.second_opinion`` and a sentence more in the verdict; with too few trajectories to
        judge, with a note instead.
    """
    parts = found.parts
    if not len(parts.judging):
        note = f"A chart is not asked for a second opinion below {FEWEST_TRAJECTORIES} trajectories: none could judge."
        return {**values, "notes": [*values["notes"], note]}
    noise = np.array([found.noise[column] for column in data.state]) * data.values.std(axis=0)
    opinion = second_opinion(
        data.take(np.sort(np.concatenate([parts.fitting, parts.choosing]))),
        data.take(parts.judging),
        [law.formula.gradient for law in found.laws],
        [law.formula.gradient for law in found.constraints],
        noise,
        found.columns,
        rng,
        progress,
    )
    return {
        **values,
        "verdict": f"{values['verdict']} {opinion.sentence}",
        "evidence": {**values["evidence"], "second_opinion": opinion.values()},
    }
