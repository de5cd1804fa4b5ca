"""From a method to controllers: the model it plans on, learnt or known, and what plans on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.baselines.ilqr import Ilqr
from ndm_apps.plugins.planning.baselines.sampling import Terminal, cem, mppi, random_shooting
from ndm_apps.plugins.planning.closed_loop import GeodesicController
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.evaluate import ControllerFor
from ndm_apps.plugins.planning.nearest import NearestGoal
from ndm_apps.plugins.planning.planner import GeodesicPlanner
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.problem_of import state_of
from ndm_apps.plugins.planning.schema import PlanningTask
from ndm_apps.plugins.planning.settings import ModelBasedSettings, NDMSettings

#: Starts of episodes that a planner on a known model is shown.
_STARTS = 16

_Sampler = Callable[[Dynamics, Problem, Any, np.random.Generator, Terminal | None], Controller]
_SAMPLERS: dict[str, _Sampler] = {"cem": cem, "mppi": mppi, "random_shooting": random_shooting}


def planning_on(
    dynamics: Dynamics, settings: ModelBasedSettings, method: str, rng: np.random.Generator, starts: Array | None
) -> ControllerFor:
    """Return what makes the controller of a problem on a model.

    Parameters
    ----------
    dynamics
        The model.
    settings, method
        Of a method that plans on a model.
    rng
        Of the controllers' random choices.
    starts
        States at which episodes begin, (starts, n), as far as they are known; None where each has its own problem.
    """

    def terminal(problem: Problem) -> Terminal | None:
        if settings.planner.terminal == "none":
            return None
        return GeodesicPlanner(dynamics, problem, generator=rng, starts=starts).value

    if isinstance(settings, NDMSettings):
        return lambda problem: geodesic(dynamics, problem, settings, rng, starts)
    if method == "ilqr":
        return lambda problem: Ilqr(dynamics, problem, settings.planner, rng)
    return lambda problem: _SAMPLERS[method](dynamics, problem, settings.planner, rng, terminal(problem))


def geodesic(
    dynamics: Dynamics, problem: Problem, settings: NDMSettings, rng: np.random.Generator, starts: Array | None
) -> Controller:
    """Return the geodesic controller of a model and a problem; no starts: each episode has a problem of its own."""
    if starts is None:
        return NearestGoal(dynamics, problem, settings.planner, rng)
    return GeodesicController(GeodesicPlanner(dynamics, problem, settings.planner, generator=rng, starts=starts))


def starts_of(task: PlanningTask, env: gymnasium.Env, rng: np.random.Generator) -> Array:
    """Return states at which episodes begin, (starts, n), on seeds that evaluations do not use."""
    state = state_of(task, env)
    return np.stack([state(env.reset(seed=int(rng.integers(2**31, 2**32)))[0]) for _ in range(_STARTS)])
