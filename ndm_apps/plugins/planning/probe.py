"""A first look at an environment, so that a task that does not fit it is refused before anything is learnt."""

from __future__ import annotations

import math

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.problem_of import action_of, angles_of, problem_of, state_of
from ndm_apps.plugins.planning.schema import PlanningTask

_EPISODES, _STEPS = 5, 3


def probe(task: PlanningTask, env: gymnasium.Env, rng: np.random.Generator) -> None:
    """Take a few random steps in a few episodes.

    Raises
    ------
    ValueError
        A state or reward is not finite, an episode starts outside the box, the goal is outside it, or every episode
        ends at its first step.
    """
    state, action = state_of(task, env), action_of(task, env)
    lasted = 0
    for _ in range(_EPISODES):
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        x, problem = state(observation), problem_of(task, env, observation)
        for n, column in enumerate(task.columns):
            low, high = problem.box[n]
            if n not in angles_of(task) and not low <= x[n] <= high:
                raise ValueError(f"box.{column}: got [{low:g}, {high:g}], but an episode starts at {x[n]:g}")
        for step in range(1, _STEPS + 1):
            u = rng.uniform(problem.low, problem.high) if problem.levels is None else rng.choice(problem.levels)
            observation, reward, terminated, truncated, _ = env.step(action(u))
            if not math.isfinite(reward):
                raise ValueError(f"environment: gives the reward {reward}, must be finite")
            state(observation)
            lasted = max(lasted, step)
            if terminated or truncated:
                break
    if lasted <= 1:
        raise ValueError(f"environment: each of {_EPISODES} episodes ends at its first step, must last longer")
