"""Random experience of a point among walls: straight on until a wall refuses the move, then another way."""

from __future__ import annotations

import numpy as np

from ndm_apps.plugins.planning.collect import Experience

#: Moves after which a straight walk ends by itself, in the mean.
STRAIGHT = 20
#: A move shorter than this share of the longest one so far under as much control has been refused.
REFUSED = 0.7


def roam(experience: Experience, steps: int, rng: np.random.Generator) -> None:
    """Take steps in random directions at full control, each direction until a wall is met.

    Held random controls spend most steps pushing against the wall they have met; this way, most of them see new places.

    Parameters
    ----------
    experience
        Where they are remembered.
    steps
        How many.
    rng
        Draws directions and how long they are kept.
    """
    end, longest, turn = experience.steps + steps, 0.0, True
    while experience.steps < end:
        if turn or rng.random() < 1 / STRAIGHT:
            u = rng.standard_normal(len(experience.problem.low))
            u /= np.abs(u / np.where(u > 0, experience.problem.high, experience.problem.low)).max()
        ended = experience.step(u)
        x, applied, y = experience._seen[-1]
        gain = float(np.linalg.norm(y - x) / np.linalg.norm(applied))
        longest = max(longest, gain)
        turn = ended or gain < REFUSED * longest
