"""The one loop in which every controller acts, on the same episodes, and how episodes are judged."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.formulas import Condition
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.problem_of import action_of, angles_of, episode_of, problem_of, state_of
from ndm_apps.plugins.planning.schema import PlanningTask

ControllerFor = Callable[[Problem], Controller]
Optimum = Callable[[Array, Problem], float]


@dataclass(frozen=True)
class Episode:
    """What happened in one episode of k steps.

    Attributes
    ----------
    seed
        Of the environment's reset.
    states, controls, rewards
        Of shapes (k + 1, n), (k, m), (k,).
    success
        Whether it counts as one, by the task's own word.
    measure
        What is divided by the optimum: cost or steps.
    optimum
        The least possible measure from where it began; None where it is not known.
    start_seconds, step_seconds
        Time to get ready and plan at the start, (2,), and for each control, (k, 2): by the clock, and of the processor.
    """

    seed: int
    states: Array
    controls: Array
    rewards: Array
    success: bool
    measure: float
    optimum: float | None
    start_seconds: Array
    step_seconds: Array

    @property
    def total(self) -> float:
        """The return: the sum of rewards."""
        return float(self.rewards.sum())


def evaluate(
    task: PlanningTask,
    env: gymnasium.Env,
    controller_for: ControllerFor,
    seeds: Sequence[int],
    optimum: Optimum | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    *,
    raw: bool = False,
) -> list[Episode]:
    """Let a controller act for one episode per seed.

    Parameters
    ----------
    task, env
        The task and its environment.
    controller_for
        Makes the controller of a problem: once where all episodes pose the same problem, else for each.
    seeds
        Seeds of the environment's resets.
    optimum
        The least possible measure of a start and a problem.
    on_episode
        Called after each episode.
    raw
        The controller takes observations for states, and gives actions for controls.

    Raises
    ------
    ValueError
        The environment gives an observation or a reward that is not finite.
    """
    episodes, made = [], None
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        problem = problem_of(task, env, observation)
        began = _now()
        controller = controller_for(problem) if made is None or task.episode else made
        preparing = _now() - began if task.episode else np.zeros(2)
        made = controller
        episodes.append(_episode(task, env, controller, problem, observation, seed, preparing, optimum, raw))
        on_episode(episodes[-1])
    return episodes


def _episode(
    task: PlanningTask,
    env: gymnasium.Env,
    controller: Controller,
    problem: Problem,
    observation: Any,
    seed: int,
    preparing: Array,
    optimum: Optimum | None,
    raw: bool,
) -> Episode:
    state, action = state_of(task, env), action_of(task, env)
    if raw:
        action = partial(np.asarray, dtype=env.action_space.dtype)
    success = None
    if task.score.success not in ("terminated", "truncated"):
        success = Condition(task.score.success, task.columns, angles_of(task), episode_of(task, env, observation))
    x = state(observation)
    least = None if optimum is None else optimum(x, problem)
    states, controls, rewards, seconds = [x], [], [], []
    began = _now()
    controller.start(observation if raw else x)
    preparing = preparing + _now() - began
    terminated = truncated = False
    while not (terminated or truncated):
        began = _now()
        u = controller.control(observation if raw else x)
        seconds.append(_now() - began)
        observation, reward, terminated, truncated, _ = env.step(action(u))
        if not math.isfinite(reward):
            raise ValueError(f"environment: got the reward {reward} at step {len(rewards)}, must be finite")
        x = state(observation)
        states.append(x)
        controls.append(np.asarray(u, dtype=np.float64))
        rewards.append(float(reward))
    if success is None:
        succeeded = terminated if task.score.success == "terminated" else truncated and not terminated
    else:
        last = states[-task.score.last :]
        succeeded = len(last) == task.score.last and bool(success(np.stack(last)).all())
    measure = float(len(rewards)) if task.score.measure == "steps" else task.score.offset - sum(rewards)
    return Episode(
        seed=seed,
        states=np.stack(states),
        controls=np.stack(controls),
        rewards=np.array(rewards),
        success=bool(succeeded),
        measure=measure,
        optimum=least,
        start_seconds=preparing,
        step_seconds=np.array(seconds),
    )


def _now() -> Array:
    """Return the clock's time and this thread's share of the processor: they differ where the machine is busy."""
    return np.array([time.perf_counter(), time.thread_time()])


def scores(task: PlanningTask, episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the episodes' part of ``result.json``.

    ``ratio_to_optimum`` is the sum of measures over the sum of optima; of the successful episodes where success is
    what counts. ``plan_ms_median`` is of single steps; ``plan_ms_mean`` is all planning over all steps, the plans at
    the start of episodes included; ``plan_cpu_ms_...`` is the same of the processor's time.
    """
    returns = np.array([episode.total for episode in episodes])
    steps = np.concatenate([episode.step_seconds for episode in episodes])
    starts = np.stack([episode.start_seconds for episode in episodes])
    counted = [one for one in episodes if one.optimum is not None and (one.success or task.score.kind == "return")]
    optima = np.array([one.optimum for one in counted])
    measures = np.array([one.measure for one in counted])
    return {
        "returns": returns.tolist(),
        "mean_return": float(returns.mean()),
        "return_error": float(returns.std(ddof=1) / math.sqrt(len(returns))) if len(returns) > 1 else None,
        "success_rate": float(np.mean([episode.success for episode in episodes])),
        "successes": [episode.success for episode in episodes],
        "evaluation_seeds": [episode.seed for episode in episodes],
        "measures": [episode.measure for episode in episodes],
        "optima": [episode.optimum for episode in episodes],
        "ratio_to_optimum": float(measures.sum() / optima.sum()) if len(counted) else None,
        "ratio_worst": float((measures / optima).max()) if len(counted) else None,
        **{
            f"plan_{name}_{which}": float(1e3 * value)
            for n, name in enumerate(("ms", "cpu_ms"))
            for which, value in (
                ("median", np.median(steps[:, n])),
                ("mean", (steps[:, n].sum() + starts[:, n].sum()) / len(steps)),
                ("start", starts[:, n].mean()),
            )
        },
    }
