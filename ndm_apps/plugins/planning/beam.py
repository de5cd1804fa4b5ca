"""Search over discrete controls, or for least time: a beam whose heuristic is the value.

References
----------
Bisiani, "Beam search", in Encyclopedia of Artificial Intelligence, Wiley, 1987.
"""

from __future__ import annotations

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.nodes import Embedding
from ndm_apps.plugins.planning.path import Path
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.value import Value

_CELL = 0.05  # units of the embedding: of the states in one cell, one survives
_AHEAD = 10  # steps ahead of a search whose objective is a cost


def beam_search(
    dynamics: Dynamics,
    problem: Problem,
    potential: Potential,
    embedding: Embedding,
    value: Value,
    start: Array,
    *,
    width: int,
    steps: int,
) -> tuple[Path, Array]:
    """Return the best path found from a start (n,), of ``steps`` at most, and all states that were kept on the way.

    For least time, it ends with the first state at the goal, and has converged if it came there; otherwise a few steps
    ahead, where the value takes over.
    """
    x, paid = start[None], np.zeros(1)
    effort = ((value.controls @ problem.control_cost) * value.controls).sum(-1)
    timed = problem.objective == "time"
    history: list[tuple[Array, np.ndarray, np.ndarray]] = []
    done = -1
    for _ in range(steps if timed else min(steps, _AHEAD)):
        count, choices = len(x), len(value.controls)
        u = np.broadcast_to(value.controls, (count, choices, value.controls.shape[-1]))
        ends = dynamics.step(np.broadcast_to(x[:, None], (count, choices, x.shape[-1])), u).reshape(count * choices, -1)
        costs = paid[:, None] + (np.ones((count, 1)) if timed else potential.cost(x)[:, None] + effort)
        costs = np.broadcast_to(costs, (count, choices)).ravel()
        inside = ~((ends < problem.limits[:, 0]) | (ends > problem.limits[:, 1])).any(-1)
        estimate = np.where(inside, costs + value(ends), np.inf)
        kept = _survivors(embedding(ends), estimate, width)
        if not len(kept):
            break
        x, paid = ends[kept], costs[kept]
        history.append((x, kept // choices, kept % choices))
        if problem.objective != "cost" and problem.reached(x).any():
            done = int(np.argmax(problem.reached(x)))
            break
    if not history:
        return Path(start[None], np.zeros((0, dynamics.controls)), np.inf, False, False), start[None]
    whole = done >= 0 or problem.objective == "cost"
    at = max(done, 0)
    cost = float(paid[at] + (0.0 if done >= 0 else value(x[at])))
    states, controls = [], []
    for ends, parents, chosen in reversed(history):
        states.append(ends[at])
        controls.append(value.controls[chosen[at]])
        at = parents[at]
    path = Path(np.array([start, *states[::-1]]), np.array(controls[::-1]), cost, whole, whole)
    return path, np.concatenate([ends for ends, _, _ in history])


def _survivors(place: Array, estimate: Array, width: int) -> np.ndarray:
    """Return the best states, one of each cell, best first; those of infinite estimate are none."""
    order = np.argsort(estimate, kind="stable")
    order = order[np.isfinite(estimate[order])]
    _, first = np.unique(np.floor(place[order] / _CELL).astype(np.int64), axis=0, return_index=True)
    return np.asarray(order[np.sort(first)[:width]])
