"""Fit of the kinetic model: a null vector to start from, then Levenberg and Marquardt on whole steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ndm_apps.plugins.planning.chart import Chart, OnChart, Transitions
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.kinetic import Integrator, KineticForm
from ndm_apps.plugins.planning.laws import integrals
from ndm_apps.plugins.planning.model import finished, matters, usable

#: Of derivatives by complex steps.
_TINY = 1e-30

#: Transitions that the least squares see at most; there are far fewer coefficients.
_ROWS = 1500

#: Share of the largest term of the series below which a function is tried without.
_SHARE = 1e-4

#: Error of a step, relative to the typical change, that a shorter series may add.
_NO_WORSE = 1e-6

#: Positions for which the series stays short.
_MOST = 3


@dataclass(frozen=True)
class KineticDynamics(OnChart):
    """A :class:`~ndm_apps.plugins.planning.dynamics.Dynamics` with a learned metric of configurations.

    Attributes
    ----------
    integrator
        Equation of motion and the way of stepping.
    coefficients
        Those of the fit.
    draws
        Others that the data would also allow, from their posterior, (draws, P); none where they make no difference.
    walls
        Edges where coordinates came to rest in the data, (n, 2), infinite where none did.
    """

    integrator: Integrator
    coefficients: Array
    draws: Array
    walls: Array

    def step(self, x: Array, u: Array) -> Array:
        """Return the next state (..., n)."""
        smooth = self.integrator.smooth(self.coefficients, x, u)
        laws = self.integrator.laws if self.integrator.exact else ()
        return finished(self.chart, laws, self.walls, x, smooth)

    def affine(self, x: Array) -> tuple[Array, Array]:
        """Return the drift (..., n) and the gain (..., n, m), linear in u about u = 0."""
        moved = self._perturbed(x, by_state=False)
        return moved[0].real.copy(), np.moveaxis(moved.imag, 0, -1) / _TINY

    def linearised(self, x: Array) -> tuple[Array, Array, Array]:
        """Return the drift, its Jacobian (..., n, n) and the gain."""
        moved = self._perturbed(x, by_state=True)
        slopes = np.moveaxis(moved.imag, 0, -1) / _TINY
        return moved[0].real.copy(), slopes[..., : self.states], slopes[..., self.states :]

    def spread(self, x: Array) -> Array:
        """Return the standard deviation of the drift over the posterior's draws, (..., n)."""
        if not len(self.draws):
            return np.zeros_like(x)
        u = np.zeros((*x.shape[:-1], self.controls))
        return np.std([self.integrator.smooth(p, x, u) for p in self.draws], axis=0)

    def _perturbed(self, x: Array, *, by_state: bool) -> Array:
        """Return the smooth step under imaginary changes of the states, if asked, and of the controls."""
        ones = (1,) * (x.ndim - 1)
        n = self.states if by_state else 0
        changes = 1j * _TINY * np.eye(n + self.controls)
        states = np.zeros((len(changes), self.states), dtype=complex)
        states[:n, :n] = changes[:n, :n]
        x = x + states.reshape(-1, *ones, self.states)
        return self.integrator.smooth(self.coefficients, x, changes[:, n:].reshape(-1, *ones, self.controls))


def fit_kinetic(chart: Chart, seen: Transitions, *, rng: np.random.Generator) -> KineticDynamics | None:
    """Learn a metric of configurations, a potential, damping and inputs from transitions.

    Parameters
    ----------
    chart
        Coordinates and what is known in them.
    seen
        Transitions; those at clips and walls are left out of the fit.
    rng
        Chooses among many transitions, and draws from the posterior.

    Returns
    -------
    dynamics
        Or None where the coordinates are not positions and their rates, or the metric is not positive at some state
        seen: then the model is of no use here.
    """
    smooth, walls = usable(chart, seen)
    laws = integrals(chart, smooth)
    if 2 * len(laws) != chart.states or len(laws) > _MOST:
        return None
    data = chart.mirrored(smooth.chosen(rng.permutation(len(smooth.x))[:_ROWS]))
    form = KineticForm.full(tuple(law.position in chart.angles for law in laws), chart.controls)
    integrator = Integrator(form, laws, chart.states)
    if len(data.x) * len(laws) < sum(form.sizes):
        return None
    fit = _least_squares(chart, integrator, data, integrator.null_vector(chart, data))
    short = _shortened(integrator, fit)
    if short is not integrator:
        again = _least_squares(chart, short, data, _carried(integrator, short, fit.coefficients))
        if again.error <= fit.error + _NO_WORSE:
            integrator, fit = short, again
    positions = data.x[:, integrator.positions]
    if np.linalg.eigvalsh(integrator.form.metric(fit.coefficients[:-1], positions))[:, 0].min() <= 0:
        return None
    dynamics = KineticDynamics(chart, integrator, fit.coefficients, fit.draws(rng), walls)
    return dynamics if matters(dynamics, chart, rng) else replace(dynamics, draws=dynamics.draws[:0])


@dataclass(frozen=True)
class _Fit:
    """Coefficients with the root mean square error of a step, and the square of the scaled Jacobian there."""

    coefficients: Array
    error: float
    square: Array
    size: Array

    def draws(self, rng: np.random.Generator) -> Array:
        """Return three draws from the posterior of the coefficients; a prior of width 1 bounds the scaled ones."""
        values, vectors = np.linalg.eigh(self.square)
        width = self.error / np.sqrt(np.maximum(values, 0.0) + self.error**2)
        drawn = np.tile(self.coefficients, (3, 1))
        drawn[:, : len(width)] += (rng.standard_normal((3, len(width))) * width) @ vectors.T / self.size
        return drawn


def _shortened(integrator: Integrator, fit: _Fit) -> Integrator:
    """Return the integrator with only those functions of the series that make a difference."""
    form = integrator.form
    series = sum(form.sizes[:2])
    weight = np.abs(fit.coefficients[:series] * fit.size[:series])
    metric, potential = np.split(weight, [form.sizes[0]])
    share = np.maximum(metric.reshape(-1, len(form.kept)).max(0), np.append(0.0, potential))
    kept = tuple(one for n, one in enumerate(form.kept) if n == 0 or share[n] > _SHARE * share.max())
    return integrator if kept == form.kept else replace(integrator, form=replace(form, kept=kept))


def _carried(long: Integrator, short: Integrator, p: Array) -> Array:
    """Return the coefficients of the functions that were kept."""
    kept = [long.form.kept.index(one) for one in short.form.kept]
    metric, potential, rest = np.split(p, np.cumsum(long.form.sizes[:2]))
    entries = metric.reshape(-1, len(long.form.kept))[:, kept].ravel()
    return np.concatenate([entries, np.append(0.0, potential)[kept[1:]], rest])


def _least_squares(chart: Chart, integrator: Integrator, data: Transitions, p: Array, most: int = 15) -> _Fit:
    """Return the coefficients that predict whole steps best."""
    scale = chart.difference(data.x, data.y).std(0) + 1e-12

    def residual(p: Array) -> Array:
        return ((integrator.smooth(p, data.x, data.u) - data.y) / scale).ravel()

    # Where positions follow exact laws, the time step only multiplies forces and is left as it is.
    free = np.eye(len(p))[: len(p) - integrator.exact]

    def jacobian(p: Array) -> Array:
        return np.stack([residual(p + 1j * _TINY * e).imag / _TINY for e in free], axis=-1)

    # Multiplying all forces changes nothing, and a series may have terms that the data do not excite: the damping holds
    # such directions where they are.
    error, damping = residual(p), 1e-3
    for _ in range(most):
        slope = jacobian(p)
        size = np.linalg.norm(slope, axis=0)
        size += 1e-3 * size.max()
        slope /= size
        square, pull = slope.T @ slope, slope.T @ error
        for _ in range(8):
            move = -np.linalg.solve(square + damping * np.eye(len(free)), pull) / size @ free
            fresh = residual(p + move)
            if fresh @ fresh < error @ error:
                break
            damping *= 4
        else:
            break
        gained = 1 - (fresh @ fresh) / (error @ error)
        p, error, damping = p + move, fresh, damping / 5
        if gained < 1e-3:
            break
    return _Fit(p, float(np.sqrt(error @ error / max(len(error) - len(p), 1))), square, size)
