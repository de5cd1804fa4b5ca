"""A two-link arm among discs, moved by its joint angles: a point on the torus among obstacles."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy.ndimage import label

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.environments.canvas import Picture, canvas, disc, line
from ndm_apps.plugins.planning.environments.kinematic import Kinematic, stopped_by
from ndm_apps.plugins.planning.truth import TrueDynamics

#: The longest move, in radians.
STEP = 0.1
#: Centre x, y and radius of each disc; the arm's base is at the origin, its links have length 1.
DISCS = ((1.2, 0.8, 0.3), (-1.0, 1.1, 0.35), (0.3, -1.4, 0.3))
_GRID = 240


@final
class TwoLinkArm(Kinematic):
    """A planar arm of two unit links among three discs; joints turn all the way, links do not hinder each other.

    Observation: cosine and sine of q1, of q2, of the goal's q1, of its q2. The reward is minus the length of the move
    in radians. Starts and goals are drawn from the largest connected part of the free torus.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Box(-1.0, 1.0, (8,), np.float32)
        axis = (np.arange(_GRID) + 0.5) * 2 * np.pi / _GRID - np.pi
        points = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
        self._starts = points[largest_part(self.free(points))]

    def free(self, points: Array) -> NDArray[np.bool_]:
        """Return whether joint angles (..., 2) keep both links off the discs."""
        first, tip = _joints(points)
        discs = np.array(DISCS)
        centres, radii = discs[:, :2], discs[:, 2]
        gap = np.minimum(_distances(np.zeros(2), first, centres), _distances(first, tip, centres))
        return (gap > radii).all(-1)

    def _dynamics(self) -> TrueDynamics:
        return TrueDynamics(2, 2, (0, 1), lambda x, u: x + STEP * u, lambda x, y: stopped_by(self.free, x, y))

    def _draw(self) -> tuple[Array, Array]:
        start, goal = self._starts[self.np_random.integers(len(self._starts), size=2)]
        return start.copy(), goal.copy()

    def _price(self, moved: float) -> float:
        return moved

    def _observation(self) -> Any:
        angles = np.concatenate([self._x, self.goal])
        return np.stack([np.cos(angles), np.sin(angles)], axis=-1).ravel().astype(np.float32)

    def render(self) -> Picture:
        """Return a picture of the arm (dark) and of its goal posture (light), (300, 300, 3)."""
        picture, centre, scale = canvas(300, 300), np.array([150.0, 150.0]), np.array([65.0, -65.0])
        for x, y, radius in DISCS:
            disc(picture, centre + scale * (x, y), 65 * radius, (90, 90, 90))
        for angles, colour in ((self.goal, (170, 215, 180)), (self._x, (200, 90, 40))):
            first, tip = _joints(angles)
            line(picture, centre, centre + scale * first, 3, colour)
            line(picture, centre + scale * first, centre + scale * tip, 3, colour)
        return picture


def largest_part(free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of the free points of a grid on the torus.

    Examples
    --------
    >>> free = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    >>> largest_part(free).astype(int).tolist()
    [[1, 0, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    """
    names, count = label(free)
    merged = np.arange(count + 1)
    for a, b in (*zip(names[0], names[-1], strict=True), *zip(names[:, 0], names[:, -1], strict=True)):
        if a and b:
            merged[merged == merged[b]] = merged[a]
    names = merged[names]
    sizes = np.bincount(names[free])
    return free & (names == sizes.argmax())


def _joints(angles: Array) -> tuple[Array, Array]:
    """Return elbow and tip (..., 2) of joint angles (..., 2), the second relative to the first link."""
    first, second = angles[..., 0], angles[..., 0] + angles[..., 1]
    elbow = np.stack([np.cos(first), np.sin(first)], axis=-1)
    return elbow, elbow + np.stack([np.cos(second), np.sin(second)], axis=-1)


def _distances(start: Array, end: Array, centres: Array) -> Array:
    """Return the distances (..., c) of centres (c, 2) from segments of unit length (..., 2)."""
    gap = centres - np.asarray(start)[..., None, :]
    along = (end - start)[..., None, :]
    share = np.clip((gap * along).sum(-1), 0.0, 1.0)
    return np.linalg.norm(gap - share[..., None] * along, axis=-1)
