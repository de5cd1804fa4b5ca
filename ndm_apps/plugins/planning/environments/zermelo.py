"""Zermelo's navigation: a boat of unit speed in a current."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from gymnasium import spaces

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.environments.canvas import Picture, canvas, disc, line
from ndm_apps.plugins.planning.environments.kinematic import Kinematic
from ndm_apps.plugins.planning.truth import TrueDynamics

#: Length of a step in time.
STEP = 0.05
#: Starts and goals are within this of the origin, in each direction.
REACH = 2.0


@final
class Zermelo(Kinematic):
    """A boat of speed up to 1 through the water, which flows at W(x, y) = wind + shear * (y, 0).

    Observation: x, y, and the goal's x, y. The reward is minus the time.

    Parameters
    ----------
    wind
        The flow at the origin.
    shear
        Change of the flow along x with y.
    """

    def __init__(
        self, wind: tuple[float, float] = (0.5, 0.2), shear: float = 0.0, render_mode: str | None = None
    ) -> None:
        self.wind, self.shear = np.array(wind, dtype=np.float64), float(shear)
        if np.linalg.norm(self.wind) + abs(self.shear) * REACH >= 1.0:
            raise ValueError(
                f"environment.kwargs: wind {list(wind)} and shear {shear} are as fast as the boat, must be slower: "
                f"|wind| + {REACH:g}*|shear| < 1"
            )
        super().__init__(render_mode)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def flow(self, points: Any) -> Any:
        """Return the flow (..., 2) at points (..., 2)."""
        along = self.wind[0] + self.shear * points[..., 1]
        return np.stack([along, np.full_like(along, self.wind[1])], axis=-1)

    def _dynamics(self) -> TrueDynamics:
        # Half a step of the flow at either end: with no shear the step is exact.
        def moved(x: Any, u: Any) -> Any:
            middle = x + STEP / 2 * (u + self.flow(x))
            return x + STEP * (u + self.flow(middle))

        return TrueDynamics(2, 2, (), moved)

    def _draw(self) -> tuple[Array, Array]:
        start, goal = self.np_random.uniform(-REACH, REACH, (2, 2))
        return start, goal

    def _price(self, moved: float) -> float:
        return STEP

    def _observation(self) -> Any:
        return np.concatenate([self._x, self.goal]).astype(np.float32)

    def render(self) -> Picture:
        """Return a picture, (320, 320, 3), with the flow as strokes that begin at a dot."""
        picture, centre, scale = canvas(320, 320), np.array([160.0, 160.0]), np.array([40.0, -40.0])
        for x in np.arange(-3.5, 4.0, 1.0):
            for y in np.arange(-3.5, 4.0, 1.0):
                at = centre + scale * (x, y)
                line(picture, at, at + 0.8 * scale * self.flow(np.array([x, y])), 1, (170, 195, 225))
                disc(picture, at, 2, (170, 195, 225))
        disc(picture, centre + scale * self.goal, 40 * self.radius, (60, 160, 80))
        disc(picture, centre + scale * self._x, 5, (200, 90, 40))
        return picture
