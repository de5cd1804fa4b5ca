"""The least possible cost, length or time of a task, computed: what results are divided by."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.schema import PlanningTask

Optimum = Callable[[Array, Problem], float]


def optimum_of(task: PlanningTask, env: gymnasium.Env) -> Optimum | None:
    """Return the function from the start of an episode and its problem to the least measure, or None if not asked for.

    Raises
    ------
    ValueError
        The task's optimum is not one of its environment, or needs a package that is not there.

    Examples
    --------
    >>> from ndm_apps.plugins.planning.problem_of import open_environment, problem_of
    >>> from ndm_apps.tasks import load_task
    >>> task = load_task("planning/pendulum")[1]
    >>> env = open_environment(task)
    >>> optimum_of(task, env)(np.zeros(2), problem_of(task, env))
    0.0
    """
    kind = task.score.optimum
    if kind is None:
        return None
    makers, suited = {
        "dynamic_programming": (_pendulum, ("Pendulum-v1",)),
        "minimum_energy": (_mountain_car, ("MountainCarContinuous-v0",)),
        "fast_marching": (_fast_marching, ("ndm/Maze-v0", "ndm/TwoLinkArm-v0")),
        "bang_time": (_bang_time, ("PointMaze_UMaze-v3", "PointMaze_Medium-v3", "PointMaze_Large-v3")),
        "zermelo": (_zermelo, ("ndm/Zermelo-v0",)),
        "riccati": (_riccati, ("ndm/DoubleIntegrator-v0",)),
    }[kind]
    if task.environment.id not in suited:
        raise ValueError(
            f"score.optimum: got {kind!r}, which is known for {', '.join(suited)}, not for {task.environment.id!r}; "
            "null does without"
        )
    return makers(env)


def _pendulum(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.pendulum import least_cost

    return lambda x, problem: least_cost(x, problem.horizon)


def _mountain_car(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.mountain_car import least_energy

    return lambda x, problem: least_energy(float(x[0]), problem.horizon)


def _fast_marching(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.fast_marching import maze_length, scikit_fmm, torus_axis, torus_length

    scikit_fmm()
    own = env.unwrapped
    if own.dynamics.angles:
        axis = torus_axis()
        blocked = ~own.free(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1))
        return lambda x, problem: torus_length(blocked, x, problem.goal, own.radius)
    return lambda x, problem: maze_length(own.walls, x, problem.goal, own.radius)


def _bang_time(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.bang import BALL, GOAL, bang_steps
    from ndm_apps.plugins.planning.references.fast_marching import maze_length, scikit_fmm

    scikit_fmm()
    maze = env.unwrapped.maze
    walls = np.array([[cell == 1 for cell in row] for row in maze.maze_map])
    # Its y axis points up, and its origin is the middle of the map.
    corner, flip = np.array([maze.x_map_center, maze.y_map_center]), np.array([1.0, -1.0])

    def steps(x: Array, problem: Problem) -> float:
        start, goal = flip * x[:2] + corner, flip * problem.goal[:2] + corner
        return float(max(1, bang_steps(maze_length(walls, start, goal, GOAL, inflated=BALL))))

    return steps


def _zermelo(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.zermelo import least_time

    own = env.unwrapped
    return lambda x, problem: least_time(x, problem.goal, own.radius, own.wind, own.shear)


def _riccati(env: gymnasium.Env) -> Optimum:
    from ndm_apps.plugins.planning.references.riccati import value_matrix

    own = env.unwrapped

    def cost(x: Array, problem: Problem) -> float:
        p = value_matrix(own.transition, own.gain, own.state_cost, own.control_cost, problem.horizon)
        return float(x @ p @ x)

    return cost
