"""A point in a maze of square cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.environments.canvas import Picture, canvas, disc
from ndm_apps.plugins.planning.environments.kinematic import Kinematic, stopped_by
from ndm_apps.plugins.planning.truth import TrueDynamics

#: The mazes of Gymnasium-Robotics (D4RL), 1 for a wall.
MAZES = {
    "u": ("11111", "10001", "11101", "10001", "11111"),
    "medium": ("11111111", "10011001", "10010001", "11000111", "10010001", "10100101", "10001001", "11111111"),
    "large": (
        "111111111111", "100001000001", "101101010101", "100000010001", "101111011101",
        "100101000001", "110101010111", "100100010001", "111111111111",
    ),
}  # fmt: skip

#: The longest move, in cells; and how far walls reach beyond theirs, so that two that touch at a corner leave no gap.
STEP, THICK = 0.1, 0.01


@final
class Maze(Kinematic):
    """A point in a maze of unit cells: column x to the right, row y downwards, the first cell's centre at (0.5, 0.5).

    Observation: x, y, and the goal's x, y. The reward is minus the length of the move.

    Parameters
    ----------
    maze
        ``u``, ``medium``, ``large``, or rows of 0 (free) and 1 (wall) with walls all around.
    """

    def __init__(self, maze: str | Sequence[str] = "u", render_mode: str | None = None) -> None:
        self.walls = walls_of(maze)
        self._cells = np.argwhere(~self.walls)[:, ::-1].astype(np.float64)
        super().__init__(render_mode)
        height, width = self.walls.shape
        high = np.array([width, height, width, height], dtype=np.float32)
        self.observation_space = spaces.Box(np.zeros(4, np.float32), high, dtype=np.float32)

    def free(self, points: Array) -> NDArray[np.bool_]:
        """Return whether points (..., 2) are clear of the walls."""
        around = THICK * np.array(list(product((-1, 1), repeat=2)))
        return ~self._wall_at(points[..., None, :] + around).any(-1)

    def _wall_at(self, points: Array) -> NDArray[np.bool_]:
        height, width = self.walls.shape
        columns = np.clip(np.floor(points[..., 0]).astype(int), 0, width - 1)
        rows = np.clip(np.floor(points[..., 1]).astype(int), 0, height - 1)
        return self.walls[rows, columns]

    def _dynamics(self) -> TrueDynamics:
        return TrueDynamics(2, 2, (), lambda x, u: x + STEP * u, lambda x, y: stopped_by(self.free, x, y))

    def _draw(self) -> tuple[Array, Array]:
        pair = self._cells[self.np_random.integers(len(self._cells), size=2)]
        start, goal = pair + self.np_random.uniform(0.1, 0.9, (2, 2))
        return start, goal

    def _price(self, moved: float) -> float:
        return moved

    def _observation(self) -> Any:
        return np.concatenate([self._x, self.goal]).astype(np.float32)

    def render(self) -> Picture:
        """Return a picture, 40 pixels a cell."""
        height, width = self.walls.shape
        picture = canvas(40 * height, 40 * width)
        picture[np.kron(self.walls, np.ones((40, 40), dtype=bool))] = (90, 90, 90)
        disc(picture, 40 * self.goal, 40 * self.radius + 2, (60, 160, 80))
        disc(picture, 40 * self._x, 5, (200, 90, 40))
        return picture


def walls_of(maze: str | Sequence[str]) -> NDArray[np.bool_]:
    """Return where the walls of a maze are, (rows, columns).

    Raises
    ------
    ValueError
        The maze is not known, or not closed.

    Examples
    --------
    >>> walls_of("u").astype(int)[1].tolist()
    [1, 0, 0, 0, 1]
    """
    rows = MAZES.get(maze) if isinstance(maze, str) else maze
    if rows is None:
        raise ValueError(
            f"environment.kwargs.maze: got {maze!r}, must be one of {', '.join(MAZES)}, or rows of 0 and 1"
        )
    if len({len(row) for row in rows}) != 1 or set("".join(map(str, rows))) - {"0", "1"}:
        raise ValueError("environment.kwargs.maze: rows must be texts of 0 and 1 of one length")
    walls = np.array([[letter == "1" for letter in row] for row in rows])
    if not (walls[0].all() and walls[-1].all() and walls[:, 0].all() and walls[:, -1].all()) or walls.all():
        raise ValueError("environment.kwargs.maze: must have walls all around and a free cell")
    return walls
