"""What a planner asks of a model: the discrete step, its control-affine form, and how far to trust it.

Angles are unwrapped along a path: a step from 3.1 may end at 3.3, and only potentials, goals and embeddings wrap.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Dynamics(Protocol):
    """A discrete-time model x' = f(x) + B(x) u of one step of an environment, on arrays with the batch first.

    Attributes
    ----------
    states, controls
        Numbers n of coordinates and m of controls.
    angles
        The coordinates that are angles, by index.
    """

    states: int
    controls: int
    angles: tuple[int, ...]

    def step(self, x: Array, u: Array) -> Array:
        """Return the next state (..., n), angles unwrapped, of x (..., n) under u (..., m).

        All that the environment does: clipped velocities, walls, and what is not affine in u.
        """
        ...

    def affine(self, x: Array) -> tuple[Array, Array]:
        """Return the drift f(x), (..., n), and the gain B(x), (..., n, m), of the smooth part of the step."""
        ...

    def linearised(self, x: Array) -> tuple[Array, Array, Array]:
        """Return f(x), its Jacobian A = df/dx, (..., n, n), and B(x)."""
        ...

    def spread(self, x: Array) -> Array:
        """Return how uncertain the drift is, (..., n): its standard deviation over an ensemble, 0 for a true model."""
        ...
