r"""The value of a problem on sampled states: Bellman's equation of an asymmetric geodesic distance.

From each node, each control of a grid is held for tau steps of the model: an edge of cost c(u) to a state y(u), at
which the value is averaged over the nearest nodes,

.. math:: V_i = \min_u \Big[ c_i(u) + \sum_j w_{ij}(u)\, V_j \Big].

This is a semi-Lagrangian solver of the Hamilton-Jacobi equation (for a unit price of time, of the eikonal equation of a
Randers-like metric), on nodes instead of a grid. The weights are those of locally linear embedding,

.. math:: \min_w \Big|\sum_j w_j z_j - z\Big|^2 + \alpha \sum_j w_j^2 |z_j - z|^2, \qquad \sum_j w_j = 1,

cut at 0: of second order where the neighbours surround z, and for a large alpha those of inverse squared distances.
They are no less than 0, so the iteration is monotone and converges.

References
----------
Munos, Moore, "Variable resolution discretization in optimal control", Machine Learning 49, 2002.
Falcone, Ferretti, "Semi-Lagrangian Approximation Schemes for Linear and Hamilton-Jacobi Equations", SIAM, 2013.
Roweis, Saul, "Nonlinear dimensionality reduction by locally linear embedding", Science 290, 2000.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.lqr import Regulator
from ndm_apps.plugins.planning.nodes import Embedding
from ndm_apps.plugins.planning.potential import Potential
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.scales import Scales, wrapped

_SETTLED = 1e-5  # part of the largest value by which a last sweep may change any
#: Distances between nodes by which the bounds of the controls part along an edge.
_APART = 2.0
_MOST_EDGE = 10  # steps of the model


@dataclass(frozen=True)
class Edges:
    """What controls held for an edge lead to.

    Attributes
    ----------
    cost, end
        Costs (..., choices) and states (..., choices, n).
    alive
        1 where the motion goes on from there, 0 at the goal and beyond the limits, (..., choices).
    """

    cost: Array
    end: Array
    alive: Array


class Value:
    """The value of a problem on nodes.

    Parameters
    ----------
    dynamics, problem, scales, potential, regulator, embedding
        The model, the task, its units, what states cost, the regulator at the goal if there is one, where nodes are
        neighbours.
    nodes
        States, (nodes, n).
    neighbours
        Nodes that are averaged over.
    flat
        alpha above.
    levels
        Controls of the grid along each axis, where they are not discrete.
    time_price
        Price of a step, beside the controls, where the objective is an action.
    steps
        Steps of the model along an edge; by default so many that the bounds of the controls part by some nodes.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        problem: Problem,
        scales: Scales,
        potential: Potential,
        regulator: Regulator | None,
        embedding: Embedding,
        nodes: Array,
        *,
        levels: int,
        neighbours: int,
        flat: float,
        time_price: float = 0.0,
        steps: int | None = None,
    ) -> None:
        self._dynamics, self._problem, self._potential = dynamics, problem, potential
        self._regulator, self._embedding = regulator, embedding
        self._neighbours, self._flat, self._time_price = neighbours, flat, time_price
        #: What it costs to go beyond the limits.
        self.leaving = scales.cost * problem.horizon
        self.controls = _grid(problem, levels)
        self.nodes = wrapped(nodes, dynamics.angles)
        self._tree = cKDTree(embedding(self.nodes))
        #: Steps of the model along an edge.
        self.steps = steps or self._edge_steps()
        self._bound = np.full(len(nodes), np.inf)
        self.values = np.zeros(len(nodes))
        self._edges = self.edges(self.nodes)
        self._solve()

    def refine(self, nodes: Array, bound: Array) -> None:
        """Add nodes (added, n) at which the value is known to be at most the bound (added,), and solve again."""
        nodes = wrapped(nodes, self._dynamics.angles)
        new, old = self.edges(nodes), self._edges
        self.nodes = np.concatenate([self.nodes, nodes])
        self._bound = np.concatenate([self._bound, bound])
        self._edges = Edges(
            np.concatenate([old.cost, new.cost]),
            np.concatenate([old.end, new.end]),
            np.concatenate([old.alive, new.alive]),
        )
        self.values = np.concatenate([self.values, np.zeros(len(nodes))])
        self._tree = cKDTree(self._embedding(self.nodes))
        self._solve()

    def edges(self, x: Array) -> Edges:
        """Roll the model along an edge from states (..., n) under each control of the grid."""
        problem, controls = self._problem, self.controls
        effort = ((controls @ problem.control_cost) * controls).sum(-1)
        shape = (*x.shape[:-1], len(controls))
        x = np.broadcast_to(x[..., None, :], (*shape, x.shape[-1]))
        u = np.broadcast_to(controls, (*shape, controls.shape[-1]))
        cost, alive = np.zeros(shape), np.ones(shape)
        for _ in range(self.steps):
            cost += alive * self._step_cost(x, effort)
            x = np.where(alive[..., None] > 0, self._dynamics.step(x, u), x)
            if problem.objective != "cost":
                alive *= ~problem.reached(x)
            left = ((x < problem.limits[:, 0]) | (x > problem.limits[:, 1])).any(-1) & (alive > 0)
            cost += self.leaving * left
            alive *= ~left
        return Edges(cost, x, alive)

    def __call__(self, x: Array) -> Array:
        """Return the value (...) at states (..., n)."""
        shape = x.shape[:-1]
        x = x.reshape(-1, x.shape[-1])
        index, weight = self._weights(x)
        value = (self.values[index] * weight).sum(-1)
        if self._problem.objective != "cost":
            value = np.where(self._problem.reached(x), 0.0, value)
        elif self._regulator is not None:
            near = self._regulator.cost(x)
            value = np.where(near <= self._regulator.level, np.minimum(value, near), value)
        return np.asarray(value.reshape(shape))

    def choices(self, x: Array) -> Array:
        """Return what each control of the grid costs at states (..., n), with the value where it leads."""
        edges = self.edges(x)
        return np.asarray(edges.cost + edges.alive * self(edges.end))

    def greedy(self, x: Array) -> Array:
        """Return the best control of the grid at states (..., n), (..., m)."""
        return np.asarray(self.controls[self.choices(x).argmin(-1)])

    def _step_cost(self, x: Array, effort: Array) -> Array:
        if self._problem.objective == "time":
            return np.ones(x.shape[:-1])
        return self._potential.cost(x) + effort + (self._time_price if self._problem.objective == "action" else 0.0)

    def _weights(self, x: Array) -> tuple[np.ndarray, Array]:
        """Return the nearest nodes of states (q, n) and their weights, (q, k)."""
        place = self._embedding(x)
        count = min(self._neighbours, len(self.nodes))
        distance, index = self._tree.query(place, count)
        if count == 1:
            return index[:, None], np.ones((len(x), 1))
        away = self._tree.data[index] - place[:, None]
        squared = distance**2
        gram = away @ np.swapaxes(away, -1, -2)
        diagonal = np.arange(count)
        gram[:, diagonal, diagonal] += self._flat * squared + 1e-9 * squared.mean(-1, keepdims=True) + 1e-15
        weight = np.linalg.solve(gram, np.ones((*squared.shape, 1)))[..., 0]
        weight = np.maximum(weight / weight.sum(-1, keepdims=True), 0.0)
        return index, weight / weight.sum(-1, keepdims=True)

    def _edge_steps(self) -> int:
        """Return the fewest steps in which the bounds of the controls part by some distances between nodes."""
        spacing = np.median(self._tree.query(self._tree.data, 2)[0][:, 1])
        ends = np.broadcast_to(self.nodes, (2, *self.nodes.shape))
        bounds = np.stack([self._problem.low, self._problem.high])[:, None] + np.zeros((1, len(self.nodes), 1))
        for steps in range(1, _MOST_EDGE):
            ends = self._dynamics.step(ends, bounds)
            low, high = self._embedding(ends)
            if np.median(np.linalg.norm(high - low, axis=-1)) >= _APART * spacing:
                return steps
        return _MOST_EDGE

    def _solve(self) -> None:
        """Sweep until the values settle, or over the horizon."""
        cost, alive = self._edges.cost, self._edges.alive
        count, choices = cost.shape
        index, weight = self._weights(self._edges.end.reshape(count * choices, -1))
        weight = weight * alive.reshape(-1, 1)
        starts = np.arange(0, weight.size + 1, weight.shape[1])
        average = csr_matrix((weight.ravel(), index.ravel(), starts), shape=(count * choices, count))
        bound = self._bound
        if self._problem.objective != "cost":
            bound = np.where(self._problem.reached(self.nodes), 0.0, bound)
        elif self._regulator is not None:
            near = self._regulator.cost(self.nodes)
            bound = np.minimum(bound, np.where(near <= self._regulator.level, near, np.inf))
        values = np.minimum(self.values, bound)
        for _ in range(-(-self._problem.horizon // self.steps)):
            after = np.minimum((cost + (average @ values).reshape(count, choices)).min(-1), bound)
            change = np.abs(after - values).max()
            values = after
            if change <= _SETTLED * values.max():
                break
        self.values = values


def _grid(problem: Problem, levels: int) -> Array:
    """Return the controls of edges: those that there are, or a grid over the bounds, (choices, m)."""
    if problem.levels is not None:
        return problem.levels
    axes = [np.linspace(low, high, levels) for low, high in zip(problem.low, problem.high, strict=True)]
    return np.array(list(product(*axes)))
