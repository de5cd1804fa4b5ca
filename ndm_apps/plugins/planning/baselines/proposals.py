"""Distributions over sequences of controls, from which a sampling planner draws and to which it fits what did well."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.problem import Problem


class Proposal(Protocol):
    """A distribution over sequences of controls, moved along with the episode."""

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Return sequences (count, horizon, m)."""
        ...

    def fit(self, samples: Array, weights: Array) -> None:
        """Move to the weighted samples; weights (count,) add up to 1."""
        ...

    def advance(self, over: bool) -> None:
        """Drop the first control if its time is over, and widen again what the fits have narrowed."""
        ...

    def first(self) -> Array:
        """Return the control (m,) to apply now."""
        ...


class Normal:
    r"""Clipped normal controls whose noise has the power spectrum :math:`f^{-\beta}` along the sequence.

    Parameters
    ----------
    problem
        Gives the bounds.
    horizon
        Controls of a sequence.
    spread
        Standard deviation at the start of each step, in half ranges of the control.
    colour
        :math:`\beta`: 0 is white; above, neighbours in time agree, and slow systems are moved.

    References
    ----------
    Pinneri, Sawant, Blaes, Achterhold, Stueckler, Rolinek, Martius, "Sample-efficient cross-entropy method for
    real-time planning", CoRL 2020.
    """

    def __init__(self, problem: Problem, horizon: int, spread: float, colour: float) -> None:
        self.low, self.high, self.colour = problem.low, problem.high, colour
        self.middle, self.wide = (self.low + self.high) / 2, spread * (self.high - self.low) / 2
        self.mean = np.tile(self.middle, (horizon, 1))
        self.deviation = np.tile(self.wide, (horizon, 1))

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Return the mean plus noise, clipped to the bounds."""
        noise = coloured(rng, (count, *self.mean.shape), self.colour)
        return np.clip(self.mean + self.deviation * noise, self.low, self.high)

    def fit(self, samples: Array, weights: Array) -> None:
        """Take mean and standard deviation of the samples."""
        self.mean = np.tensordot(weights, samples, 1)
        self.deviation = np.sqrt(np.tensordot(weights, np.square(samples - self.mean), 1))

    def advance(self, over: bool) -> None:
        """Shift the mean by one control, the last one repeated; the standard deviation is the first one again."""
        if over:
            self.mean = np.concatenate((self.mean[1:], self.mean[-1:]))
        self.deviation = np.tile(self.wide, (len(self.mean), 1))

    def first(self) -> Array:
        """Return the mean's first control."""
        return self.mean[0]


class Categorical:
    """Independent choices among the levels of a discrete control.

    Parameters
    ----------
    levels
        (choices, m).
    horizon
        Controls of a sequence.
    spread
        How much of the uniform distribution is mixed in at the start of each step, in (0, 1].
    """

    def __init__(self, levels: Array, horizon: int, spread: float) -> None:
        self.levels, self.spread = levels, spread
        self.chances = np.full((horizon, len(levels)), 1 / len(levels))

    def sample(self, count: int, rng: np.random.Generator) -> Array:
        """Return levels drawn by their chances."""
        edges = self.chances.cumsum(-1)[:, :-1]
        drawn = (rng.random((count, len(self.chances)))[..., None] > edges).sum(-1)
        return self.levels[drawn]

    def fit(self, samples: Array, weights: Array) -> None:
        """Take the weighted frequencies."""
        same = (samples[:, :, None] == self.levels).all(-1)
        self.chances = np.tensordot(weights, same, 1)

    def advance(self, over: bool) -> None:
        """Shift by one control, the last one anything."""
        uniform = np.full_like(self.chances[:1], 1 / len(self.levels))
        chances = np.concatenate((self.chances[1:], uniform)) if over else self.chances
        self.chances = (1 - self.spread) * chances + self.spread * uniform

    def first(self) -> Array:
        """Return the likeliest first level."""
        return self.levels[self.chances[0].argmax()]


def proposal(problem: Problem, horizon: int, spread: float, colour: float) -> Proposal:
    """Return the distribution that fits the controls of a problem."""
    if problem.levels is None:
        return Normal(problem, horizon, spread, colour)
    return Categorical(problem.levels, horizon, spread)


def coloured(rng: np.random.Generator, shape: tuple[int, int, int], colour: float) -> Array:
    r"""Return normal noise (count, horizon, m) of unit variance with the power spectrum :math:`f^{-\beta}` in time.

    References
    ----------
    Timmer, Koenig, "On generating power law noise", Astronomy and Astrophysics 300, 1995.

    Examples
    --------
    >>> noise = coloured(np.random.default_rng(0), (2000, 30, 1), 3.0)[..., 0]
    >>> bool(abs(noise.std() - 1) < 0.02), bool((noise[:, 0] * noise[:, 1]).mean() > 0.9)
    (True, True)
    """
    count, horizon, m = shape
    if not colour or horizon < 2:
        return rng.standard_normal(shape)
    frequency = np.fft.rfftfreq(horizon)
    size = np.maximum(frequency, frequency[1]) ** (-colour / 2)
    # A real signal's first coefficient, and for even lengths its last, are real.
    parts = rng.standard_normal((2, count, m, len(size)))
    ends = [0, -1] if horizon % 2 == 0 else [0]
    parts[1][..., ends] = 0
    parts[0][..., ends] *= np.sqrt(2)
    terms = np.full(len(size), 4.0)
    terms[ends] = 2
    deviation = np.sqrt((terms * np.square(size)).sum()) / horizon
    signal = np.fft.irfft((parts[0] + 1j * parts[1]) * size, n=horizon)
    return signal.swapaxes(1, 2) / deviation
