"""Transitions of an environment: by random controls that are held for a while, or by a controller that is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gymnasium
import numpy as np

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.problem_of import (
    action_of,
    angles_of,
    clips_of,
    mirror_of,
    problem_of,
    smooth_of,
    state_of,
)
from ndm_apps.plugins.planning.schema import PlanningTask

#: A random control is held for 1 to so many steps, short and long holds alike: slow and fast motions are both excited.
_HOLD = 32


def chart_of(task: PlanningTask) -> Chart:
    """Return the chart that a task declares."""
    return Chart(
        len(task.columns),
        len(task.controls.names),
        angles_of(task),
        clips_of(task),
        np.array(task.bounds),
        mirror_of(task),
        smooth_of(task),
    )


class Experience:
    """An environment that is acted on and remembered, one episode after the other.

    Parameters
    ----------
    task
        The task.
    env
        Its environment.
    seed
        Of the first episode; the others follow from it.
    """

    def __init__(self, task: PlanningTask, env: gymnasium.Env, seed: int) -> None:
        self.task, self.env, self.chart = task, env, chart_of(task)
        self._state, self._action = state_of(task, env), action_of(task, env)
        self._seen: list[tuple[Array, Array, Array]] = []
        self._seed: int | None = seed
        self.starts: list[Array] = []
        #: Steps taken when an episode was broken off that had not ended.
        self.breaks: list[int] = []
        #: Whether the last step ended its episode, and not at the goal.
        self.failed = False
        self.state: Array
        self.problem: Problem
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        observation, _ = self.env.reset(seed=self._seed)
        self._seed, self.fresh = None, True
        self.state = self._state(observation)
        self.starts.append(self.state)
        self.problem = problem_of(self.task, self.env, observation)

    def break_off(self) -> None:
        """Begin an episode though the last one has not ended."""
        self.breaks.append(self.steps)
        self.reset()

    def step(self, u: Array) -> bool:
        """Apply a control; return whether the episode ended, in which case the next one has begun."""
        action = self._action(u)
        applied = self.problem.levels[action] if self.problem.levels is not None else np.asarray(action, dtype=float)
        observation, _, terminated, truncated, _ = self.env.step(action)
        after = self._state(observation)
        y = self.state + self.chart.difference(self.state, after)
        self._seen.append((self.state, applied, y))
        self.state, self.fresh = after, False
        self.failed = bool(terminated and not self.problem.reached(after))
        if terminated or truncated:
            self.reset()
        return bool(terminated or truncated)

    @property
    def steps(self) -> int:
        """Steps taken."""
        return len(self._seen)

    @property
    def seen(self) -> Transitions:
        """All transitions."""
        return self.since(0)

    def since(self, first: int) -> Transitions:
        """Return the transitions from a step on."""
        return Transitions(*(np.array(part) for part in zip(*self._seen[first:], strict=True)))

    def lead_back(self, seen: Transitions, breaks: Sequence[int]) -> bool:
        """Take the steps of before again, from the first episode on; return whether the environment repeated itself."""
        for number, u in enumerate(seen.u):
            if number in breaks:
                self.break_off()
            self.step(u)
        if len(seen.u) in breaks:
            self.break_off()
        return all(np.array_equal(now, before) for now, before in zip(self.seen, seen, strict=True))

    def remember(self, seen: Transitions, starts: Array) -> None:
        """Put transitions of before, and where episodes began, in front of those of now."""
        self._seen[:0] = list(zip(*seen, strict=True))
        self.starts[:0] = list(starts)


def wander(experience: Experience, steps: int, rng: np.random.Generator, episode: int = 100) -> None:
    """Take steps under random controls.

    Parameters
    ----------
    experience
        Where they are remembered.
    steps
        How many.
    rng
        Draws controls and how long they are held.
    episode
        Steps after which an episode is broken off, so that more starts are seen.
    """
    if not experience.fresh:
        experience.break_off()
    end, since = experience.steps + steps, experience.steps
    while experience.steps < end:
        problem = experience.problem
        if problem.levels is None:
            u = rng.uniform(problem.low, problem.high)
        else:
            u = problem.levels[rng.integers(len(problem.levels))]
        for _ in range(min(int(_HOLD ** rng.random()), end - experience.steps)):
            ended = experience.step(u)
            if not ended and experience.steps - since >= episode:
                experience.break_off()
                ended = True
            if ended:
                since = experience.steps
                break


def follow(
    experience: Experience, controller: Controller, steps: int, watch: int, surprised: Callable[[Transitions], bool]
) -> bool:
    """Let a controller act until the episode ends, steps run out, or what happens is not what its model expects.

    Parameters
    ----------
    experience
        Where it acts, from its present state on.
    controller
        What acts.
    steps
        Steps at most.
    watch
        Steps between looks at whether the model is surprised.
    surprised
        Tells from the transitions since the last look.

    Returns
    -------
    agreed
        Whether the episode was ended with no surprise, at the goal or by its time limit.
    """
    begun = looked = experience.steps
    controller.start(experience.state)
    while experience.steps < begun + steps:
        ended = experience.step(controller.control(experience.state))
        if ended or experience.steps - looked == watch:
            if surprised(experience.since(looked)):
                return False
            looked = experience.steps
        if ended:
            return not experience.failed
    return False
