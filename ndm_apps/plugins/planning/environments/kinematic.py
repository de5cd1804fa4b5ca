"""A point whose position the controls move directly, to a goal that differs between episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.formulas import wrapped
from ndm_apps.plugins.planning.truth import TrueDynamics

Free = Callable[[Array], NDArray[np.bool_]]


def stopped_by(free: Free, x: Array, y: Array) -> Array:
    """Return how far straight moves get before they meet a wall.

    Parameters
    ----------
    free
        Whether points (..., 2) are free.
    x, y
        Starts and ends of moves (..., 2); the starts are free.

    Returns
    -------
    Array
        y where nothing is in the way; else the last free point before the wall, to about 1e-6 of the move.

    Examples
    --------
    >>> stopped_by(lambda p: p[..., 0] < 0.5, np.array([0.0, 0.0]), np.array([1.0, 0.0])).round(5).tolist()
    [0.5, 0.0]
    """
    shares = np.linspace(0.0, 1.0, 17)
    along = (y - x)[..., None, :] * shares[:, None]
    blocked = ~free(x[..., None, :] + along)
    blocked[..., 0] = False
    hit = blocked.any(-1)
    if not hit.any():
        return y
    first = np.where(hit, blocked.argmax(-1), 1)
    low, high = shares[first - 1], shares[first]
    for _ in range(18):
        middle = (low + high) / 2
        inside = free(x + middle[..., None] * (y - x))
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(hit[..., None], x + low[..., None] * (y - x), y)


class Kinematic(gymnasium.Env, ABC):
    """Abstract environment of a point that is moved by up to a fixed step in any direction.

    A move that meets a wall ends there. The episode ends in a disc around the goal; the reward is minus what the move
    took (length, or time), the last only up to the disc's edge.

    Attributes
    ----------
    dynamics
        What a move does, as a model.
    goal
        Of this episode, (2,).
    radius
        Of the disc around the goal.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 25}
    radius: ClassVar[float] = 0.1

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.goal = self._x = np.zeros(2)
        self.dynamics: TrueDynamics = self._dynamics()

    @abstractmethod
    def _dynamics(self) -> TrueDynamics:
        """Return what a move does."""

    @abstractmethod
    def _draw(self) -> tuple[Array, Array]:
        """Draw a start and a goal."""

    @abstractmethod
    def _price(self, moved: float) -> float:
        """Return what a move over so long a way takes."""

    @abstractmethod
    def _observation(self) -> Any:
        """Return the observation."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode at a random start with a random goal that is not there already."""
        super().reset(seed=seed)
        while True:
            self._x, self.goal = self._draw()
            if np.linalg.norm(self._towards(self._x)) > 2 * self.radius:
                return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move by an action in the unit disc (longer ones are shortened to it)."""
        u = np.asarray(action, dtype=np.float64)
        before = self._x
        moved = self.dynamics.step(before, u / max(1.0, float(np.linalg.norm(u)))) - before
        share, reached = entry(self._towards(before), moved, self.radius)
        angles = list(self.dynamics.angles)
        self._x = before + moved
        self._x[angles] = wrapped(self._x[angles])
        price = share * self._price(float(np.linalg.norm(moved)))
        return self._observation(), -price, reached, False, {"is_success": reached}

    def _towards(self, x: Array) -> Array:
        """Return the displacement from a point to the goal, the short way round where coordinates are angles."""
        gap = self.goal - x
        angles = list(self.dynamics.angles)
        gap[angles] = wrapped(gap[angles])
        return gap


def entry(gap: Array, moved: Array, radius: float) -> tuple[float, bool]:
    """Return the share of a straight move after which it enters a disc, and whether it ever does.

    Parameters
    ----------
    gap
        From the start of the move to the centre of the disc.
    moved
        The move.
    radius
        Of the disc.

    Examples
    --------
    >>> entry(np.array([1.0, 0.0]), np.array([2.0, 0.0]), 0.5)
    (0.25, True)
    >>> entry(np.array([1.0, 0.0]), np.array([0.4, 0.0]), 0.5)
    (1.0, False)
    """
    square, along, excess = float(moved @ moved), float(gap @ moved), float(gap @ gap) - radius**2
    root = along**2 - square * excess
    if square == 0.0 or root < 0.0:
        return 1.0, False
    share = (along - np.sqrt(root)) / square
    return (float(share), True) if 0.0 <= share <= 1.0 else (1.0, False)
