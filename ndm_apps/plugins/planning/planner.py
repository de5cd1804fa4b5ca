"""The planner: a value on nodes for the way round, Gauss-Newton on the path for the way itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from ndm_apps.errors import InputError
from ndm_apps.plugins.planning.beam import beam_search
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.lqr import regulator_at
from ndm_apps.plugins.planning.nodes import Embedding
from ndm_apps.plugins.planning.path import Path, PathSolver, Stage
from ndm_apps.plugins.planning.planner_settings import PlannerSettings
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import scales_of, spread_out, wrapped
from ndm_apps.plugins.planning.seeds import Seeds
from ndm_apps.plugins.planning.value import Value

_LEVELS, _FEW_LEVELS = 7, 3  # of each control, and of each of more than two
_SPREAD = 0.1  # of copies of nodes around paths, in units of length
_WINDOW = 200  # steps of a long path that are mended, their end fixed
_ALONG = 64  # most nodes along a path
_TIME_PRICE = 0.1  # of a step of a least action, in typical steps
_USED = 0.9  # part of the steps left that a path of least action takes
#: (epsilon, bound, iterations) of each stage.
_SCHEDULE = ((1e-4, 10.0, 20), (1e-6, 100.0, 20), (1e-8, 1000.0, 40))


class GeodesicPlanner:
    """Paths of least action of a model from any start to the goal of a task.

    Parameters
    ----------
    dynamics, problem
        The model and the task.
    settings
        How to plan.
    generator
        Draws nodes, slow functions' samples and noisy seeds.
    starts
        States from which paths will be asked for, (starts, n), as far as they are known: nodes are added along paths
        from there. By default from anywhere in the box.

    Raises
    ------
    InputError
        The goal lies outside the box.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        problem: Problem,
        settings: PlannerSettings | None = None,
        *,
        generator: np.random.Generator,
        starts: Array | None = None,
    ) -> None:
        settings = PlannerSettings() if settings is None else settings
        _check_goal(problem, dynamics.angles)
        self.dynamics, self.problem, self.settings = dynamics, problem, settings
        self._generator = generator
        self.scales = scales_of(problem, dynamics.angles, generator)
        self.time_price = 0.0 if problem.objective == "cost" else _TIME_PRICE * self.scales.cost
        self._costly = problem.objective == "cost"
        self.regulator = regulator_at(dynamics, problem, self.scales, generator) if self._costly else None
        self._potential = Potential(dynamics, problem, self.scales, settings.uncertainty)
        self.solver = PathSolver(dynamics, problem, self.scales, self._potential, self.regulator)
        self._pinned = PathSolver(dynamics, problem, self.scales, self._potential, None)
        self.schedule = tuple(
            Stage(max(epsilon, settings.epsilon), bound, iterations) for epsilon, bound, iterations in _SCHEDULE
        )
        #: Whether the value tells where paths begin, and what is left to pay at their ends.
        self.valued = settings.seed in (None, "value")
        self._seeds = Seeds(
            dynamics,
            problem,
            self.regulator,
            self.value if self.valued else None,
            generator,
            kind=settings.seed or "value",
            noise=settings.noise,
            noisy=settings.noisy,
        )
        #: Whether paths are polished by Gauss-Newton; otherwise they are searched for among discrete controls.
        self.smooth = problem.objective != "time" and problem.levels is None
        for _ in range(settings.rounds if self.valued else 0):
            self._refine(starts)

    @cached_property
    def embedding(self) -> Embedding:
        """Where states are neighbours."""
        slow = self.dynamics.states - 1 if self.settings.slow is None else self.settings.slow
        return Embedding(self.dynamics, self.problem, self.scales, slow, self._generator)

    @cached_property
    def value(self) -> Value:
        """The value on nodes: at once if paths begin with it, else when it is first asked for."""
        dynamics, problem, settings, n = self.dynamics, self.problem, self.settings, self.dynamics.states
        embedding, nodes = self.embedding, 512 * 2**n if settings.nodes is None else settings.nodes
        return Value(
            dynamics,
            problem,
            self.scales,
            self._potential,
            self.regulator,
            embedding,
            np.concatenate([problem.goal[None], spread_out(problem.box, nodes - 1, self._generator)]),
            levels=_FEW_LEVELS if dynamics.controls > 2 else _LEVELS,
            neighbours=2 * n if settings.neighbours is None else settings.neighbours,
            flat=settings.flat,
            time_price=self.time_price,
        )

    def plan(self, start: Array, warm: Path | None = None, steps: int | None = None) -> Path:
        """Return the best path found from a start.

        Parameters
        ----------
        start
            (n,).
        warm
            A path that is known, to be polished beside the seeds.
        steps
            Steps that are left; by default the task's horizon.

        Raises
        ------
        ValueError
            The start is not a state.
        """
        start = check_state(start, self.dynamics.states)
        steps = self.problem.horizon if steps is None else steps
        if not self.smooth:
            return self._searched(start, self.settings.beam, steps)[0]
        seeds = self._seeds.around(start, steps if self._costly else max(int(_USED * steps), 2))
        if warm is not None:
            seeds.append(warm.states)
        return self._best(seeds)

    def improve(self, path: Path, iterations: int = 2) -> Path:
        """Return a path after a few steps of Gauss-Newton; of a long one that is feasible, the next part is mended."""
        stage = replace(self.schedule[-1], iterations=iterations)
        if len(path.controls) <= _WINDOW or not path.feasible:
            return self._valued(self.solver.solve(path.states, [stage]))
        states, controls = path.states[:_WINDOW], path.controls[:_WINDOW]
        near = self._pinned.solve(path.states[: _WINDOW + 1], [stage])
        before = self._potential.cost(states).sum() + ((controls @ self.problem.control_cost) * controls).sum()
        return replace(
            near,
            states=np.concatenate([near.states, path.states[_WINDOW + 1 :]]),
            controls=np.concatenate([near.controls, path.controls[_WINDOW:]]),
            cost=path.cost + near.cost - float(before),
        )

    def step_cost(self, x: Array, u: Array) -> float:
        """Return what a step from a state (n,) under a control (m,) costs."""
        if self.problem.objective == "time":
            return 1.0
        return float(self._potential.cost(x) + u @ self.problem.control_cost @ u)

    def _best(self, seeds: list[Array]) -> Path:
        """Return the best path: the cheapest seeds are polished roughly, of them the cheapest to the end."""
        first, *rest = self.schedule
        costs = np.array([self.solver.cost(seed, first) + self._shortfall(seed[-1]) for seed in seeds])
        _, distinct = np.unique(costs.round(6), return_index=True)
        rough = [self._valued(self.solver.solve(seeds[i], [first])) for i in distinct[: self.settings.polished]]
        rough.sort(key=lambda path: path.cost)
        paths = [self._valued(self.solver.solve(path.states, rest)) for path in rough[: self.settings.finished]]
        return min(paths, key=lambda path: (not path.feasible, path.cost))

    def _valued(self, path: Path) -> Path:
        return replace(path, cost=path.cost + self._shortfall(path.states[-1]))

    def _shortfall(self, end: Array) -> float:
        """Return how much more than the regulator promises is to be paid from the end of a path."""
        if not self.valued or self.regulator is None or self.regulator.inside(end):
            return 0.0
        limits = self.problem.limits
        left = self.value.leaving if ((end < limits[:, 0]) | (end > limits[:, 1])).any() else 0.0
        return max(left + float(self.value(end)) - float(self.regulator.cost(end)), 0.0)

    def _searched(self, start: Array, width: int, steps: int) -> tuple[Path, Array]:
        return beam_search(
            self.dynamics, self.problem, self._potential, self.embedding, self.value, start, width=width, steps=steps
        )

    def _refine(self, starts: Array | None) -> None:
        """Add nodes where paths go, with what is left to pay there as a bound where a path converged."""
        count = self.settings.seeds
        if starts is None:
            x = spread_out(self.problem.box, count, self._generator)
        else:
            x = starts[self._generator.integers(len(starts), size=count)]
        ways = self._ways(x) if self.smooth else self._searched_ways(x)
        states = np.concatenate([states for states, _ in ways])
        near = states + _SPREAD * self.scales.length * self._generator.standard_normal(states.shape)
        inside = np.clip(near, self.problem.box[:, 0], self.problem.box[:, 1])
        bounds = np.concatenate([*(bounds for _, bounds in ways), np.full(len(inside), np.inf)])
        self.value.refine(np.concatenate([states, inside]), bounds)

    def _ways(self, x: Array) -> list[tuple[Array, Array]]:
        """Return states along rollouts and the paths polished from them, and what is left to pay there at most."""
        ways = []
        for seed in self._seeds.rollouts(x, np.full(len(x), self.settings.noise), self.problem.horizon):
            along = _thinned(seed)
            ways.append((along, np.full(len(along), np.inf)))
            path = self.solver.solve(self._seeds.closed(seed), self.schedule) if len(seed) > 2 else None
            if path is not None and path.converged:
                left = self.solver.costs_to_go(path, self.schedule[-1]) + self.time_price * np.arange(
                    len(path.controls), 0, -1
                )
                ways.append((_thinned(path.states[:-1]), _thinned(left)))
        return ways

    def _searched_ways(self, x: Array) -> list[tuple[Array, Array]]:
        """Return states that searches kept, and along the paths found what is left to pay."""
        ways = []
        for start in x:
            path, seen = self._searched(start, -(-self.settings.beam // 4), self.problem.horizon)
            some = seen[self._generator.integers(len(seen), size=2 * _ALONG)]
            ways.append((some, np.full(len(some), np.inf)))
            if path.converged and self.problem.objective == "time":
                ways.append((path.states[:-1], np.arange(len(path.controls), 0.0, -1.0)))
        return ways


def _thinned(along: Array) -> Array:
    """Return every so many of what lies along a path."""
    return along[:: -(-len(along) // _ALONG)]


def check_state(x: Array, size: int) -> Array:
    """Return a state as floats.

    Raises
    ------
    ValueError
        Not (n,), or not finite.
    """
    x = np.asarray(x, dtype=float)
    if x.shape != (size,) or not np.isfinite(x).all():
        raise ValueError(f"a state must be {size} finite numbers, got {x!r}")
    return x


def _check_goal(problem: Problem, angles: tuple[int, ...]) -> None:
    goal = wrapped(problem.goal, angles)
    for i, (value, (low, high)) in enumerate(zip(goal.tolist(), problem.box.tolist(), strict=True)):
        if not low <= value <= high:
            raise InputError(f"the goal must lie in the box, got {value} for coordinate {i}, allowed [{low}, {high}]")
