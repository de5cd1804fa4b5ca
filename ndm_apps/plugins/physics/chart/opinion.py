"""A second opinion on the number of laws: whether a chart sees one that is independent of those written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndm_apps.plugins.physics.chart.fit import Candidate, Judged, fit, judge
from ndm_apps.plugins.physics.chart.samples import RESOLUTION, States, directions, spread_out, stretches
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]
#: Gradient of a law, ``(samples, columns)`` both.
Gradient = Callable[[Array], Array]

# Set on seeds 1000 and 1001, few runs, most of them with SHORTEST 0.05 and WITHIN 3. With one law withheld, laws of six
# systems had distances of 0.02 to 3.3 and separations of 160 and more; with none withheld, what was found was at 2 to
# 190, and never above a separation of 50. A law of Euler's top and the Runge-Lenz vector of Kepler were not seen.
#: A law keeps samples this near to its level sets, in units of what the chart resolves, ...
NEAR = 5.0
#: ... and its means over trajectories have so many times the variance that is left within them.
APART = 100.0


@final
@dataclass(frozen=True)
class Opinion:
    """What a chart sees beside the laws that a dictionary wrote down.

    Attributes
    ----------
    written
        Number of laws that were written down.
    tried
        How the functions did that were fitted one after the other, each to be independent of all before.
    laws
        Those of them that are laws.
    """

    written: int
    tried: tuple[Judged, ...]
    laws: tuple[Candidate, ...]

    @property
    def seen(self) -> int:
        """Number of laws in all."""
        return self.written + len(self.laws)

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        many = f"the chart sees {self.seen} law{'' if self.seen == 1 else 's'}"
        head = f"Second opinion: {many}; the dictionary wrote down {self.written}"
        if not self.tried:
            return f"{head}, and there is no room for another."
        how = f"{self.tried[0].distance:.2g} times what it resolves from the level sets on held-out trajectories"
        if self.laws:
            return f"{head}: something outside the dictionary is conserved ({how})."
        return f"{head} (its best further function leaves samples {how}; it misses some laws, so this proves nothing)."

    def values(self) -> dict[str, Any]:
        """Return the opinion as JSON values."""
        return {
            "dictionary": self.written,
            "chart": self.seen,
            "agrees": not self.laws,
            "tried": [vars(one) for one in self.tried],
            "limits": {"distance": NEAR, "separation": APART},
            "sentence": self.sentence,
        }


def second_opinion(
    fitting: Trajectories,
    judging: Trajectories,
    written: Sequence[Gradient],
    same: Sequence[Gradient],
    noise: Array,
    moving: NDArray[np.intp],
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Opinion:
    """Look for laws beyond those written down, by a chart.

    Parameters
    ----------
    fitting, judging
        Trajectories that are fitted, and that judge.
    written, same
        Gradients of the laws, and of constraints.
    noise
        Standard deviation of the error of each column.
    moving
        Numbers of the columns that change.
    rng
        Draws stretches and first weights.
    progress
        Told what is being done.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    spread = fitting.values.std(axis=0)[moving]
    unit = np.hypot(noise[moving] / RESOLUTION, spread)
    angle = fitting.is_angle[moving]
    centre = torch.from_numpy(np.where(angle, 0.0, fitting.values.mean(axis=0)[moving]))
    scale = torch.from_numpy(np.where(angle, 1.0, spread))
    places = stretches(fitting, rng), spread_out(judging)
    known = [[gradient(x)[:, moving] for gradient in (*written, *same)] for x, _ in places]
    tried: list[Judged] = []
    laws: list[Candidate] = []
    room = len(moving) - 1 - len(known[0])
    while len(laws) < room:
        progress(len(laws), room, "a chart looks for another law")
        one, other = (
            _states(x[:, moving], owner, unit, [*gradients, *(law.gradient(_t(x[:, moving])).numpy() for law in laws)])
            for (x, owner), gradients in zip(places, known, strict=True)
        )
        found = fit(one, centre, scale, np.flatnonzero(angle).tolist(), generator)
        tried.append(judge(found, other))
        if tried[-1].distance > NEAR or tried[-1].separation < APART:
            break
        laws.append(found)
    return Opinion(len(written), tuple(tried), tuple(laws))


def _states(x: Array, owner: NDArray[np.intp], unit: Array, gradients: Sequence[Array]) -> States:
    table = np.stack(gradients, axis=-1) if gradients else np.empty((*x.shape, 0))
    return States(_t(x), torch.from_numpy(owner), _t(unit), directions(table, unit))


def _t(values: Array) -> Tensor:
    return torch.from_numpy(values)
