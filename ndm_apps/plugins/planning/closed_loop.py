"""The planner in closed loop: one or two steps of Gauss-Newton each step, a fresh look every ten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.path import Path
from ndm_apps.plugins.planning.planner import GeodesicPlanner, check_state

#: Units of length within which a state counts as where the path is, if it can be mended, or only searched for anew.
_ON_PATH, _NEAR_PATH = 1e-6, 1e-2
_LEAST = 10  # steps of a path ahead


class GeodesicController:
    """Follow the planner's path, mend it by Gauss-Newton when the state is off it, and look for better ones.

    A path that the model predicts exactly is followed as it is. Within the regulator's region the regulator acts; where
    no path is feasible, the value's greedy control.

    Parameters
    ----------
    planner
        The planner of the model and task.
    """

    def __init__(self, planner: GeodesicPlanner) -> None:
        self.planner = planner
        #: The path ahead, if one is followed.
        self.path: Path | None = None
        self._left = 0
        self._wait = self._next = 0
        self._strayed = False

    def start(self, x: Array) -> None:
        """Begin an episode at the state x, (n,)."""
        self._left = self.planner.problem.horizon
        self.path = self.planner.plan(x)
        self._wait = self._next = self.planner.settings.reseed

    def control(self, x: Array) -> Array:
        """Return the control (m,) at the state x, (n,)."""
        planner = self.planner
        x = check_state(x, planner.dynamics.states)
        passed = planner.problem.horizon - self._left
        self._left -= 1
        if planner.smooth and planner.regulator is not None and planner.regulator.inside(x):
            self.path = None
            return planner.regulator.control(x)
        if self.path is None:
            self.path = planner.plan(x, steps=self._left + 1)
        elif passed:
            self.path = self._moved(self.path, x)
            if self._wait and self._strayed and passed >= self._next:
                self._look_afresh(x, passed)
        return self.path.controls[0] if self.path.feasible else planner.value.greedy(x)

    def _look_afresh(self, x: Array, passed: int) -> None:
        """Take a fresh path if it is better; if not, wait twice as long for the next."""
        planner, old = self.planner, self.path
        fresh = planner.plan(x, steps=self._left + 1, warm=old)
        self._wait *= 2
        if old is None or not old.feasible or fresh.cost < (1 - planner.settings.better) * old.cost:
            self.path, self._wait = fresh, planner.settings.reseed
        self._next, self._strayed = passed + self._wait, False

    def _moved(self, path: Path, x: Array) -> Path:
        """Return the rest of a path from the state reached, mended where that is not where the path is."""
        planner = self.planner
        if len(path.states) < 3:
            return planner.plan(x, steps=self._left + 1)
        states = path.states[1:]
        angles = list(planner.dynamics.angles)
        x = x.copy()
        x[angles] += 2 * np.pi * np.round((states[0, angles] - x[angles]) / (2 * np.pi))
        off = np.abs((x - states[0]) / planner.scales.length).max()
        controls = path.controls[1:]
        states = np.concatenate([x[None], states[1:]])
        if planner.smooth and planner.regulator is not None and len(states) <= _LEAST:
            control = planner.regulator.control(states[-1])
            states = np.concatenate([states, planner.dynamics.step(states[-1], control)[None]])
            controls = np.concatenate([controls, control[None]])
        cost = path.cost - planner.step_cost(path.states[0], path.controls[0])
        moved = replace(path, states=states, controls=controls, cost=cost)
        if path.converged and off < (_ON_PATH if planner.smooth else _NEAR_PATH):
            return moved
        self._strayed = True
        return planner.improve(moved) if planner.smooth else planner.plan(x, steps=self._left + 1)
