"""Networks without the framework that trained them: batched values and exact derivatives in a few matrix products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.fit import Ensemble

#: States evaluated at once: what lies between two layers then stays in the processor's cache (7 times faster).
_BLOCK = 256


@dataclass(frozen=True)
class DistilledNet:
    """The drift and gain that an :class:`~ndm_apps.plugins.planning.fit.Ensemble` predicts, in NumPy.

    Attributes
    ----------
    ensemble
        The networks.
    outputs
        Number d of outputs of the drift; each control's gain has as many.
    """

    ensemble: Ensemble
    outputs: int

    @cached_property
    def _read(self) -> Array:
        """Read-out of all members' hidden units at once, of their mean: (M H, d (1 + m))."""
        read = self.ensemble.read
        return read.reshape(-1, read.shape[-1]) / len(read)

    @cached_property
    def _skip(self) -> Array:
        return self.ensemble.skip.mean(0)

    def __call__(self, z: Array) -> tuple[Array, Array]:
        """Return the drift (N, d) and gain (N, d, m) at embedded states z (N, p)."""
        return self._split(_blockwise(lambda part: (self._mean(part, self._units(part)[1]),), z)[0])

    def linearised(self, z: Array) -> tuple[Array, Array, Array]:
        """Return the drift, its derivatives by z (N, d, p), and the gain."""
        out, slope = _blockwise(self._slope, z)
        drift, gain = self._split(out)
        return drift, slope, gain

    def spread(self, z: Array) -> Array:
        """Return the standard deviation of the drift over the members, (N, d)."""
        return _blockwise(lambda part: (self._spread(part),), z)[0]

    def _spread(self, z: Array) -> Array:
        units, d = self._units(z)[1], self.outputs
        drifts = np.matmul(units, self.ensemble.read[..., :d]) + z @ self.ensemble.skip[:, :-1, :d]
        return (drifts + self.ensemble.skip[:, -1:, :d]).std(axis=0)

    def _slope(self, z: Array) -> tuple[Array, Array]:
        first, second = self._units(z)
        # Backwards, as there are fewer outputs than inputs: (M, N, d, H).
        back = (1 - second**2)[:, :, None] * self.ensemble.read[:, None, :, : self.outputs].swapaxes(-1, -2)
        back = np.matmul(back.reshape(len(second), -1, second.shape[-1]), self.ensemble.w2.swapaxes(-1, -2))
        back = back.reshape(*second.shape[:2], self.outputs, -1) * (1 - first**2)[:, :, None]
        back = np.matmul(back.reshape(len(second), -1, first.shape[-1]), self.ensemble.w1.swapaxes(-1, -2)).mean(0)
        slope = back.reshape(len(z), self.outputs, -1) + self._skip[:-1, : self.outputs].T
        return self._mean(z, second), slope

    def _units(self, z: Array) -> tuple[Array, Array]:
        net = self.ensemble
        first = np.tanh(np.matmul(z, net.w1) + net.b1)
        return first, np.tanh(np.matmul(first, net.w2) + net.b2)

    def _mean(self, z: Array, units: Array) -> Array:
        return units.swapaxes(0, 1).reshape(len(z), -1) @ self._read + z @ self._skip[:-1] + self._skip[-1]

    def _split(self, out: Array) -> tuple[Array, Array]:
        d = self.outputs
        return out[:, :d], out[:, d:].reshape(len(out), -1, d).swapaxes(-1, -2)


def _blockwise(function: Callable[[Array], tuple[Array, ...]], z: Array) -> tuple[Array, ...]:
    if len(z) <= _BLOCK:
        return function(z)
    parts = [function(z[first : first + _BLOCK]) for first in range(0, len(z), _BLOCK)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
