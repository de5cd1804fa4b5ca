"""The agent: from a Gymnasium environment and a task file to actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import gymnasium
import numpy as np

from ndm_apps.engine.checkpoint import load_state, save_state
from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.learner import Learned, learn
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.methods import geodesic
from ndm_apps.plugins.planning.problem_of import action_of, problem_of, state_of
from ndm_apps.plugins.planning.schema import PlanningTask
from ndm_apps.plugins.planning.settings import NDMSettings


class GeodesicAgent:
    """Learn the dynamics of an environment in a few hundred steps, and act along paths of least action on them.

    Parameters
    ----------
    env
        A Gymnasium environment with a time limit.
    task
        What its observations and actions mean and what is to be done: a task, such as
        ``ndm_apps.tasks.load_task("planning/pendulum")[1]``, or the same as a mapping, as in a task file.
    settings
        How it learns and plans.
    seed
        Of all that is random.

    Raises
    ------
    InputError, ValueError
        If the task is not well formed, does not fit the environment, or is that of a point among walls, which moves by
        :func:`~ndm_apps.plugins.planning.moving.moving`.

    Examples
    --------
    >>> from ndm_apps.plugins.planning.problem_of import open_environment
    >>> from ndm_apps.tasks import load_task
    >>> task = load_task("planning/pendulum")[1]
    >>> env = open_environment(task)
    >>> agent = GeodesicAgent(env, task).learn(300)
    >>> observation, _ = env.reset(seed=1000)
    >>> agent.act(observation, first=True).shape
    (1,)
    """

    def __init__(
        self,
        env: gymnasium.Env,
        task: PlanningTask | Mapping[str, Any],
        *,
        settings: NDMSettings | None = None,
        seed: int = 0,
    ) -> None:
        task = task if isinstance(task, PlanningTask) else PlanningTask.model_validate(dict(task), strict=False)
        if task.kinematic is not None:
            raise ValueError("kinematic: got a point that moves, must be null for an agent that learns dynamics")
        self.env, self.task, self.seed = env, task, seed
        self.settings = NDMSettings() if settings is None else settings
        self.learned: Learned | None = None
        self._state, self._action = state_of(task, env), action_of(task, env)
        self._controller: Controller | None = None

    @property
    def learner(self) -> LearnerSettings:
        """How it learns."""
        return self.settings.learner

    def learn(self, steps: int, *, device: str = "cpu", dtype: str = "float64") -> Self:
        """Learn from steps of the environment, at most so many in all; more, if it has learnt before, go on from there.

        Parameters
        ----------
        steps
            How many. It stops early when the model is no longer surprised.
        device, dtype
            Torch names, for the networks.
        """
        self.learned = learn(
            self.task,
            self.env,
            self.learner,
            steps,
            self.seed,
            lambda dynamics, problem, starts: geodesic(dynamics, problem, self.settings, self._rng(0), starts),
            device=device,
            dtype=dtype,
            known=self.learned,
        )
        self._controller = None
        return self

    def act(self, observation: Any, *, first: bool = False) -> Any:
        """Return the action for an observation.

        Parameters
        ----------
        observation
            As the environment gives it.
        first
            Whether it is the first of an episode; the first that is ever given is taken for one.

        Raises
        ------
        ValueError
            If nothing has been learnt, or the observation gives no finite state.
        """
        if self.learned is None:
            raise ValueError("act: nothing has been learnt, call learn(steps) or load a file first")
        x = self._state(observation)
        if self._controller is None or (first and self.task.episode):
            problem = problem_of(self.task, self.env, observation)
            starts = None if self.task.episode else self.learned.starts
            self._controller = geodesic(self.learned.dynamics, problem, self.settings, self._rng(1), starts)
            first = True
        if first:
            self._controller.start(x)
        return self._action(self._controller.control(x))

    def save(self, path: str | Path) -> None:
        """Write what was learnt to one safetensors file.

        Raises
        ------
        ValueError
            If nothing has been learnt.
        """
        if self.learned is None:
            raise ValueError("save: nothing has been learnt, call learn(steps) first")
        save_state(path, {"columns": list(self.task.columns), "learned": self.learned.state_dict()})

    def load(self, path: str | Path) -> Self:
        """Take what an agent of the same task has learnt from a file.

        Raises
        ------
        InputError
            If the file is damaged, or of a task with other columns.
        """
        state = load_state(path)
        if not isinstance(state, dict) or state.get("columns") != list(self.task.columns):
            raise InputError(f"{path}: not what an agent with the columns {', '.join(self.task.columns)} has learnt")
        self.learned = Learned.from_state(self.task, state["learned"])
        self._controller = None
        return self

    def _rng(self, use: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, 10 + use])
