"""The time that a point mass on a line takes over a distance at full force."""

from __future__ import annotations

#: The ball of Gymnasium-Robotics' PointMaze-v3, measured: v' = DAMPING v + PUSH u, x' = x + STEP v', |v| <= SPEED.
DAMPING, PUSH, STEP, SPEED = 0.9976, 0.2381, 0.01, 5.0
#: Radius of the ball, and of the disc around the goal.
BALL, GOAL = 0.1, 0.45


def bang_steps(distance: float) -> int:
    """Return the steps of the ball of PointMaze-v3 over a distance from rest at full force, not to stop there.

    Examples
    --------
    >>> bang_steps(0.0), bang_steps(1.0)
    (0, 31)
    """
    steps, speed, done = 0, 0.0, 0.0
    while done < distance:
        speed = min(DAMPING * speed + PUSH, SPEED)
        done += STEP * speed
        steps += 1
    return steps
