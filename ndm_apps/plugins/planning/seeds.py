"""Paths to start from: rollouts of the value in several homotopy classes, and the plain ones to compare with."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.lqr import Regulator
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import wrapped
from ndm_apps.plugins.planning.value import Value

#: Edges for which a first control is held, whatever the value says.
_HELD = (1, 2, 4)
_TAIL = 10  # steps of the regulator at the end of a path


class Seeds:
    """Where paths of one model, task and value start from.

    Parameters
    ----------
    kind
        ``"value"``: greedy rollouts of the value, with and without noise, at once and after each extreme control was
        held for a while. ``"drift"``: the motion without controls. ``"line"``: the straight line to the goal.
    value
        The value; None for the other kinds.
    noise, noisy
        Deviation of the noise on what each control is found to cost, in deviations over the controls; rollouts with it.
        Near ties are decided either way by it.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        problem: Problem,
        regulator: Regulator | None,
        value: Value | None,
        generator: np.random.Generator,
        *,
        kind: Literal["value", "drift", "line"],
        noise: float,
        noisy: int,
    ) -> None:
        self._dynamics, self._problem, self._regulator = dynamics, problem, regulator
        self._value, self._generator = value, generator
        self._kind, self._noise, self._noisy = kind, noise, noisy
        # Each bound of each control with the others at rest, and all at rest.
        rest = np.clip(np.zeros(dynamics.controls), problem.low, problem.high)
        extremes = np.concatenate([np.diag(problem.low - rest), np.diag(problem.high - rest)]) + rest
        self._extremes = np.concatenate([rest[None], extremes])

    def around(self, start: Array, steps: int) -> list[Array]:
        """Return paths from a start (n,), of ``steps`` at most, (steps of each + 1, n)."""
        if self._kind == "drift":
            return [self.closed(self._drifted(start, steps))]
        if self._kind == "line":
            way = wrapped(self._problem.goal - start, self._dynamics.angles)
            return [start + np.linspace(0.0, 1.0, steps + 1)[:, None] * way]
        noise = np.repeat([0.0, self._noise], [1, self._noisy])
        paths = self.rollouts(np.broadcast_to(start, (len(noise), len(start))), noise, steps)
        if self._problem.objective == "action":
            # With time left, it costs nothing to drift first; there is then more of it to gain speed in.
            before = self._drifted(start, max(steps + 1 - min(len(path) for path in paths), 0))
            waited = [before[at] for at in range(len(before) - 1, 0, -max(len(before) // len(paths), 1))]
            after = self.rollouts(np.array(waited), np.zeros(len(waited)), steps) if waited else []
            for at, path in zip(range(len(before) - 1, 0, -max(len(before) // len(paths), 1)), after, strict=True):
                paths.append(np.concatenate([before[:at], path])[: steps + 1])
        else:
            held = self._held(start)
            after = self.rollouts(np.array([path[-1] for path in held]), np.zeros(len(held)), steps)
            paths += [np.concatenate([a[:-1], b])[: steps + 1] for a, b in zip(held, after, strict=True)]
            if self._regulator is not None:
                near = self._regulated(start, self._regulator, steps)
                paths += [near] if self._regulator.inside(near[-1]) else []
        return [self.closed(path) for path in paths]

    def rollouts(self, x: Array, noise: Array, steps: int) -> list[Array]:
        """Follow the value from states (paths, n) until each is at the goal or beyond limits, or for ``steps``."""
        value, dynamics = self._value, self._dynamics
        x = np.array(x)
        paths, running = [x], np.ones(len(x), dtype=bool)
        lengths = np.zeros(len(x), dtype=np.intp)
        while running.any() and len(paths) <= steps:
            costs = value.choices(paths[-1][running])
            blur = noise[running, None] * costs.std(axis=-1, keepdims=True)
            controls = value.controls[(costs + blur * self._generator.standard_normal(costs.shape)).argmin(-1)]
            # Each choice is held along its edge, as it was valued.
            for _ in range(value.steps):
                after = paths[-1].copy()
                after[running] = dynamics.step(after[running], controls)
                paths.append(after)
                lengths[running] += 1
                still = ~self._ended(after[running])
                controls = controls[still]
                running[running] = still
                if not running.any():
                    break
        states = np.stack(paths)
        return [states[: min(length, steps) + 1, i] for i, length in enumerate(lengths.tolist())]

    def _held(self, start: Array) -> list[Array]:
        """Return the paths on which each extreme control was held for some edges."""
        controls = self._extremes if self._problem.levels is None else self._problem.levels
        x = [np.broadcast_to(start, (len(controls), len(start)))]
        for _ in range(_HELD[-1] * self._value.steps):
            x.append(self._dynamics.step(x[-1], controls))
        states = np.stack(x)
        return [states[: edges * self._value.steps + 1, i] for edges in _HELD for i in range(len(controls))]

    def _drifted(self, start: Array, steps: int) -> Array:
        """Return the motion without controls, (steps + 1, n)."""
        path = [start]
        for _ in range(steps):
            path.append(self._dynamics.step(path[-1], self._extremes[0]))
        return np.stack(path)

    def closed(self, path: Array) -> Array:
        """Return a path that ends as its objective asks: at the goal, or in the regulator's hands."""
        if self._problem.objective == "action":
            goal = path[-1] + wrapped(self._problem.goal - path[-1], self._dynamics.angles)
            return np.concatenate([path[:-1], goal[None]])
        if self._regulator is None or not self._regulator.inside(path[-1]):
            return path
        tail = [path[-1]]
        for _ in range(_TAIL):
            tail.append(self._dynamics.step(tail[-1], self._regulator.control(tail[-1])))
        return np.concatenate([path[:-1], np.stack(tail)])

    def _regulated(self, start: Array, regulator: Regulator, steps: int) -> Array:
        """Return the regulator's path until it is near enough, (steps of it + 1, n)."""
        path = [start]
        while len(path) <= steps and not self._ended(path[-1]):
            path.append(self._dynamics.step(path[-1], regulator.control(path[-1])))
        return np.stack(path)

    def _ended(self, x: Array) -> NDArray[np.bool_]:
        """Return whether paths are over: at the goal, near enough for the regulator, or beyond the limits."""
        problem = self._problem
        ended = ((x < problem.limits[:, 0]) | (x > problem.limits[:, 1])).any(-1)
        if problem.objective != "cost":
            ended |= problem.reached(x)
        elif self._regulator is not None:
            ended |= self._regulator.inside(x)
        return np.asarray(ended)
