"""Simulates the trajectories of a physics task, and measures them with noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from ndm_apps.errors import InputError
from ndm_apps.expression import Expression, parse_expression
from ndm_apps.plugins.physics.atoms import NUMPY
from ndm_apps.plugins.physics.initial import distributions, drawn, expressions
from ndm_apps.plugins.physics.schema import System
from ndm_apps.plugins.physics.separable import separated
from ndm_apps.plugins.physics.symplectic import composed
from ndm_apps.plugins.physics.tape import compiled
from ndm_apps.plugins.physics.trajectories import Trajectories

Array = NDArray[np.float64]

#: Near the least that double precision allows: what is conserved should not drift for numerical reasons.
TOLERANCE = 1e-13
#: Evaluations of the right-hand side in one integration, after which the system counts as too stiff.
MOST_EVALUATIONS = 400_000
#: Draws of initial values for each one that is needed.
MOST_DRAWS = 2000


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
    return clean_and_measured(system, noise, seed)[1]


def clean_and_measured(system: System, noise: float, seed: int) -> tuple[Trajectories, Trajectories]:
    """Return the trajectories of :func:`simulate` without noise, and with it."""
    draw, measure, kick = np.random.default_rng(seed).spawn(3)
    time = np.linspace(0.0, system.time.end, system.time.points)
    start = initial_values(system, draw)
    values = kicked(system, start, time, kick) if system.process_noise else integrate(system, start, time)
    is_angle = [column in system.angles for column in system.state]
    clean = Trajectories.on_grid(system.state, frozenset(system.angles), time, wrapped(values, is_angle))
    if not noise:
        return clean, clean
    values = values + noise * clean.values.std(axis=0) * measure.standard_normal(values.shape)
    return clean, Trajectories.on_grid(clean.state, clean.angles, time, wrapped(values, is_angle))


def wrapped(values: Array, is_angle: list[bool]) -> Array:
    """Return values with angles brought to (-pi, pi]."""
    return np.where(is_angle, np.pi - np.mod(np.pi - values, 2 * np.pi), values)


def initial_values(system: System, rng: np.random.Generator) -> Array:
    """Draw initial values that meet the condition, shape ``(trajectories, columns)``."""
    wanted, found, tried = system.trajectories, np.empty((0, len(system.state))), 0
    condition = None
    if system.where is not None:
        condition = parse_expression(system.where, [*system.state, *system.parameters], allow_comparison=True)
    while len(found) < wanted:
        if tried >= MOST_DRAWS * wanted:
            raise InputError(
                f"system.where: only {len(found)} of {tried} initial values drawn from system.initial meet "
                f"{str(system.where)!r}, must be {wanted} (widen the condition, or narrow the ranges)"
            )
        batch = _starts(system, wanted, rng)
        tried += wanted
        if condition is not None:
            with np.errstate(all="ignore"):
                met = condition.evaluate(_named(system, batch.T), NUMPY)
            batch = batch[np.broadcast_to(met, len(batch))]
        found = np.concatenate([found, batch])
    return found[:wanted]


def _starts(system: System, many: int, rng: np.random.Generator) -> Array:
    values: dict[str, Any] = {**system.parameters, **drawn(system.draw, many, rng)}
    values |= drawn(distributions(system.initial), many, rng)
    with np.errstate(all="ignore"):
        for column, tree in expressions(system.initial, values).items():
            values[column] = tree.evaluate(values, NUMPY, np.float64)
    return np.stack([np.broadcast_to(values[column], many) for column in system.state], axis=1)


def right_hand_side(system: System, columns: Sequence[str] | None = None) -> Callable[[Array], Array]:
    """Return the time derivative of some columns (by default all) as a function of the state.

    Shapes are ``(columns, trajectories)``.
    """
    trees = [tree for column, tree in _trees(system).items() if columns is None or column in columns]
    return compiled(trees, system.state, system.parameters)


def _trees(system: System) -> dict[str, Expression]:
    names = [*system.state, *system.parameters]
    return {column: parse_expression(system.equations[column], names) for column in system.state}


def _named(system: System, columns: Array) -> Mapping[str, Any]:
    return {
        **{name: np.float64(value) for name, value in system.parameters.items()},
        **dict(zip(system.state, columns, strict=True)),
    }


def integrate(system: System, initial: Array, time: Array) -> Array:
    """Integrate the equations: with the Runge-Kutta method of Dormand and Prince of order 8, or as the task says.

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
    with np.errstate(all="ignore"):
        rates = derivative(initial.T)
    for number in np.flatnonzero(~np.isfinite(rates).all(axis=0)).tolist():
        raise _failure(system, initial, number, "its equations give no finite number at the start")
    if system.time.integrator == "symplectic":
        return _by_steps(system, initial, time)
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


def _by_steps(system: System, initial: Array, time: Array) -> Array:
    kinds = separated({column: tree.names.intersection(system.state) for column, tree in _trees(system).items()})
    if kinds is None:
        raise ValueError(f"got the equations {dict(system.equations)}, must be separable")
    first, second = (right_hand_side(system, kind) for kind in kinds)
    of_momenta = np.array([column in kinds[1] for column in system.state])
    with np.errstate(all="ignore"):
        values = composed(first, second, of_momenta, initial, time, system.time.steps)
    for number in np.flatnonzero(~np.isfinite(values).all(axis=(1, 2))).tolist():
        raise _failure(system, initial, number, "it runs away, or needs shorter steps")
    return values


def kicked(system: System, initial: Array, time: Array, rng: np.random.Generator) -> Array:
    """Integrate from sample to sample, and at each add a normal kick to the columns of ``process_noise``.

    A column without drift is then a random walk. Arguments and result as of :func:`integrate`.
    """
    sizes = np.array([system.process_noise.get(column, 0.0) for column in system.state])
    samples = [initial]
    for step in np.diff(time):
        moved = integrate(system, samples[-1], np.array([0.0, step]))[:, -1]
        samples.append(moved + sizes * np.sqrt(step) * rng.standard_normal(moved.shape))
    return np.stack(samples, axis=1)


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
