"""A pole hanging from a cart on a rail, to be swung up and held."""

from __future__ import annotations

from typing import Any, ClassVar, final

import gymnasium
import numpy as np
from gymnasium import spaces

from ndm_apps.plugins.planning.environments.canvas import canvas, disc, line
from ndm_apps.plugins.planning.formulas import wrapped
from ndm_apps.plugins.planning.truth import SWING_UP

RAIL = 2.4
RIGHT = np.array([1.0, 0.0])


@final
class CartPoleSwingUp(gymnasium.Env):
    r"""Gymnasium's cart-pole with a continuous force on the cart, hanging at the start.

    The state is position x and velocity v of the cart, angle theta of the pole from upright, and its rate omega; steps
    are Euler's of 0.02 s. The reward is

    .. math:: -(\theta^2 + 0.1 x^2 + 0.01 (v^2 + \omega^2) + 0.001 u^2)

    with the angle in [-pi, pi), before the step; the episode ends where the cart leaves the rail (\|x\| < 2.4), and all
    steps that would have followed cost 10 each.

    Observation: x, v, cos theta, sin theta, omega. Action: the force u in newtons, [-10, 10].
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(self, render_mode: str | None = None, steps: int = 200) -> None:
        self.render_mode, self.steps = render_mode, steps
        self.action_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)
        self.dynamics = SWING_UP
        self._x, self._left = np.zeros(4), steps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: hanging, each column off by up to 0.05."""
        super().reset(seed=seed)
        self._x = np.array([0.0, 0.0, np.pi, 0.0]) + self.np_random.uniform(-0.05, 0.05, 4)
        self._left = self.steps
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply a force for one step."""
        u = np.clip(np.asarray(action, dtype=np.float64), -10.0, 10.0)
        position, velocity, theta, omega = self._x
        cost = wrapped(theta) ** 2 + 0.1 * position**2 + 0.01 * (velocity**2 + omega**2) + 0.001 * u[0] ** 2
        self._x = self.dynamics.step(self._x, u)
        self._left -= 1
        left_the_rail = bool(abs(self._x[0]) > RAIL)
        if left_the_rail:
            cost += 10.0 * self._left
        return self._observation(), -float(cost), left_the_rail, False, {}

    def render(self) -> Any:
        """Return a picture, (200, 400, 3)."""
        picture, scale = canvas(200, 400), 400 / (2 * RAIL + 1.2)
        at = np.array([200 + scale * self._x[0], 120.0])
        tip = at + scale * np.array([np.sin(self._x[2]), -np.cos(self._x[2])])
        line(picture, (0, 120), (400, 120), 1, (180, 180, 180))
        line(picture, at - 18 * RIGHT, at + 18 * RIGHT, 9, (60, 60, 60))
        line(picture, at, tip, 4, (200, 90, 40))
        disc(picture, tip, 5, (40, 90, 200))
        return picture

    def _observation(self) -> Any:
        position, velocity, theta, omega = self._x
        return np.array([position, velocity, np.cos(theta), np.sin(theta), omega], dtype=np.float32)
