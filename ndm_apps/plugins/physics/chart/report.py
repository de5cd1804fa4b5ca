"""Asks a chart for a second opinion on what a search found, and puts it into the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ndm_apps.plugins.physics.chart.opinion import Opinion, second_opinion
from ndm_apps.plugins.physics.invariants import Discovery
from ndm_apps.plugins.physics.schema import FEWEST_TRAJECTORIES
from ndm_apps.plugins.physics.trajectories import Trajectories


def asked(
    found: Discovery,
    data: Trajectories,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Opinion | None:
    """Ask a chart how many laws it sees; None with too few trajectories to judge.

    Parameters
    ----------
    found, data
        What was found, and in which trajectories.
    rng
        Draws samples and first weights.
    progress
        Told what is being done.
    """
    parts = found.parts
    if not len(parts.judging):
        return None
    noise = np.array([found.noise[column] for column in data.state]) * data.values.std(axis=0)
    return second_opinion(
        data.take(np.sort(np.concatenate([parts.fitting, parts.choosing]))),
        data.take(parts.judging),
        [law.formula.gradient for law in found.laws],
        [law.formula.gradient for law in found.constraints],
        noise,
        found.columns,
        rng,
        progress,
    )


def told(values: Mapping[str, Any], opinion: Opinion | None, added: tuple[str, ...] | None) -> dict[str, Any]:
    """Return a result with a second opinion.

    Parameters
    ----------
    values
        The result, with ``verdict`` and ``evidence``.
    opinion
        What a chart sees; None with too few trajectories.
    added
        What symbolic regression added to the dictionary, so that a law was found; None if it was not asked.

    Returns
    -------
    dict
        The same with ``evidence.second_opinion``, if there is one, and a sentence more in the verdict.
    """
    if opinion is None:
        note = f"A chart is not asked for a second opinion below {FEWEST_TRAJECTORIES} trajectories: none could judge."
        return {**values, "verdict": f"{values['verdict']} {note}"}
    verdict = f"{values['verdict']} {opinion.sentence}"
    if added:
        verdict += f" With {', '.join(added)} from symbolic regression in the dictionary, it is written down."
    elif added is not None and opinion.laws:
        verdict += " Symbolic regression wrote no formula of it that passes."
    judged = {**opinion.values(), "symbolic": None if added is None else list(added)}
    return {**values, "verdict": verdict, "evidence": {**values["evidence"], "second_opinion": judged}}
