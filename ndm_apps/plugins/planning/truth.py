"""The true dynamics of environments whose equations are known, for planning without learning and for references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from ndm_apps.plugins.planning.dynamics import Array, Dynamics
from ndm_apps.plugins.planning.schema import PlanningTask

if TYPE_CHECKING:
    import gymnasium

#: Of derivatives by complex steps: so small that its square vanishes beside 1.
_TINY = 1e-30


@final
@dataclass(frozen=True)
class TrueDynamics:
    r"""A :class:`~ndm_apps.plugins.planning.dynamics.Dynamics` given by formulas.

    Its derivatives are exact to rounding: those of an analytic function F are

    .. math:: \partial F / \partial x_j = \mathrm{Im}\, F(x + i h e_j) / h

    Attributes
    ----------
    states, controls, angles
        Numbers n and m, and indices of angles.
    smooth
        x' as an analytic function of x (..., n) and u (..., m), real or complex.
    finish
        What the environment does besides, from x and the smooth x': clipped speeds, stops.

    References
    ----------
    Squire and Trapp (1998), Using complex variables to estimate derivatives of real functions, SIAM Review 40.

    Examples
    --------
    >>> pendulum = PENDULUM
    >>> pendulum.step(np.array([0.0, 1.0]), np.array([2.0])).round(4).tolist()
    [0.065, 1.3]
    >>> f, a, b = pendulum.linearised(np.array([0.0, 1.0]))
    >>> a.round(4).tolist(), b.round(4).tolist()
    ([[1.0375, 0.05], [0.75, 1.0]], [[0.0075], [0.15]])
    """

    states: int
    controls: int
    angles: tuple[int, ...]
    smooth: Callable[[Any, Any], Any]
    finish: Callable[[Array, Array], Array] = lambda x, y: y

    def step(self, x: Array, u: Array) -> Array:
        """Return the next state (..., n)."""
        return self.finish(x, self.smooth(x, u))

    def affine(self, x: Array) -> tuple[Array, Array]:
        """Return the drift (..., n) and the gain (..., n, m), linear in u about u = 0."""
        moved = self._perturbed(x, np.empty((0, self.states)), np.eye(self.controls))
        return moved[0].real.copy(), np.moveaxis(moved.imag, 0, -1) / _TINY

    def linearised(self, x: Array) -> tuple[Array, Array, Array]:
        """Return drift, its Jacobian (..., n, n) and gain."""
        moved = self._perturbed(x, np.eye(self.states), np.eye(self.controls))
        slopes = np.moveaxis(moved.imag, 0, -1) / _TINY
        return moved[0].real.copy(), slopes[..., : self.states], slopes[..., self.states :]

    def spread(self, x: Array) -> Array:
        """Return 0: nothing is uncertain."""
        return np.zeros_like(x)

    def _perturbed(self, x: Array, by_state: Array, by_control: Array) -> Array:
        """Return the smooth step under imaginary changes of states, then of controls; (changes, ..., n)."""
        ones = (1,) * (x.ndim - 1)
        states = np.concatenate([by_state, np.zeros((self.controls, self.states))]).reshape(-1, *ones, self.states)
        controls = np.concatenate([np.zeros((len(by_state), self.controls)), by_control])
        return self.smooth(x + 1j * _TINY * states, 1j * _TINY * controls.reshape(-1, *ones, self.controls))


def _columns(x: Any) -> tuple[Any, ...]:
    return tuple(x[..., n] for n in range(x.shape[-1]))


def _stacked(*columns: Any) -> Any:
    return np.stack(np.broadcast_arrays(*columns), axis=-1)


def _pendulum(x: Any, u: Any) -> Any:
    theta, omega = _columns(x)
    omega = omega + 0.05 * (15.0 * np.sin(theta) + 3.0 * u[..., 0])
    return _stacked(theta + 0.05 * omega, omega)


def _pendulum_clipped(x: Array, y: Array) -> Array:
    omega = np.clip(y[..., 1], -8.0, 8.0)
    return _stacked(x[..., 0] + 0.05 * omega, omega)


def _mountain_car(x: Any, u: Any) -> Any:
    position, velocity = _columns(x)
    velocity = velocity + 0.0015 * u[..., 0] - 0.0025 * np.cos(3.0 * position)
    return _stacked(position + velocity, velocity)


def _mountain_car_stopped(x: Array, y: Array) -> Array:
    velocity = np.clip(y[..., 1], -0.07, 0.07)
    position = np.clip(x[..., 0] + velocity, -1.2, 0.6)
    return _stacked(position, np.where((position <= -1.2) & (velocity < 0.0), 0.0, velocity))


def cart_pole_rates(theta: Any, omega: Any, force: Any) -> tuple[Any, Any]:
    """Return the accelerations of cart and pole, with the constants of Gymnasium's cart-pole.

    Parameters
    ----------
    theta, omega
        Angle of the pole from upright, and its rate.
    force
        On the cart, in newtons.

    References
    ----------
    Florian (2007), Correct equations for the dynamics of the cart-pole system.
    """
    gravity, pole, total, half = 9.8, 0.1, 1.1, 0.5
    push = (force + pole * half * omega**2 * np.sin(theta)) / total
    turn = (gravity * np.sin(theta) - np.cos(theta) * push) / (half * (4.0 / 3.0 - pole * np.cos(theta) ** 2 / total))
    return push - pole * half * turn * np.cos(theta) / total, turn


def _cart_pole(x: Any, u: Any) -> Any:
    position, velocity, theta, omega = _columns(x)
    push, turn = cart_pole_rates(theta, omega, u[..., 0])
    return _stacked(position + 0.02 * velocity, velocity + 0.02 * push, theta + 0.02 * omega, omega + 0.02 * turn)


def _acrobot_rates(x: Any, torque: Any) -> Any:
    """Return the rates of Gymnasium's acrobot: unit lengths and masses, centres at the middle, inertia 1."""
    theta1, theta2, omega1, omega2 = _columns(x)
    sine, cosine = np.sin(theta2), np.cos(theta2)
    d1 = 3.5 + cosine
    d2 = 1.25 + 0.5 * cosine
    phi2 = 4.9 * np.sin(theta1 + theta2)
    phi1 = -0.5 * omega2**2 * sine - omega2 * omega1 * sine + 14.7 * np.sin(theta1) + phi2
    turn2 = (torque + d2 / d1 * phi1 - 0.5 * omega1**2 * sine - phi2) / (1.25 - d2**2 / d1)
    return _stacked(omega1, omega2, -(d2 * turn2 + phi1) / d1, turn2)


def _acrobot(x: Any, u: Any) -> Any:
    torque, step = u[..., 0], 0.2
    k1 = _acrobot_rates(x, torque)
    k2 = _acrobot_rates(x + step / 2 * k1, torque)
    k3 = _acrobot_rates(x + step / 2 * k2, torque)
    k4 = _acrobot_rates(x + step * k3, torque)
    return x + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


_ACROBOT_SPEEDS = np.array([np.inf, np.inf, 4 * np.pi, 9 * np.pi])

PENDULUM = TrueDynamics(2, 1, (0,), _pendulum, _pendulum_clipped)
MOUNTAIN_CAR = TrueDynamics(2, 1, (), _mountain_car, _mountain_car_stopped)
CART_POLE = TrueDynamics(4, 1, (), _cart_pole)
SWING_UP = TrueDynamics(4, 1, (2,), _cart_pole)
ACROBOT = TrueDynamics(4, 1, (0, 1), _acrobot, lambda x, y: np.clip(y, -_ACROBOT_SPEEDS, _ACROBOT_SPEEDS))

#: By the id of environments of others; our own bring theirs.
TRUTH: dict[str, TrueDynamics] = {
    "Pendulum-v1": PENDULUM,
    "MountainCarContinuous-v0": MOUNTAIN_CAR,
    "CartPole-v1": CART_POLE,
    "Acrobot-v1": ACROBOT,
}


def truth_of(task: PlanningTask, env: gymnasium.Env) -> Dynamics:
    """Return the true dynamics of a task's environment.

    Raises
    ------
    ValueError
        They are not known here.

    Examples
    --------
    >>> from ndm_apps.plugins.planning.problem_of import open_environment
    >>> from ndm_apps.tasks import load_task
    >>> task = load_task("planning/pendulum")[1]
    >>> truth_of(task, open_environment(task)) is PENDULUM
    True
    """
    own, name = getattr(env.unwrapped, "dynamics", None), task.environment.id
    if isinstance(own, TrueDynamics):
        return own
    if name not in TRUTH:
        raise ValueError(
            f"model: got 'known', but the equations of {name or task.environment.entry_point} are not known (known: "
            f"{', '.join(TRUTH)}, ndm/...), must be 'learned'"
        )
    if task.environment.kwargs:
        raise ValueError("model: got 'known', but environment.kwargs may change the equations, must be 'learned'")
    return TRUTH[name]
