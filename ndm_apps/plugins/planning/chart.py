"""The chart that a model is learnt on: which coordinates are angles, where they are clipped, what is symmetric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array

#: A coordinate this near to an edge, relative to the width between the edges, is at it.
_AT_EDGE = 1e-6


class Transitions(NamedTuple):
    """Steps of an environment: states x (N, n), controls u (N, m), next states y (N, n), angles unwrapped from x."""

    x: Array
    u: Array
    y: Array

    def joined(self, other: Transitions) -> Transitions:
        """Return these and others."""
        return Transitions(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Transitions:
        """Return those of a mask or of indices."""
        return Transitions(self.x[which], self.u[which], self.y[which])


@dataclass(frozen=True)
class Chart:
    """Coordinates of states and what is known of the dynamics in them before any data.

    Attributes
    ----------
    states, controls
        Numbers n of coordinates and m of controls.
    angles
        Coordinates that are angles, by index: models see their sine and cosine.
    clips
        Where the environment clips a coordinate, (n, 2); infinite where it does not.
    box
        Where states live, (n, 2): a coordinate that comes to rest at an edge has met a wall.
    mirror
        Signs of coordinates (n,) and controls (m,) under a symmetry of the dynamics, or None: a declared prior.
    smooth
        Where the motion is smooth, (n, 2), or None: everywhere. Declared too.

    Examples
    --------
    >>> chart = Chart(2, 1, (0,), np.full((2, 2), np.inf) * [-1, 1], np.array([[-np.pi, np.pi], [-8, 8]]))
    >>> chart.embed(np.array([0.0, 2.0]))
    array([0., 1., 2.])
    >>> chart.difference(np.array([3.0, 0.0]), np.array([-3.0, 0.0])).round(3)
    array([0.283, 0.   ])
    """

    states: int
    controls: int
    angles: tuple[int, ...]
    clips: Array
    box: Array
    mirror: tuple[Array, Array] | None = None
    smooth: Array | None = None
    others: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "others", tuple(i for i in range(self.states) if i not in self.angles))

    @property
    def embedded(self) -> int:
        """Number of embedded coordinates."""
        return self.states + len(self.angles)

    def embed(self, x: Array) -> Array:
        """Return sines and cosines of the angles, then the other coordinates: (..., n) to (..., p)."""
        turns = x[..., self.angles]
        return np.concatenate([np.sin(turns), np.cos(turns), x[..., self.others]], axis=-1)

    def pulled_back(self, x: Array, slope: Array) -> Array:
        """Return derivatives by x, (..., d, n), from those by the embedding, (..., d, p): the chain rule."""
        k = len(self.angles)
        turns = x[..., None, self.angles]
        result = np.empty((*slope.shape[:-1], self.states))
        result[..., self.angles] = slope[..., :k] * np.cos(turns) - slope[..., k : 2 * k] * np.sin(turns)
        result[..., self.others] = slope[..., 2 * k :]
        return result

    def difference(self, x: Array, y: Array) -> Array:
        """Return y - x, (..., n), the short way round along angles."""
        change = y - x
        change[..., self.angles] = (change[..., self.angles] + np.pi) % (2 * np.pi) - np.pi
        return change

    def regular(self, seen: Transitions) -> Transitions:
        """Return the transitions that begin and end where the motion is smooth."""
        if self.smooth is None:
            return seen
        ends = np.stack([seen.x, seen.x + self.difference(seen.x, seen.y)])
        low, high = self.smooth.T
        return seen.chosen(((ends >= low) & (ends <= high)).all((0, -1)))

    def mirrored(self, seen: Transitions) -> Transitions:
        """Return transitions and their mirror images, if a symmetry is declared."""
        if self.mirror is None:
            return seen
        state, control = self.mirror
        return seen.joined(Transitions(seen.x * state, seen.u * control, seen.y * state))

    def touched(self, y: Array) -> NDArray[np.bool_]:
        """Return which coordinates are exactly at a clip or an edge of the box, lower and upper: (..., n, 2)."""
        at = np.zeros((*y.shape, 2), dtype=bool)
        for edges in (self.clips, self.box):
            width = np.where(np.isfinite(edges).all(-1), edges[:, 1] - edges[:, 0], 1.0)
            at |= np.abs(y[..., None] - edges) <= _AT_EDGE * width[:, None]
        at[..., self.angles, :] = False
        return at


@dataclass(frozen=True)
class OnChart:
    """What all dynamics learnt on a chart tell of it: abstract.

    Attributes
    ----------
    chart
        The chart.
    """

    chart: Chart

    @property
    def states(self) -> int:
        """Number of coordinates."""
        return self.chart.states

    @property
    def controls(self) -> int:
        """Number of controls."""
        return self.chart.controls

    @property
    def angles(self) -> tuple[int, ...]:
        """The coordinates that are angles."""
        return self.chart.angles
