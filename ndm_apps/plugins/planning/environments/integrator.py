"""A mass on a line that is pushed to rest at the origin: linear dynamics, quadratic cost."""

from __future__ import annotations

from typing import Any, ClassVar, final

import gymnasium
import numpy as np
from gymnasium import spaces

from ndm_apps.plugins.planning.environments.canvas import Picture, canvas, disc, line
from ndm_apps.plugins.planning.truth import TrueDynamics

_STEP = 0.1


@final
class DoubleIntegrator(gymnasium.Env):
    """A unit mass at x with velocity v, pushed by a force in [-10, 10] for steps of 0.1.

    The reward is -(x^2 + 0.1 v^2 + 0.1 u^2) before the step. Observation: x, v. The least cost is known.

    Attributes
    ----------
    transition, gain, state_cost, control_cost
        The matrices of dynamics and cost.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    transition: ClassVar[Any] = np.array([[1.0, _STEP], [0.0, 1.0]])
    gain: ClassVar[Any] = np.array([[_STEP**2 / 2], [_STEP]])
    state_cost: ClassVar[Any] = np.diag([1.0, 0.1])
    control_cost: ClassVar[Any] = np.diag([0.1])

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.dynamics = TrueDynamics(2, 1, (), lambda x, u: x @ self.transition.T + u @ self.gain.T)
        self._x = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode at a random place with a random velocity."""
        super().reset(seed=seed)
        self._x = self.np_random.uniform(-1.0, 1.0, 2)
        return self._x.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Push for one step."""
        u = np.clip(np.asarray(action, dtype=np.float64), -10.0, 10.0)
        cost = self._x @ self.state_cost @ self._x + u @ self.control_cost @ u
        self._x = self.dynamics.step(self._x, u)
        return self._x.astype(np.float32), -float(cost), False, False, {}

    def render(self) -> Picture:
        """Return a picture, (60, 300, 3)."""
        picture = canvas(60, 300)
        line(picture, (0, 30), (300, 30), 1, (180, 180, 180))
        line(picture, (150, 20), (150, 40), 1, (60, 160, 80))
        disc(picture, (150 + 100 * self._x[0], 30), 7, (200, 90, 40))
        return picture
