"""Simulates the trajectories of a physics task, and measures them with noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ndm_apps.errors import InputError
from ndm_apps.expression import FUNCTIONS, Expression, parse_expression
from ndm_apps.plugins.physics.schema import System

Array = NDArray[np.float64]

#: Near the least that double precision allows: what is conserved should not drift for numerical reasons.
TOLERANCE = 1e-13
#: Evaluations of the right-hand side in one integration, after which the system counts as too stiff.
MOST_EVALUATIONS = 400_000
#: Draws of initial values for each one that is needed.
MOST_DRAWS = 2000

_NUMPY: dict[str, Callable[..., Any]] = {
    name: getattr(np, {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2"}.get(name, name))
    for name in FUNCTIONS
    if name not in ("min", "max")
} | {"min": np.minimum, "max": np.maximum}


@final
@dataclass(frozen=True)
class Trajectories:
    """Measured trajectories, all at the same times.

    Attributes
    ----------
    state
        Names of the columns.
    angles
        Those measured modulo 2 pi.
    time
        Shape ``(points,)``.
    values
        Shape ``(trajectories, points, columns)``.
    """

    state: tuple[str, ...]
    angles: frozenset[str]
    time: Array
    values: Array

    def take(self, trajectories: NDArray[np.intp]) -> Trajectories:
        """Return some of the trajectories."""
        return replace(self, values=self.values[trajectories])


def simulate(system: System, noise: float, seed: int) -> Trajectories:
    """Draw initial values, integrate the equations, and add measurement noise.

    Parameters
    ----------
    system
        The system of a task.
    noise
        Standard deviation of Gaussian noise, in units of each column's own standard deviation.
    seed
        Seed of initial values and noise.

    Returns
    -------
    Trajectories
        Angles in (-pi, pi].

    Raises
    ------
    InputError
        Too few initial values meet the condition, or a trajectory cannot be integrated.
    """
    draw, measure = np.random.default_rng(seed).spawn(2)
    time = np.linspace(0.0, system.time.end, system.time.points)
    values = integrate(system, initial_values(system, draw), time)
    is_angle = [column in system.angles for column in system.state]
    if noise:
        values = values + noise * column_scales(wrapped(values, is_angle)) * measure.standard_normal(values.shape)
    return Trajectories(system.state, frozenset(system.angles), time, wrapped(values, is_angle))


def column_scales(values: Array) -> Array:
    """Return the standard deviation of each column over all trajectories."""
    return values.reshape(-1, values.shape[-1]).std(axis=0)


def wrapped(values: Array, is_angle: list[bool]) -> Array:
    """Return values with angles brought to (-pi, pi]."""
    return np.where(is_angle, np.pi - np.mod(np.pi - values, 2 * np.pi), values)


def initial_values(system: System, rng: np.random.Generator) -> Array:
    """Draw initial values, shape ``(trajectories, columns)``, uniformly in the ranges and where the condition holds."""
    low, high = np.array([system.initial[column] for column in system.state]).T
    wanted, found, drawn = system.trajectories, np.empty((0, len(low))), 0
    condition = None
    if system.where is not None:
        condition = parse_expression(system.where, [*system.state, *system.parameters], allow_comparison=True)
    while len(found) < wanted:
        if drawn >= MOST_DRAWS * wanted:
            raise InputError(
                f"system.where: only {len(found)} of {drawn} initial values drawn from system.initial meet "
                f"{str(system.where)!r}, must be {wanted} (widen the condition, or narrow the ranges)"
            )
        batch = rng.uniform(low, high, size=(wanted, len(low)))
        drawn += wanted
        if condition is not None:
            with np.errstate(all="ignore"):
                met = condition.evaluate(_named(system, batch.T), _NUMPY)
            batch = batch[np.broadcast_to(met, len(batch))]
        found = np.concatenate([found, batch])
    return found[:wanted]


def right_hand_side(system: System) -> Callable[[Array], Array]:
    """Return the time derivative as a function of the state, shape ``(columns, trajectories)`` both."""
    names = [*system.state, *system.parameters]
    trees: list[Expression] = [parse_expression(system.equations[column], names) for column in system.state]

    def derivative(state: Array) -> Array:
        values = _named(system, state)
        rates = np.empty_like(state)
        with np.errstate(all="ignore"):
            for row, tree in zip(rates, trees, strict=True):
                row[:] = tree.evaluate(values, _NUMPY, np.float64)
        return rates

    return derivative


def _named(system: System, columns: Array) -> Mapping[str, Any]:
    return {
        **{name: np.float64(value) for name, value in system.parameters.items()},
        **dict(zip(system.state, columns, strict=True)),
    }


def integrate(system: System, initial: Array, time: Array) -> Array:
    """Integrate the equations with the Runge-Kutta method of Dormand and Prince of order 8.

    All trajectories go in one call, whose step suits the worst of them; if it fails, each is integrated alone, so
    that the message can name the one that fails.

    Parameters
    ----------
    system
        The equations.
    initial
        Initial values, shape ``(trajectories, columns)``.
    time
        Times of the samples.

    Returns
    -------
    Array
        Shape ``(trajectories, points, columns)``.

    References
    ----------
    Hairer, Norsett and Wanner (1993), Solving Ordinary Differential Equations I.
    """
    derivative = right_hand_side(system)
    rates = derivative(initial.T)
    for number in np.flatnonzero(~np.isfinite(rates).all(axis=0)).tolist():
        raise _failure(system, initial, number, "its equations give no finite number at the start")
    try:
        return _integrate(derivative, initial, time)
    except _IntegrationError:
        pass
    alone = []
    for number, start in enumerate(initial):
        try:
            alone.append(_integrate(derivative, start[None], time))
        except _IntegrationError as error:
            raise _failure(system, initial, number, str(error)) from None
    return np.concatenate(alone)


class _IntegrationError(Exception):
    """The integrator gave up."""


def _failure(system: System, initial: Array, number: int, reason: str) -> InputError:
    start = ", ".join(f"{column}={value:.6g}" for column, value in zip(system.state, initial[number], strict=True))
    return InputError(
        f"system.equations: trajectory {number} (from {start}) cannot be integrated to t={system.time.end:g}: {reason}"
    )


def _integrate(derivative: Callable[[Array], Array], initial: Array, time: Array) -> Array:
    shape = initial.T.shape
    evaluations = 0

    def flat(t: float, state: Array) -> Array:
        nonlocal evaluations
        evaluations += 1
        if evaluations > MOST_EVALUATIONS:
            raise _IntegrationError(f"it takes more than {MOST_EVALUATIONS} evaluations (is the system stiff?)")
        return derivative(state.reshape(shape)).ravel()

    with np.errstate(all="ignore"):
        solution = solve_ivp(
            flat, (0.0, time[-1]), initial.T.ravel(), "DOP853", t_eval=time, rtol=TOLERANCE, atol=TOLERANCE
        )
    if not solution.success:
        raise _IntegrationError(f"it seems to run away at t={solution.t[-1] if len(solution.t) else 0.0:.4g}")
    values = solution.y.reshape(*shape, len(time)).transpose(1, 2, 0)
    if not np.isfinite(values).all():
        raise _IntegrationError("it gives numbers that are not finite")
    return values
