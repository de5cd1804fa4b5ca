r"""Velocities of measured positions, by local polynomial fits, with their errors.

In a window of w samples around time :math:`\tau` a polynomial is fitted to the positions; its value and slope at
:math:`\tau` are combinations of the samples, so that their standard deviations follow from that of the measurement.
What the polynomial leaves out (the bias) is judged by the fit of two degrees more. The window is the longest whose bias
is small beside the noise; windows do not overlap, so that the errors of different samples are independent, as those of
measurements are. Without noise, every sample gets a window, as short and of as high a degree as serves best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.columns import Column
from ndm_apps.plugins.physics.noise import estimate_noise, unwrapped
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.units import parse_unit
from ndm_apps.wording import listed, short

Array = NDArray[np.float64]

DEGREES = (2, 4, 6, 8, 10, 12)
LONGEST = 101
#: Windows in most trajectories, with noise.
WINDOWS = 8
#: Largest bias of a velocity, in units of its standard deviation.
BIAS = 0.1
#: Noise below this part of a column's spread is none.
NO_NOISE = 1e-9
#: Windows that are tried before a choice, and windows fitted at a time.
TRIED, AT_A_TIME = 300, 4000


@final
@dataclass(frozen=True)
class Moving:
    """Positions and velocities.

    Attributes
    ----------
    data
        First the positions, then their velocities.
    position_error, velocity_error
        Standard deviations of each.
    kept
        Numbers of the trajectories that are long enough for a window.
    degree, window
        Of the polynomials; samples in a window.
    bias
        What the polynomials leave out of the velocities (root mean square), part of ``velocity_error``.
    """

    data: Trajectories
    position_error: Array
    velocity_error: Array
    kept: tuple[int, ...]
    degree: int
    window: int
    bias: Array


def derived(
    data: Trajectories, state: Sequence[Column], time: Column, notes: list[str]
) -> tuple[Trajectories, list[Column], tuple[int, ...]]:
    """Add velocities to measured positions; return the new data, their columns, and which trajectories were kept."""
    names = [f"{one.symbol}_dot" for one in state]
    wrong = next((name for name in names if name in data.state), None)
    if wrong is not None:
        raise InputError(
            f"velocities: there is a column {short(wrong)} already (leave it out, or ask for no velocities)"
        )
    known = [one.error for one in state]
    sigma = np.array([one if error is None else error for one, error in zip(estimate_noise(data), known, strict=True)])
    found = with_velocities(data, sigma, tuple(names))
    columns = [replace(one, error=float(sd)) for one, sd in zip(state, found.position_error, strict=True)]
    for one, name, sd in zip(state, names, found.velocity_error.tolist(), strict=True):
        unit = None
        if one.unit is not None and time.unit is not None:
            unit = str(parse_unit(one.unit) / parse_unit(time.unit))
        columns.append(Column(name, name, unit, sd))
    claims = listed([f"{one.symbol} {one.error:.2g}" for one in columns])
    notes.append(
        f"Velocities are slopes of polynomials of degree {found.degree} in windows of {found.window} samples; standard "
        f"deviations (noise, and what the polynomials leave out): {claims}."
    )
    if len(found.kept) < len(data):
        notes.append(f"{len(data) - len(found.kept)} trajectories are shorter than a window and are left out.")
    return found.data, columns, found.kept


def with_velocities(data: Trajectories, sigma: Array, names: tuple[str, ...]) -> Moving:
    """Return positions and their velocities at the middles of windows.

    Parameters
    ----------
    data
        Positions; angles may jump.
    sigma
        Standard deviations of the measurement of each column.
    names
        What the velocities are called.

    Raises
    ------
    InputError
        The trajectories are too short.

    Examples
    --------
    >>> t = np.linspace(0, 10, 200)
    >>> one = Trajectories(("x",), frozenset(), t, np.sin(t)[:, None], np.array([0]))
    >>> found = with_velocities(one, np.zeros(1), ("v",))
    >>> bool(np.abs(found.data.values[:, 1] - np.cos(found.data.time)).max() < 1e-9)
    True
    """
    smooth = unwrapped(data)
    is_noisy = bool((sigma > NO_NOISE * smooth.std(axis=0)).any())
    degree, window = _choice(data, smooth, sigma, is_noisy)
    times, parts, starts, fits, kept = [], [], [], [], []
    total = 0
    for number, (start, length) in enumerate(zip(data.starts.tolist(), data.lengths.tolist(), strict=True)):
        first = np.arange(start, start + length - window + 1, window if is_noisy else 1)
        if len(first) == 0:
            continue
        for some in np.array_split(first, max(1, len(first) // AT_A_TIME)):
            fit = _fit(data.time, smooth, some, window, degree)
            fits.append(fit)
            parts.append(np.concatenate([fit.value, fit.slope], axis=1))
            times.append(data.time[some + window // 2])
        kept.append(number)
        starts.append(total)
        total += len(first)
    values = np.concatenate(parts)
    angles = np.concatenate([data.is_angle, np.zeros_like(data.is_angle)])
    values[:, angles] = np.pi - np.mod(np.pi - values[:, angles], 2 * np.pi)
    of_value, of_slope = (
        np.sqrt(np.concatenate([getattr(fit, one) for fit in fits]).mean()) * sigma for one in ("of_value", "of_slope")
    )
    off, bias = _bias(data, smooth, sigma, degree, window)
    return Moving(
        data=Trajectories(
            (*data.state, *names), data.angles, np.concatenate(times), values, np.array(starts, dtype=np.intp)
        ),
        position_error=np.hypot(of_value, off),
        velocity_error=np.hypot(of_slope, bias),
        kept=tuple(kept),
        degree=degree,
        window=window,
        bias=bias,
    )


@final
@dataclass(frozen=True)
class _Fit:
    """Values and slopes ``(windows, columns)``, and their weights ``(windows, samples)``."""

    value: Array
    slope: Array
    value_weights: Array
    slope_weights: Array

    @property
    def of_value(self) -> Array:
        """Variance of values for a measurement of variance 1, by window."""
        return np.asarray((self.value_weights**2).sum(axis=1))

    @property
    def of_slope(self) -> Array:
        """Variance of slopes."""
        return np.asarray((self.slope_weights**2).sum(axis=1))


def _fit(time: Array, values: Array, first: NDArray[np.intp], window: int, degree: int) -> _Fit:
    """Fit polynomials to the windows that begin at some samples."""
    times = sliding_window_view(time, window)[first]
    shifted = times - times[:, [window // 2]]
    scale = np.abs(shifted).max(axis=1, keepdims=True)
    powers = (shifted / scale)[:, :, None] ** np.arange(degree + 1)
    inverse = np.linalg.pinv(powers)
    samples = sliding_window_view(values, window, axis=0)[first]
    level, slope = inverse[:, 0], inverse[:, 1] / scale
    return _Fit(
        np.einsum("nw,ncw->nc", level, samples),
        np.einsum("nw,ncw->nc", slope, samples),
        level,
        slope,
    )


def _tried(data: Trajectories, window: int) -> NDArray[np.intp]:
    """Return first samples of windows, spread over all trajectories."""
    first = [
        np.arange(start, start + length - window + 1)
        for start, length in zip(data.starts.tolist(), data.lengths.tolist(), strict=True)
        if length >= window
    ]
    if not first:
        return np.empty(0, dtype=np.intp)
    everything = np.concatenate(first)
    return everything[np.unique(np.linspace(0, len(everything) - 1, TRIED).astype(int))]


def _bias(data: Trajectories, values: Array, sigma: Array, degree: int, window: int) -> tuple[Array, Array]:
    """Return how much values and slopes differ from those of two degrees more, beyond what noise explains.

    A bias that hides in noise is seen in windows twice as long, where it is :math:`2^{p+1}` (values) and :math:`2^p`
    (slopes) times as large: what is seen there is brought back, if that is more.
    """

    def beyond(difference: Array, weights: Array) -> Array:
        by_noise = (weights**2).sum(axis=1).mean() * sigma**2
        return np.sqrt(np.maximum((difference**2).mean(axis=0) - by_noise, 0.0))

    largest = np.zeros((2, len(sigma)))
    for longer, shrink in ((window, 0), (2 * window - 1, degree)):
        first = _tried(data, longer)
        if len(first):
            less, more = (_fit(data.time, values, first, longer, one) for one in (degree, degree + 2))
            seen = (
                beyond(more.value - less.value, more.value_weights - less.value_weights)
                / 2.0 ** (shrink and shrink + 1),
                beyond(more.slope - less.slope, more.slope_weights - less.slope_weights) / 2.0**shrink,
            )
            largest = np.maximum(largest, seen)
    return largest[0], largest[1]


def _candidates(longest: int) -> Iterator[tuple[int, int]]:
    for degree in DEGREES:
        window = degree + 3
        while window <= longest:
            yield degree, window
            window = max(window + 2, int(1.2 * window) // 2 * 2 + 1)


def _choice(data: Trajectories, values: Array, sigma: Array, is_noisy: bool) -> tuple[int, int]:
    """Return degree and window: with noise, of least error for the time a window takes; without, of least bias."""
    length = int(np.median(data.lengths))
    longest = min(LONGEST, max(length // WINDOWS, DEGREES[0] + 3) if is_noisy else length)
    best: tuple[float, int, int] | None = None
    spread = np.maximum(values.std(axis=0), np.finfo(float).tiny)
    for degree, window in _candidates(longest):
        first = _tried(data, window)
        if len(first) == 0:
            continue
        deviation = np.sqrt(_fit(data.time, values, first, window, degree).of_slope.mean()) * sigma
        _, bias = _bias(data, values, sigma, degree, window)
        cost = float((np.hypot(deviation, bias) / spread).max())
        if is_noisy:
            excess = float((bias / np.maximum(deviation, np.finfo(float).tiny)).max()) / BIAS
            cost *= np.sqrt(window) * max(1.0, excess) ** 2
        if best is None or cost < best[0]:
            best = cost, degree, window
    if best is None:
        raise InputError(
            f"velocities: trajectories of {int(np.median(data.lengths))} samples (median), must be of "
            f"{3 * (DEGREES[0] + 3)} or more"
        )
    return best[1], best[2]
