"""A learned dynamics model: exact laws, then a network ensemble for the rest, and what the environment clips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ndm_apps.plugins.planning.chart import Chart, OnChart, Transitions
from ndm_apps.plugins.planning.distil import DistilledNet
from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.fit import fit_ensemble
from ndm_apps.plugins.planning.laws import Law, integrals

#: Spread relative to the change in a step that makes no difference, and states where it is looked at.
_DOUBT, _LOOKS = 1e-3, 500


@dataclass(frozen=True)
class NetDynamics(OnChart):
    r"""A :class:`~ndm_apps.plugins.planning.dynamics.Dynamics` of networks on a chart.

    Coordinates that are exact integrals of others follow their :class:`~ndm_apps.plugins.planning.laws.Law`; of the
    others, :math:`x' - x = h(z) + B(z) u`, with z the embedding of x in the chart.

    Attributes
    ----------
    laws
        The exact ones.
    net
        h and B of the coordinates that have no law, in order.
    walls
        Edges where coordinates came to rest in the data, (n, 2), infinite where none did.
    doubtful
        Whether the members differ enough anywhere in the box to matter; if not, the spread counts as 0.
    """

    laws: tuple[Law, ...]
    net: DistilledNet
    walls: Array
    doubtful: bool = True

    @cached_property
    def _free(self) -> list[int]:
        return [i for i in range(self.states) if all(i != law.position for law in self.laws)]

    def step(self, x: Array, u: Array) -> Array:
        """Return the next state (..., n): the affine step, clipped where the environment clips."""
        drift, gain = self.affine(x)
        smooth = drift + np.matmul(gain, u[..., None])[..., 0]
        return finished(self.chart, self.laws, self.walls, x, smooth)

    def affine(self, x: Array) -> tuple[Array, Array]:
        """Return the drift (..., n) and the gain (..., n, m)."""
        flat = x.reshape(-1, self.states)
        change, push = self.net(self.chart.embed(flat))
        return self._drift(flat, change).reshape(x.shape), self._gain(flat, push).reshape(*x.shape, self.controls)

    def linearised(self, x: Array) -> tuple[Array, Array, Array]:
        """Return the drift, its Jacobian (..., n, n) and the gain."""
        flat = x.reshape(-1, self.states)
        change, slope, push = self.net.linearised(self.chart.embed(flat))
        jacobian = np.zeros((len(flat), self.states, self.states))
        jacobian[:] = np.eye(self.states)
        jacobian[:, self._free] += self.chart.pulled_back(flat, slope)
        for law in self.laws:
            jacobian[:, law.position] += law.after * jacobian[:, law.rate]
            jacobian[:, law.position, law.rate] += law.before
        return (
            self._drift(flat, change).reshape(x.shape),
            jacobian.reshape(*x.shape, self.states),
            self._gain(flat, push).reshape(*x.shape, self.controls),
        )

    def spread(self, x: Array) -> Array:
        """Return the ensemble's standard deviation of the drift, (..., n)."""
        if not self.doubtful:
            return np.zeros_like(x)
        flat = x.reshape(-1, self.states)
        result = np.zeros_like(flat)
        result[:, self._free] = self.net.spread(self.chart.embed(flat))
        for law in self.laws:
            result[:, law.position] = abs(law.after) * result[:, law.rate]
        return result.reshape(x.shape)

    def _drift(self, x: Array, change: Array) -> Array:
        result = x.copy()
        result[:, self._free] += change
        for law in self.laws:
            result[:, law.position] += law.before * x[:, law.rate] + law.after * result[:, law.rate]
        return result

    def _gain(self, x: Array, push: Array) -> Array:
        result = np.zeros((len(x), self.states, self.controls))
        result[:, self._free] = push
        for law in self.laws:
            result[:, law.position] = law.after * result[:, law.rate]
        return result


def finished(chart: Chart, laws: tuple[Law, ...], walls: Array, x: Array, smooth: Array) -> Array:
    """Return what the environment makes of a smooth step: rates clipped, then their integrals, which stop at walls."""
    y = np.clip(smooth, chart.clips[:, 0], chart.clips[:, 1])
    for law in laws:
        y[..., law.position] += law.after * (y[..., law.rate] - smooth[..., law.rate])
    held = np.clip(y, walls[:, 0], walls[:, 1])
    for law in laws:
        into = (y[..., law.position] - held[..., law.position]) * y[..., law.rate] > 0
        held[..., law.rate] = np.where(into, 0.0, held[..., law.rate])
    return held


def usable(chart: Chart, seen: Transitions) -> tuple[Transitions, Array]:
    """Return the transitions that met no edge, for a smooth fit, and the edges of the box that were met."""
    seen = chart.regular(seen)
    touched = chart.touched(seen.y)
    met = touched.any(0) & ~np.isfinite(chart.clips)
    return seen.chosen(~touched.any((-1, -2))), np.where(met, chart.box, np.array([-np.inf, np.inf]))


def fit_net(
    chart: Chart, seen: Transitions, *, seed: int, device: str = "cpu", dtype: str = "float64", **sizes: int
) -> NetDynamics:
    """Learn dynamics from transitions, with no prior on their form but that they are affine in the control.

    Parameters
    ----------
    chart
        Coordinates and what is known in them.
    seen
        Transitions; those at clips and walls tell where these are and are left out of the fit.
    seed
        Of the networks' start.
    device, dtype, sizes
        Passed to :func:`~ndm_apps.plugins.planning.fit.fit_ensemble`.
    """
    smooth, walls = usable(chart, seen)
    laws = tuple(law for law in integrals(chart, smooth) if law.exact)
    data = chart.mirrored(smooth)
    free = [i for i in range(chart.states) if all(i != law.position for law in laws)]
    change = chart.difference(data.x, data.y)[:, free]
    ensemble = fit_ensemble(chart.embed(data.x), data.u, change, seed=seed, device=device, dtype=dtype, **sizes)
    dynamics = NetDynamics(chart, laws, DistilledNet(ensemble, len(free)), walls)
    return replace(dynamics, doubtful=matters(dynamics, chart, np.random.default_rng(seed)))


def matters(dynamics: Dynamics, chart: Chart, rng: np.random.Generator) -> bool:
    """Whether a model's spread is more than a thousandth of the change in a step, in the mean over the box."""
    x = rng.uniform(chart.box[:, 0], chart.box[:, 1], size=(_LOOKS, chart.states))
    change = chart.difference(x, dynamics.affine(x)[0])
    return bool((np.square(dynamics.spread(x)).mean(0) > _DOUBT**2 * np.square(change).mean(0)).any())
