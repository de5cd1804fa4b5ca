"""A graph on points that have been visited: the first guesses of geodesics, one of each way round the obstacles."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.refused import Places, RefusedMetric, thinned

#: Nodes at most, and neighbours of each.
NODES, NEIGHBOURS = 3000, 14
#: Ways that are tried, by how much longer than the shortest they may be, and how many units apart they are.
WAYS, LONGER, APART = 3, 1.15, 5.0


class Roadmap:
    """The nearest-neighbour graph of a metric's free points, each edge as long as the metric says.

    Parameters
    ----------
    metric
        Gives the points and the lengths.
    """

    def __init__(self, metric: RefusedMetric) -> None:
        self.metric = metric
        spacing = metric.unit / 4
        while len(nodes := thinned(metric.free.points, spacing)) > NODES:
            spacing *= 1.1
        self.nodes, self._places = nodes, Places(nodes, metric.free.angles)
        count, neighbours = len(nodes), min(NEIGHBOURS + 1, len(nodes))
        _, near = self._places.nearest(nodes, neighbours)
        rows, columns = np.repeat(np.arange(count), neighbours - 1), near[:, 1:].ravel()
        self._ends = np.unique(np.sort(np.stack((rows, columns)), axis=0), axis=1)
        self._lengths = self.lengths(*self.nodes[self._ends])

    def copy(self) -> Roadmap:
        """Return one that can be updated by itself."""
        other = copy(self)
        other._lengths = self._lengths.copy()
        return other

    def update(self, metric: RefusedMetric, point: Array) -> None:
        """Take a metric that is another one near a point only."""
        self.metric = metric
        near = self._places.within(point, 5 * metric.unit)
        touched = np.isin(self._ends, near).any(0)
        self._lengths[touched] = self.lengths(*self.nodes[self._ends[:, touched]])

    def steeper(self, factor: float) -> Roadmap:
        """Return one of the same metric with walls that are so many times as high."""
        other = copy(self)
        other.metric = replace(self.metric, height=factor * self.metric.height)
        other._lengths = other.lengths(*self.nodes[self._ends])
        return other

    def lengths(self, start: Array, end: Array, samples: int = 3) -> Array:
        """Return the lengths (...) of straight lines between points (..., n), the short way round."""
        gap = self.metric.short(end - start)
        shares = (np.arange(samples) + 0.5) / samples
        along = start[..., None, :] + shares[:, None] * gap[..., None, :]
        return self.metric.scale(along).mean(-1) * np.linalg.norm(gap, axis=-1)

    def ways(self, start: Array, goal: Array) -> list[Array]:
        """Return paths (nodes, n) from start to goal, shortest first, that differ by more than a detour.

        A way leads through some node: the shortest way through each node is known from the distances to both ends, and
        a node far from the ways that are already taken stands for another one. Angles are unwrapped along the paths.
        """
        ends = [self._from(point) for point in (start, goal)]
        total = ends[0][0] + ends[1][0]
        found: list[Array] = []
        apart = np.full(len(self.nodes), np.inf)
        for via in np.argsort(total):
            if len(found) == WAYS or not total[via] <= LONGER * total.min():
                break
            if apart[via] < APART * self.metric.unit:
                continue
            there, back = ([self.nodes[node] for node in self._chain(end[1], via)] for end in ends)
            path = np.array([start, *there[::-1], *back[1:], goal])
            steps = self.metric.short(np.diff(path, axis=0))
            found.append(start + np.concatenate((np.zeros((1, len(start))), steps.cumsum(0))))
            distance, _ = Places(path, self._places.angles).nearest(self.nodes, 1)
            apart = np.minimum(apart, distance)
        return found

    def _from(self, point: Array) -> tuple[Array, Array]:
        """Return the distance of every node from a point, and its neighbour on the way."""
        _, near = self._places.nearest(point, min(NEIGHBOURS, len(self.nodes)))
        lengths = self.lengths(np.broadcast_to(point, (len(near), len(point))), self.nodes[near], samples=5)
        count = len(self.nodes)
        ends = np.concatenate((self._ends, [np.full(len(near), count), near]), axis=1)
        graph = csr_matrix((np.append(self._lengths, lengths), ends), shape=(count + 1, count + 1))
        distance, before = dijkstra(graph, directed=False, indices=count, return_predecessors=True)
        return distance[:count], before[:count]

    def _chain(self, before: Array, node: int) -> list[int]:
        """Return the nodes from one back to the point where the search began."""
        chain = [int(node)]
        while before[chain[-1]] < len(self.nodes):
            chain.append(int(before[chain[-1]]))
        return chain
