"""Which pictures a run has: those of every task, and those of what its controller knows."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
import torch

from ndm_apps.plugins.base import Picture
from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.current import CurrentController
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.episode_pictures import broken, measures, portrait
from ndm_apps.plugins.planning.evaluate import Episode
from ndm_apps.plugins.planning.kinematic import KinematicController
from ndm_apps.plugins.planning.nearest import NearestGoal
from ndm_apps.plugins.planning.pictures import current_map, metric_map, phase_portrait, value_map
from ndm_apps.plugins.planning.problem_of import angles_of
from ndm_apps.plugins.planning.rolling import RollingController
from ndm_apps.plugins.planning.schema import PlanningTask

#: Ways in a map, at most.
_WAYS = 5


def drawn(
    task: PlanningTask, env: gymnasium.Env, episodes: Sequence[Episode], controller: Controller
) -> dict[str, Picture]:
    """Return the pictures of a run by name.

    Parameters
    ----------
    task, env
        The task and its environment.
    episodes
        What happened.
    controller
        That of the last episode.
    """
    pictures = {"measures": measures(task, episodes), "portrait": portrait(task, episodes)}
    if task.kinematic is not None:
        names = task.kinematic.positions
        columns = [task.columns.index(name) for name in names]
        box = np.array(task.bounds)[columns]
        angles = [column in angles_of(task) for column in columns]
        ways = [
            np.stack([broken(one.states[:, c], angle) for c, angle in zip(columns, angles, strict=True)], axis=-1)
            for one in episodes[:_WAYS]
        ]
    if isinstance(controller, KinematicController):
        pictures["metric"] = metric_map(controller.model.metric.scale, box, names, ways, env.unwrapped.free)
    elif isinstance(controller, RollingController):
        pictures["metric"] = metric_map(controller.model.metric.scale, box, names, ways)
    elif isinstance(controller, CurrentController):
        model = controller.model
        pictures["current"] = current_map(lambda x: model.flow(torch.as_tensor(x)).numpy(), box, names, ways)
    elif isinstance(controller, NearestGoal):
        pictures |= _of_planner(task, episodes, controller.chosen)
    elif isinstance(controller, GeodesicController):
        pictures |= _of_planner(task, episodes, controller)
    return pictures


def _of_planner(task: PlanningTask, episodes: Sequence[Episode], controller: GeodesicController) -> dict[str, Picture]:
    planner = controller.planner
    problem, dynamics = planner.problem, planner.dynamics
    # The problem of the last episode is not that of the others where goals change.
    ways = [_unwrapped(one.states, dynamics.angles) for one in (episodes[-1:] if task.episode else episodes[:_WAYS])]
    plan = _unwrapped(planner.plan(episodes[-1].states[0]).states, dynamics.angles)
    _, slopes, _ = dynamics.linearised(problem.goal)
    # A position and its rate: the angle, if there is one, and the column that moves it most.
    first = dynamics.angles[0] if dynamics.angles else 0
    others = np.abs(slopes[first])
    others[first] = -1.0
    valued = planner.valued or not planner.smooth
    value = {"value": value_map(planner.value, problem.box, task.columns, ways, problem.goal)} if valued else {}
    return value | {
        "phase": phase_portrait(
            lambda x: dynamics.affine(x)[0] - x,
            problem.box,
            task.columns,
            plan,
            _unwrapped(episodes[-1].states, dynamics.angles),
            (first, int(others.argmax())),
            problem.goal,
        ),
    }


def _unwrapped(states: Array, angles: Sequence[int]) -> Array:
    states = states.copy()
    states[:, list(angles)] = np.unwrap(states[:, list(angles)], axis=0)
    return states
