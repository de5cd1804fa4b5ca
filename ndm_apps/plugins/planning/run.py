"""One planning run: learn a model of the environment or take the known one, plan on it, evaluate."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ndm_apps.plugins.base import Result, RunContext
from ndm_apps.plugins.planning.baselines.model_free import ModelFree
from ndm_apps.plugins.planning.chart import Transitions
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.drawn import drawn
from ndm_apps.plugins.planning.evaluate import ControllerFor, Episode, evaluate, scores
from ndm_apps.plugins.planning.film import film
from ndm_apps.plugins.planning.learner import Learned, learn
from ndm_apps.plugins.planning.methods import geodesic, planning_on, starts_of
from ndm_apps.plugins.planning.moving import moves, moving
from ndm_apps.plugins.planning.probe import probe
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.problem_of import open_environment
from ndm_apps.plugins.planning.references import optimum_of
from ndm_apps.plugins.planning.schema import PlanningTask
from ndm_apps.plugins.planning.settings import EvaluationSettings, ModelBasedSettings, ModelFreeMethod, NDMSettings
from ndm_apps.plugins.planning.truth import truth_of

#: Validation is on episodes of its own.
_VALIDATION = 1000


def run(task: PlanningTask, method: str, settings: EvaluationSettings, context: RunContext) -> Result:
    """Run one method on one task; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    What is learnt is saved after each fit. A run that is resumed leads the environment back to there by the same steps,
    learns on, and is evaluated from the first episode.
    """
    saved = context.checkpoint.load()
    env = open_environment(task)
    looking, planning = np.random.default_rng([context.seed, 1]).spawn(2)
    if method == "ilqr" and task.controls.levels is not None:
        raise ValueError("method: got 'ilqr', which needs continuous controls; those of controls.levels are discrete")
    probe(task, env, looking)
    optimum = optimum_of(task, env)
    values: dict[str, Any] = {"environment_steps": 0}
    if isinstance(settings, ModelFreeMethod):
        policy = ModelFree(method, open_environment(task), settings.policy, context.seed)
        values["environment_steps"] = settings.policy.steps
        controller_for: ControllerFor = lambda problem: policy  # noqa: E731
    elif task.kinematic is not None and isinstance(settings, NDMSettings):
        seen = _moves(task, env, settings, context, saved)
        values["environment_steps"] = len(seen.x)
        controller_for = moving(task, seen)
    elif settings.model == "known":
        controller_for = planning_on(truth_of(task, env), settings, method, planning, _starts(task, env, planning))
    else:
        learned = _learned(task, env, settings, context, saved)
        values |= {
            "environment_steps": learned.steps,
            "model": type(learned.dynamics).__name__,
            "rounds": [list(pair) for pair in learned.rounds],
        }
        controller_for = planning_on(
            learned.dynamics, settings, method, planning, None if task.episode else learned.starts
        )
    made: list[Controller] = []

    def remembered(problem: Problem) -> Controller:
        made.append(controller_for(problem))
        return made[-1]

    episodes = _evaluated(task, env, remembered, settings, optimum, context)
    values = {**scores(task, episodes), **values}
    raw = isinstance(settings, ModelFreeMethod)
    shown = None if raw else film(task, episodes[0])
    return Result(
        values={**values, "verdict": _verdict(values)},
        pictures=drawn(task, env, episodes, made[-1]),
        animations={} if shown is None else {"episode": shown},
    )


def _verdict(values: dict[str, Any]) -> str:
    """Return the result in one sentence."""
    succeeded, optimum = sum(values["successes"]), values["ratio_to_optimum"]
    of_optimum = "" if optimum is None else f", {optimum:.3f} x the least possible"
    steps = values["environment_steps"]
    source = f"on what was learnt from {steps} steps" if steps else "on the known equations"
    times = f"{values['plan_ms_median']:.2f} ms a step (median), {values['plan_ms_mean']:.2f} ms (mean)"
    return (
        f"{succeeded} of {len(values['successes'])} episodes succeed, mean return {values['mean_return']:.2f}"
        f"{of_optimum}, {source}; {times}."
    )


def _starts(task: PlanningTask, env: gymnasium.Env, rng: np.random.Generator) -> np.ndarray | None:
    return None if task.episode else starts_of(task, env, rng)


def _moves(
    task: PlanningTask, env: gymnasium.Env, settings: NDMSettings, context: RunContext, saved: dict[str, Any] | None
) -> Transitions:
    if settings.model == "known":
        raise ValueError("model: got 'known', but where a point can go is to be found out, must be 'learned'")
    if saved is not None:
        return Transitions(**{name: np.asarray(part) for name, part in saved.items()})
    steps = settings.steps or task.experience
    context.progress(0, steps, "learning")
    seen = moves(task, env, steps, _learning_seed(context))
    context.checkpoint.save(seen._asdict(), len(seen.x))
    return seen


def _learning_seed(context: RunContext) -> int:
    """Return a seed for learning that is apart from those of evaluations."""
    return int(np.random.default_rng([context.seed, 2]).integers(2**31, 2**32))


def _learned(
    task: PlanningTask,
    env: gymnasium.Env,
    settings: ModelBasedSettings,
    context: RunContext,
    saved: dict[str, Any] | None,
) -> Learned:
    """Return the model learnt, the same for all methods: where steps are not random, ``ndm`` takes them."""
    rng = np.random.default_rng([context.seed, 3])
    steps = settings.steps or task.experience
    ours = settings if isinstance(settings, NDMSettings) else NDMSettings()
    if saved is not None:
        rng.bit_generator.state = saved["planner"]

    def on_round(learned: Learned) -> None:
        context.progress(learned.steps, steps, "learning")
        context.checkpoint.save({"learned": learned.state_dict(), "planner": rng.bit_generator.state}, learned.steps)

    return learn(
        task,
        env,
        settings.learner,
        steps,
        _learning_seed(context),
        lambda dynamics, problem, starts: geodesic(dynamics, problem, ours, rng, starts),
        device=context.device,
        dtype=context.dtype,
        known=None if saved is None else Learned.from_state(task, saved["learned"]),
        resumed=saved is not None,
        log=context.log,
        on_round=on_round,
    )


def _evaluated(
    task: PlanningTask,
    env: gymnasium.Env,
    controller_for: ControllerFor,
    settings: EvaluationSettings,
    optimum: Any,
    context: RunContext,
) -> list[Episode]:
    first = settings.first_seed + (_VALIDATION if context.evaluate == "validation" else 0)
    done: list[Episode] = []

    def on_episode(episode: Episode) -> None:
        done.append(episode)
        context.log("return", episode.total, len(done))
        context.progress(len(done), settings.episodes, f"episode {len(done)}/{settings.episodes}")

    seeds = range(first, first + settings.episodes)
    raw = isinstance(settings, ModelFreeMethod)
    return evaluate(task, env, controller_for, seeds, optimum, on_episode, raw=raw)
