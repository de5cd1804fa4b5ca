"""The learning loop: random steps, then steps of the planner on the model so far until nothing surprises the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.collect import Experience, chart_of, follow, wander
from ndm_apps.plugins.planning.controller import Controller
from ndm_apps.plugins.planning.distil import DistilledNet
from ndm_apps.plugins.planning.dynamics import Array
from ndm_apps.plugins.planning.fit import Ensemble
from ndm_apps.plugins.planning.fit_kinetic import KineticDynamics, fit_kinetic
from ndm_apps.plugins.planning.kinetic import Integrator, KineticForm
from ndm_apps.plugins.planning.laws import Law
from ndm_apps.plugins.planning.learner_settings import LearnerSettings
from ndm_apps.plugins.planning.model import NetDynamics, fit_net
from ndm_apps.plugins.planning.problem import Problem
from ndm_apps.plugins.planning.schema import PlanningTask

LearnedDynamics = NetDynamics | KineticDynamics
ControllerOf = Callable[[LearnedDynamics, Problem, Array | None], Controller]
"""From a model, a problem and the starts seen so far, (starts, n), or None where each has its own, to what acts."""

#: Part of the transitions that the kinetic model is checked on.
_HELD_OUT = 0.2

#: Least transitions for a fit.
_LEAST = 10


@dataclass(frozen=True)
class Learned:
    """What was learnt.

    Attributes
    ----------
    dynamics
        The model.
    seen
        The transitions that it was learnt from.
    starts
        States at which episodes began, (starts, n).
    rounds
        Of each fit: the steps seen, and the model's error of one step relative to the typical change in a step, on
        steps that it had not seen.
    agreed
        Whether the last episode held no surprise.
    breaks
        Steps taken when episodes were broken off that had not ended.
    """

    dynamics: LearnedDynamics
    seen: Transitions
    starts: Array
    rounds: tuple[tuple[int, float], ...]
    agreed: bool
    breaks: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Steps of the environment that were taken."""
        return len(self.seen.x)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint: arrays and plain values."""
        return {
            "dynamics": dynamics_state(self.dynamics),
            "seen": dict(self.seen._asdict()),
            "starts": self.starts,
            "rounds": [list(pair) for pair in self.rounds],
            "agreed": self.agreed,
            "breaks": list(self.breaks),
        }

    @classmethod
    def from_state(cls, task: PlanningTask, state: Mapping[str, Any]) -> Learned:
        """Return what :meth:`state_dict` was taken of."""
        return cls(
            dynamics=dynamics_from(chart_of(task), state["dynamics"]),
            seen=Transitions(**{name: np.asarray(part) for name, part in state["seen"].items()}),
            starts=np.asarray(state["starts"]),
            rounds=tuple((int(steps), float(error)) for steps, error in state["rounds"]),
            agreed=bool(state["agreed"]),
            breaks=tuple(state.get("breaks", ())),
        )


def learn(
    task: PlanningTask,
    env: gymnasium.Env,
    settings: LearnerSettings,
    steps: int,
    seed: int,
    controller_of: ControllerOf,
    *,
    device: str = "cpu",
    dtype: str = "float64",
    known: Learned | None = None,
    resumed: bool = False,
    log: Callable[[str, float, int], None] = lambda name, value, step: None,
    on_round: Callable[[Learned], None] = lambda learned: None,
) -> Learned:
    """Learn the dynamics of an environment.

    Parameters
    ----------
    task, env
        The task and its environment.
    settings
        How.
    steps
        Steps of the environment at most.
    seed
        Of the environment, the random controls and the networks.
    controller_of
        What takes the steps that are not random.
    device, dtype
        Torch names, for the networks.
    known
        What was learnt before, to go on from.
    resumed
        Whether that was in an earlier sitting of this very call. The environment is then led back to where it was, by
        the same steps, so that what is learnt is what an undisturbed call learns; one that does not repeat itself is
        acted on anew, as it is where something else was learnt before.
    log
        Called with ``surprise``, its value and the steps taken, after each fit.
    on_round
        Called with what is learnt so far after each fit.

    Raises
    ------
    ValueError
        If too few steps are allowed for a fit, or a state is not finite.
    """
    if steps < _LEAST:
        raise ValueError(f"steps: got {steps}, must be {_LEAST} or more to learn a model from")
    if resumed and known is not None and (known.agreed or known.steps >= steps):
        return known
    rounds = () if known is None else known.rounds
    experience = Experience(task, env, seed if resumed else seed + 7919 * len(rounds))
    if known is not None and not (resumed and experience.lead_back(known.seen, known.breaks)):
        experience = Experience(task, env, seed + 7919 * len(rounds))
        experience.remember(known.seen, known.starts)

    def fitted(agreed: bool, error: float) -> Learned:
        dynamics = fit_dynamics(experience.chart, experience.seen, settings, seed=seed, device=device, dtype=dtype)
        found = (*rounds, (experience.steps, error))
        log("surprise", error, experience.steps)
        breaks = tuple(experience.breaks)
        learned = Learned(dynamics, experience.seen, np.array(experience.starts), found, agreed, breaks)
        on_round(learned)
        return learned

    if known is None:
        wander(experience, max(round(settings.random * steps), _LEAST), np.random.default_rng([seed, 0]))
        learned = fitted(False, 1.0)
    else:
        learned = known
    while experience.steps < steps and not learned.agreed:
        errors = [0.0]

        def surprised(seen: Transitions, model: LearnedDynamics = learned.dynamics, errors: list = errors) -> bool:
            errors.append(surprise(model, seen, experience.seen))
            return errors[-1] > settings.surprise

        rounds = learned.rounds
        starts = None if task.episode else np.array(experience.starts)
        controller = controller_of(learned.dynamics, experience.problem, starts)
        agreed = follow(experience, controller, steps - experience.steps, settings.watch, surprised)
        learned = fitted(agreed, max(errors))
    return learned


def surprise(dynamics: LearnedDynamics, seen: Transitions, typical: Transitions) -> float:
    """Return the root mean square error of one step over transitions, relative to that of a typical change.

    Of steps that begin and end where the motion is smooth; 0 where there are none.
    """
    chart = dynamics.chart
    seen, typical = chart.regular(seen), chart.regular(typical)
    if not len(seen.x):
        return 0.0
    error = chart.difference(dynamics.step(seen.x, seen.u), seen.y)
    scale = np.sqrt(np.square(chart.difference(typical.x, typical.y)).mean(0))
    scale[scale == 0] = 1.0
    return float(np.sqrt(np.square(error / scale).mean()))


def fit_dynamics(
    chart: Chart,
    seen: Transitions,
    settings: LearnerSettings,
    *,
    seed: int,
    device: str = "cpu",
    dtype: str = "float64",
) -> LearnedDynamics:
    """Return a model of transitions, of the structure that is asked for.

    Raises
    ------
    ValueError
        If the structure is ``kinetic`` but the coordinates are not positions and their rates.
    """
    if settings.structure != "net":
        rng = np.random.default_rng([seed, 1])
        held_out = rng.random(len(seen.x)) < _HELD_OUT
        trial = fit_kinetic(chart, seen.chosen(~held_out), rng=rng)
        if trial is not None and (
            settings.structure == "kinetic" or surprise(trial, seen.chosen(held_out), seen) < settings.surprise / 20
        ):
            return fit_kinetic(chart, seen, rng=rng) or trial
        if settings.structure == "kinetic":
            raise ValueError(
                "structure: got 'kinetic', but the coordinates are not up to three positions and their rates, or these "
                f"{len(seen.x)} steps determine no metric: must be 'net' or 'auto'"
            )
    return fit_net(
        chart,
        seen,
        seed=seed,
        device=device,
        dtype=dtype,
        members=settings.members,
        hidden=settings.hidden,
        steps=settings.iterations,
    )


def dynamics_state(dynamics: LearnedDynamics) -> dict[str, Any]:
    """Return a model as arrays and plain values."""
    laws = dynamics.laws if isinstance(dynamics, NetDynamics) else dynamics.integrator.laws
    state = {"laws": [list(vars(law).values()) for law in laws], "walls": dynamics.walls}
    if isinstance(dynamics, NetDynamics):
        net = dynamics.net
        return state | {"outputs": net.outputs, "net": dict(vars(net.ensemble)), "doubtful": dynamics.doubtful}
    kept = [list(one) for one in dynamics.integrator.form.kept]
    return state | {"kept": kept, "coefficients": dynamics.coefficients, "draws": dynamics.draws}


def dynamics_from(chart: Chart, state: Mapping[str, Any]) -> LearnedDynamics:
    """Return the model that :func:`dynamics_state` was taken of."""
    laws, walls = tuple(Law(*values) for values in state["laws"]), _array(state["walls"])
    if "net" in state:
        ensemble = Ensemble(**{name: _array(part) for name, part in state["net"].items()})
        return NetDynamics(chart, laws, DistilledNet(ensemble, state["outputs"]), walls, state["doubtful"])
    turning = tuple(law.position in chart.angles for law in laws)
    form = KineticForm(turning, chart.controls, tuple(tuple(one) for one in state["kept"]))
    integrator = Integrator(form, laws, chart.states)
    return KineticDynamics(chart, integrator, _array(state["coefficients"]), _array(state["draws"]), walls)


def _array(values: torch.Tensor | Array) -> Array:
    return np.asarray(values, dtype=np.float64)
