r"""Dynamics as a learned metric of configurations: free motion runs along its geodesics, forces bend them.

For positions q with rates v, the kinetic energy is half the squared length of v in a metric M(q), and

.. math:: M(q)\, a + \big(\dot M v - \tfrac12 \nabla_q (v^T M v)\big) + \nabla V(q) + D v = E u

with the potential V, damping D and inputs E. The bracket is M times the Christoffel symbols of M applied to v twice:
with V = D = E = 0 this is the geodesic equation of M. M and V are series in sines and cosines of angles and powers of
other positions, so the balance of forces is linear in all of its coefficients p: where accelerations are known, p is a
null vector of the data. From there, least squares on whole steps of the integrator follow.

Every function here is analytic, and its derivatives are taken by complex steps.

References
----------
Atkeson, An and Hollerbach (1986), Estimation of inertial parameters of manipulator loads and links, IJRR 5.
Bullo and Lewis (2005), Geometric control of mechanical systems, Springer, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.laws import Law


@dataclass(frozen=True)
class KineticForm:
    """Which coefficients there are.

    Attributes
    ----------
    turning
        For each of the k positions, whether it is an angle.
    controls
        Number m of controls.
    kept
        The functions of the series, (K, k): of each position, which of (1, sin, cos) of an angle or (1, q, q^2) of
        another is multiplied. The constant comes first.
    """

    turning: tuple[bool, ...]
    controls: int
    kept: tuple[tuple[int, ...], ...]

    @classmethod
    def full(cls, turning: tuple[bool, ...], controls: int) -> KineticForm:
        """Return the form with all products of functions."""
        return cls(turning, controls, tuple(product(range(3), repeat=len(turning))))

    @cached_property
    def entries(self) -> tuple[Array, Array]:
        """Rows and columns of the entries of the metric that have coefficients of their own."""
        return np.triu_indices(len(self.turning))

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Number of coefficients of metric, potential, damping and inputs."""
        k = len(self.turning)
        return len(self.entries[0]) * len(self.kept), len(self.kept) - 1, k, k * self.controls

    @cached_property
    def _chosen(self) -> tuple[Array, ...]:
        return tuple(np.array(column) for column in zip(*self.kept, strict=True))

    def series(self, q: Array) -> tuple[Array, Array]:
        """Return the functions at q (..., k), (..., K), and their derivatives, (..., K, k)."""
        values, slopes = [], []
        for i, (turning, chosen) in enumerate(zip(self.turning, self._chosen, strict=True)):
            x = q[..., i]
            one, zero = np.ones_like(x), np.zeros_like(x)
            if turning:
                sine, cosine = np.sin(x), np.cos(x)
                factor, change = (one, sine, cosine), (zero, cosine, -sine)
            else:
                factor, change = (one, x, x * x), (zero, one, 2 * x)
            values.append(np.stack(factor, axis=-1)[..., chosen])
            slopes.append(np.stack(change, axis=-1)[..., chosen])
        slope = [prod([*values[:i], slopes[i], *values[i + 1 :]]) for i in range(len(values))]
        return prod(values), np.stack(slope, axis=-1)

    def acceleration(self, p: Array, q: Array, v: Array, u: Array) -> Array:
        """Return a (..., k), where the forces balance."""
        value, slope = self.series(q)
        metric, weights = self._metric(p, value)
        balance = self._forces(p, slope, weights, v, u)
        return -_solved(metric, balance)

    def metric(self, p: Array, q: Array) -> Array:
        """Return M at q, (..., k, k)."""
        return self._metric(p, self.series(q)[0])[0]

    def regressors(self, q: Array, v: Array, a: Array, u: Array) -> Array:
        """Return the balance of forces as a matrix that acts on p, (N, k, P)."""
        value, slope = self.series(q)
        columns = []
        for p in np.eye(sum(self.sizes)):
            metric, weights = self._metric(p, value)
            columns.append(np.matmul(metric, a[..., None])[..., 0] + self._forces(p, slope, weights, v, u))
        return np.stack(columns, axis=-1)

    def _metric(self, p: Array, value: Array) -> tuple[Array, Array]:
        rows, columns = self.entries
        weights = p[: self.sizes[0]].reshape(len(rows), -1)
        entries = value @ weights.T
        metric = np.empty((*value.shape[:-1], len(self.turning), len(self.turning)), dtype=entries.dtype)
        metric[..., rows, columns] = metric[..., columns, rows] = entries
        return metric, weights

    def _forces(self, p: Array, slope: Array, weights: Array, v: Array, u: Array) -> Array:
        """Return all but M a."""
        rows, columns = self.entries
        _, potential, damping, inputs = np.split(p, np.cumsum(self.sizes)[:-1])
        change = np.matmul(weights, slope)
        pace = np.matmul(change, v[..., None])[..., 0]
        twice = np.where(rows == columns, 1.0, 2.0) * v[..., rows] * v[..., columns]
        forces = -0.5 * np.matmul(twice[..., None, :], change)[..., 0, :]
        for entry, (i, j) in enumerate(zip(rows, columns, strict=True)):
            forces[..., i] += pace[..., entry] * v[..., j]
            if i != j:
                forces[..., j] += pace[..., entry] * v[..., i]
        push = u @ inputs.reshape(len(self.turning), self.controls).T
        return forces + potential @ slope[..., 1:, :] + damping * v - push


def _solved(metric: Array, force: Array) -> Array:
    """Return the metric's inverse applied to forces (..., k), for one or two positions without a call per point."""
    if metric.shape[-1] == 1:
        return force / metric[..., 0]
    if metric.shape[-1] > 2:
        return np.linalg.solve(metric, force[..., None])[..., 0]
    a, b, d = metric[..., 0, 0], metric[..., 0, 1], metric[..., 1, 1]
    x, y = force[..., 0], force[..., 1]
    return np.stack([d * x - b * y, a * y - b * x], axis=-1) / (a * d - b * b)[..., None]


@dataclass(frozen=True)
class Integrator:
    """How an environment steps: by exact laws for the positions, or by one Runge-Kutta step of order four.

    Attributes
    ----------
    form
        The equation of motion.
    laws
        One for each position, in order; exact or not.
    states
        Number of coordinates.
    """

    form: KineticForm
    laws: tuple[Law, ...]
    states: int

    @cached_property
    def positions(self) -> list[int]:
        """Indices of the positions."""
        return [law.position for law in self.laws]

    @cached_property
    def rates(self) -> list[int]:
        """Indices of the rates."""
        return [law.rate for law in self.laws]

    @cached_property
    def exact(self) -> bool:
        """Whether the positions follow laws."""
        return all(law.exact for law in self.laws)

    def smooth(self, p: Array, x: Array, u: Array) -> Array:
        """Return x' before anything is clipped; the last entry of p is the logarithm of the time step."""
        h, q, v = np.exp(p[-1]), x[..., self.positions], x[..., self.rates]
        if self.exact:
            after = v + h * self.form.acceleration(p[:-1], q, v, u)
            moved = q + v * [law.before for law in self.laws] + after * [law.after for law in self.laws]
        else:
            moved, after = self._runge_kutta(p[:-1], h, q, v, u)
        shape = np.broadcast_shapes(x.shape[:-1], u.shape[:-1])
        y = np.empty((*shape, self.states), dtype=after.dtype)
        y[..., self.positions], y[..., self.rates] = moved, after
        return y

    def _runge_kutta(self, p: Array, h: float, q: Array, v: Array, u: Array) -> tuple[Array, Array]:
        v1, a1 = v, self.form.acceleration(p, q, v, u)
        v2 = v + h / 2 * a1
        a2 = self.form.acceleration(p, q + h / 2 * v1, v2, u)
        v3 = v + h / 2 * a2
        a3 = self.form.acceleration(p, q + h / 2 * v2, v3, u)
        v4 = v + h * a3
        a4 = self.form.acceleration(p, q + h * v3, v4, u)
        return q + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), v + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)

    def null_vector(self, chart: Chart, seen: Transitions) -> Array:
        """Return the coefficients that balance the forces best, metric of mean one, and the log time step."""
        h = float(np.mean([law.interval for law in self.laws]))
        move = chart.difference(seen.x, seen.y)
        at = seen.x if self.exact else seen.x + move / 2
        balance = self.form.regressors(at[:, self.positions], at[:, self.rates], move[:, self.rates] / h, seen.u)
        flat = balance.reshape(-1, balance.shape[-1])
        scale = np.sqrt(np.square(flat).mean(0)) + 1e-9
        p = np.linalg.svd(flat / scale, full_matrices=False)[2][-1] / scale
        size = np.trace(self.form.metric(p, at[:, self.positions]).mean(0)) / len(self.laws)
        return np.append(p / size, np.log(h))
