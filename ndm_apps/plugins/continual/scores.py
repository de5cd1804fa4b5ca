"""Scores of a continual learner: accuracy over time, and detected against true shifts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any


def accuracy_scores(matrix: Sequence[Sequence[float]], starts: Sequence[int]) -> dict[str, float]:
    r"""Summarise an accuracy matrix.

    With :math:`a_{ij}` the accuracy on test set j at stop i, T the last stop and :math:`s_j` the first stop by which
    test set j has been trained on,

    .. math::
        \text{accuracy} = \tfrac1n \sum_j a_{Tj}, \quad
        \text{forgetting} = \operatorname{mean}_{s_j<T} \big(\max_{s_j\le i<T} a_{ij} - a_{Tj}\big), \quad
        \text{backward transfer} = \operatorname{mean}_{s_j<T} (a_{Tj} - a_{s_j j}).

    With hidden boundaries a stop is evaluated after the mini-batch that contains it, which may hold samples of the next
    experience already.

    Parameters
    ----------
    matrix
        Accuracies, stops by test sets.
    starts
        First stop of each test set.

    Returns
    -------
    dict
        ``final_accuracy``, ``forgetting``, ``backward_transfer``; the last two are 0 where nothing could be forgotten.

    References
    ----------
    Lopez-Paz and Ranzato 2017 (backward transfer), Chaudhry et al. 2018 (forgetting).

    Examples
    --------
    >>> accuracy_scores([[1.0, 0.0], [0.5, 1.0]], starts=[0, 1])
    {'final_accuracy': 0.75, 'forgetting': 0.5, 'backward_transfer': -0.5}
    """
    final = matrix[-1]
    older = [j for j, start in enumerate(starts) if start < len(matrix) - 1]
    lost = [max(row[j] for row in matrix[starts[j] : -1]) - final[j] for j in older]
    gained = [final[j] - matrix[starts[j]][j] for j in older]
    return {
        "final_accuracy": sum(final) / len(final),
        "forgetting": sum(lost) / len(lost) if lost else 0.0,
        "backward_transfer": sum(gained) / len(gained) if gained else 0.0,
    }


def shift_scores(
    true: Sequence[int],
    alarms: Sequence[int],
    *,
    max_delay: int,
    samples: int,
    blends: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Score alarms against true shifts.

    The first alarm at most ``max_delay`` samples after a shift, and before the next shift, detects it; of a gradual one
    it has the samples of the transition beside. Every other alarm is false.

    Parameters
    ----------
    true, alarms
        Sample indices, increasing.
    max_delay
        Longest delay of a detection, in samples.
    samples
        Length of the stream.
    blends
        For each shift, the samples over which the new distribution replaces the old one; 0, or not given: at once.

    Returns
    -------
    dict
        ``true``, ``blends``, ``alarms``, ``delays`` (samples; None for a shift that was missed), ``precision``,
        ``recall``, ``f1``, ``mean_delay``, ``false_alarms_per_10k``; and of abrupt and gradual shifts apart
        ``recall_abrupt``, ``median_delay_abrupt``, ``recall_gradual``, ``median_delay_gradual``. A score that has no
        denominator is None.

    Examples
    --------
    >>> scores = shift_scores([1000, 2000], [500, 1200, 1250, 2100], max_delay=200, samples=10_000)
    >>> round(scores["f1"], 3), scores["mean_delay"], scores["delays"]
    (0.667, 150.0, [200, 100])
    """
    blends = [0] * len(true) if blends is None else list(blends)
    delays: list[int | None] = []
    for shift, blend, following in zip(true, blends, [*true, samples][1:], strict=True):
        last = min(shift + max_delay + blend, following - 1)
        hit = next((alarm for alarm in alarms if shift <= alarm <= last), None)
        delays.append(None if hit is None else hit - shift)
    found = [delay for delay in delays if delay is not None]
    scores = {
        "true": list(true),
        "blends": blends,
        "alarms": list(alarms),
        "delays": delays,
        "precision": len(found) / len(alarms) if alarms else None,
        "recall": len(found) / len(true) if true else None,
        "f1": 2 * len(found) / (len(true) + len(alarms)) if len(true) + len(alarms) else None,
        "mean_delay": sum(found) / len(found) if found else None,
        "false_alarms_per_10k": 1e4 * (len(alarms) - len(found)) / samples,
    }
    for kind, gradual in (("abrupt", False), ("gradual", True)):
        of_kind = [delay for delay, blend in zip(delays, blends, strict=True) if bool(blend) is gradual]
        found = [delay for delay in of_kind if delay is not None]
        scores[f"recall_{kind}"] = len(found) / len(of_kind) if of_kind else None
        scores[f"median_delay_{kind}"] = float(median(found)) if found else None
    return scores
