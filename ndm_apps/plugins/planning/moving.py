"""A point among walls, on wheels or in a current: which moves are learnt from, and what plans on them."""

from __future__ import annotations

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.collect import Experience, wander
from ndm_apps.plugins.planning.current import CurrentController, CurrentModel
from ndm_apps.plugins.planning.evaluate import ControllerFor
from ndm_apps.plugins.planning.explore import roam
from ndm_apps.plugins.planning.kinematic import KinematicController, KinematicModel
from ndm_apps.plugins.planning.problem_of import angles_of, clips_of
from ndm_apps.plugins.planning.roadmap import Roadmap
from ndm_apps.plugins.planning.rolling import RollingController, RollingModel
from ndm_apps.plugins.planning.schema import PlanningTask
from ndm_apps.plugins.planning.schema_parts import Kinematic


def moves(task: PlanningTask, env: gymnasium.Env, steps: int, seed: int) -> Transitions:
    """Return transitions under random controls; those that move positions among walls are kept until one is met."""
    experience, rng, point = Experience(task, env, seed), np.random.default_rng([seed, 0]), _point(task)
    if point.walls and not point.velocities:
        roam(experience, steps, rng)
    else:
        wander(experience, steps, rng)
    return experience.seen


def moving(task: PlanningTask, seen: Transitions) -> ControllerFor:
    """Return what makes the controller of a problem, from transitions."""
    point = _point(task)
    if point.velocities:
        positions, velocities = (tuple(map(task.columns.index, names)) for names in (point.positions, point.velocities))
        rolling = RollingModel.fit(seen, positions, velocities, clips_of(task)[list(velocities), 1])
        ways = Roadmap(rolling.metric)
        return lambda problem: RollingController(rolling, problem, ways)
    if point.walls:
        model = KinematicModel.fit(seen, angles_of(task))
        roadmap = Roadmap(model.metric)
        return lambda problem: KinematicController(model, problem, roadmap)
    current = CurrentModel.fit(seen)
    return lambda problem: CurrentController(current, problem)


def _point(task: PlanningTask) -> Kinematic:
    if task.kinematic is None:
        raise ValueError("kinematic: missing, must tell the positions of the point that moves")
    return task.kinematic
