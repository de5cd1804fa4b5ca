"""From a task to what planners and learners work on: the environment, the state, the control, the problem.

What a task file says wrongly is a ``ValueError`` that names the field; the runner adds the task's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.formulas import Condition, Formulas
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.schema import PlanningTask, observations_used
from ndm_apps.wording import did_you_mean, short


def open_environment(task: PlanningTask, *, render: bool = False) -> gymnasium.Env:
    """Make the environment of a task, and check that the task fits it.

    Parameters
    ----------
    task
        The task.
    render
        Frames are asked for (``render_mode="rgb_array"``).

    Raises
    ------
    ValueError
        The environment is unknown, cannot be made, or does not fit what the task says of it.

    Examples
    --------
    >>> from ndm_apps.tasks import load_task
    >>> env = open_environment(load_task("planning/pendulum")[1])
    >>> env.spec.id
    'Pendulum-v1'
    """
    import ndm_apps.plugins.planning.environments  # noqa: F401 (registers our own)

    given, mode = task.environment, {"render_mode": "rgb_array"} if render else {}
    steps = {} if given.steps is None else {"max_episode_steps": given.steps}
    if given.id is not None:
        field, made = "environment.id", given.id
        hint = _register_others(given.id)
    else:
        field, made = "environment.entry_point", gymnasium.envs.registration.EnvSpec("own/Own-v0", given.entry_point)
    try:
        env = gymnasium.make(made, disable_env_checker=True, **steps, **mode, **given.kwargs)
    except gymnasium.error.UnregisteredEnv:
        near = did_you_mean(given.id, list(gymnasium.registry))
        raise ValueError(f"environment.id: Gymnasium knows no {short(given.id)}{near}{hint}") from None
    except gymnasium.error.DependencyNotInstalled as error:
        raise ValueError(f"{field}: {given.id} needs {error} (pip install 'ndm_apps[mujoco]')") from None
    except (ImportError, AttributeError, TypeError, ValueError, gymnasium.error.Error) as error:
        if str(error).startswith("environment."):
            raise  # our own, which name the field
        name = given.id or given.entry_point
        raise ValueError(f"{field}: {short(name)} cannot be made: {type(error).__name__}: {error}") from None
    _check_fit(task, env)
    return env


def _register_others(name: str) -> str:
    """Register the environments of Gymnasium-Robotics for an id that is not known; say if they are not installed."""
    if name in gymnasium.registry:
        return ""
    try:
        import gymnasium_robotics
    except ImportError:
        return " (those of Gymnasium-Robotics need: pip install 'ndm_apps[mujoco]')"
    gymnasium.register_envs(gymnasium_robotics)
    return ""


def _check_fit(task: PlanningTask, env: gymnasium.Env) -> None:
    entries = spaces.flatdim(env.observation_space)
    if observations_used(task) > entries:
        raise ValueError(
            f"state: uses o{observations_used(task) - 1}, but the observation has {entries} entries, from o0"
        )
    action, controls = env.action_space, task.controls
    if isinstance(action, spaces.Discrete):
        if controls.levels is None or len(controls.levels) != action.n:
            had = "none" if controls.levels is None else len(controls.levels)
            raise ValueError(
                f"controls.levels: got {had}, but the environment's actions are discrete: must be the {action.n} "
                "controls that they apply"
            )
    elif isinstance(action, spaces.Box):
        if controls.levels is not None:
            raise ValueError("controls.levels: got levels, but the environment's actions are continuous: must be null")
        if action.shape != (len(controls.names),):
            raise ValueError(
                f"controls.names: got {len(controls.names)}, but the environment's actions have shape {action.shape}"
            )
        if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
            raise ValueError("controls: the environment's actions are not bounded, must be")
    else:
        raise ValueError(f"environment: actions of kind {type(action).__name__}, must be Box or Discrete")
    if env.spec is None or env.spec.max_episode_steps is None:
        raise ValueError("environment.steps: missing, must be given: the environment itself ends no episode")


def flattened(env: gymnasium.Env, observation: Any) -> Array:
    """Return an observation as one vector o0, o1, ...; of a mapping, the keys in alphabetical order."""
    if isinstance(env.observation_space, spaces.Box) and env.observation_space.shape == np.shape(observation):
        return np.asarray(observation, dtype=np.float64).ravel()
    return np.asarray(spaces.flatten(env.observation_space, observation), dtype=np.float64)


def state_of(task: PlanningTask, env: gymnasium.Env) -> Callable[[Any], Array]:
    """Return the function from an observation of the environment to the state (n,), angles in [-pi, pi].

    Raises
    ------
    ValueError
        From that function: the observation gives no finite state.

    Examples
    --------
    >>> from ndm_apps.tasks import load_task
    >>> task = load_task("planning/pendulum")[1]
    >>> state_of(task, open_environment(task))(np.array([1.0, 0.0, 0.5])).tolist()
    [0.0, 0.5]
    """
    formulas = _of_observation(list(task.state.values()), env)

    def state(observation: Any) -> Array:
        flat = flattened(env, observation)
        x = formulas(flat)
        if not math.isfinite(x.sum()):
            column = task.columns[int(np.flatnonzero(~np.isfinite(x))[0])]
            text = task.state[column]
            raise ValueError(f"state.{column}: {text} is not finite for the observation {np.round(flat, 4).tolist()}")
        return x

    return state


def _of_observation(texts: list[str | float], env: gymnasium.Env) -> Formulas:
    entries = [f"o{n}" for n in range(spaces.flatdim(env.observation_space))]
    return Formulas(texts, entries, (), {})


def action_of(task: PlanningTask, env: gymnasium.Env) -> Callable[[Array], Any]:
    """Return the function from a control (m,) to the environment's action: clipped, or the nearest of the levels."""
    if task.controls.levels is not None:
        levels = np.array(task.controls.levels)
        return lambda u: int(((levels - u) ** 2).sum(-1).argmin())
    space = env.action_space
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if task.controls.bound == "box":
        return lambda u: np.clip(u, low, high).astype(space.dtype)
    return lambda u: np.clip(u / max(1.0, float(np.linalg.norm(u))), low, high).astype(space.dtype)


def problem_of(task: PlanningTask, env: gymnasium.Env, observation: Any = None) -> Problem:
    """Return the problem to be solved.

    Parameters
    ----------
    task
        The task.
    env
        Its environment.
    observation
        The first of the episode, for tasks whose problem differs between episodes (those with ``episode``).

    Examples
    --------
    >>> from ndm_apps.tasks import load_task
    >>> task = load_task("planning/pendulum")[1]
    >>> problem = problem_of(task, open_environment(task))
    >>> problem.objective, problem.horizon, problem.low, problem.goal
    ('cost', 200, array([-2.]), array([0., 0.]))
    >>> problem.residual(np.array([0.5, 0.0]))
    array([0.5, 0. ])
    """
    constants = episode_of(task, env, observation)
    columns, angles = task.columns, angles_of(task)
    residual = Formulas(task.cost, columns, angles, constants)
    goal = Formulas([task.goal.state[column] for column in columns], (), (), constants)(np.empty(0))
    box = np.array(task.bounds)
    _check_goal(task, goal, box, angles)
    if task.controls.levels is not None:
        levels = np.array(task.controls.levels)
        low, high = levels.min(0), levels.max(0)
    else:
        levels = None
        low, high = env.action_space.low.astype(np.float64), env.action_space.high.astype(np.float64)
    return Problem(
        objective=task.objective,
        residual=residual,
        residual_jacobian=residual.jacobian,
        control_cost=np.diag(task.controls.costs),
        low=low,
        high=high,
        levels=levels,
        goal=goal,
        reached=Condition(task.goal.reached, columns, angles, constants),
        box=box,
        limits=_bounds(task, task.limits),
        horizon=env.spec.max_episode_steps,
    )


def episode_of(task: PlanningTask, env: gymnasium.Env, observation: Any) -> dict[str, float]:
    """Return the values of what differs between episodes, read off the first observation of one."""
    if not task.episode:
        return {}
    if observation is None:
        raise ValueError(f"observation: got None, must be the first of the episode, for {', '.join(task.episode)}")
    values = _of_observation(list(task.episode.values()), env)(flattened(env, observation))
    return dict(zip(task.episode, values.tolist(), strict=True))


def _check_goal(task: PlanningTask, goal: Array, box: Array, angles: tuple[int, ...]) -> None:
    for n, column in enumerate(task.columns):
        if n not in angles and not box[n, 0] <= goal[n] <= box[n, 1]:
            raise ValueError(
                f"goal.state.{column}: {task.goal.state[column]} is {goal[n]:g} in this episode, must be inside the "
                f"box of {column}: [{box[n, 0]:g}, {box[n, 1]:g}]"
            )


def angles_of(task: PlanningTask) -> tuple[int, ...]:
    """Return which columns are angles, by index."""
    return tuple(n for n, column in enumerate(task.columns) if column in task.angles)


def clips_of(task: PlanningTask) -> Array:
    """Return where the environment is known to clip, (n, 2); infinite where it is not."""
    return _bounds(task, task.clips)


def smooth_of(task: PlanningTask) -> Array | None:
    """Return where the motion is declared smooth, (n, 2), or None: everywhere."""
    return _bounds(task, task.smooth) if task.smooth else None


def mirror_of(task: PlanningTask) -> tuple[Array, Array] | None:
    """Return the signs of columns (n,) and controls (m,) under the declared symmetry, or None if there is none.

    If (x, u, x') is a transition, then (s x, t u, s x') is one.
    """
    if not task.mirror:
        return None
    columns = [-1.0 if name in task.mirror else 1.0 for name in task.columns]
    return np.array(columns), np.array([-1.0 if name in task.mirror else 1.0 for name in task.controls.names])


def _bounds(task: PlanningTask, given: dict[str, tuple[float, float]]) -> Array:
    return np.array([given.get(column, (-math.inf, math.inf)) for column in task.columns])
