"""From trajectories to a Lagrangian: splits them, estimates their noise, and calls one of the two solvers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ndm_apps.plugins.physics.kinetic.expansion import Expansion, fit_expansion
from ndm_apps.plugins.physics.kinetic.lagrangian import Lagrangian
from ndm_apps.plugins.physics.kinetic.motion import Motion, motion
from ndm_apps.plugins.physics.kinetic.network import KineticNet, Progress, Training, fit_network
from ndm_apps.plugins.physics.kinetic.objective import weak_objective
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.trajectories import Trajectories

Noise = tuple[Tensor, Tensor]

#: Noise of less than this part of a column's standard deviation is none.
NO_NOISE = 1e-5
#: Held-out residuals of networks that belong to Lagrangians: at no noise in units of the momenta, else squared and in
#: units of the noise.
SOLVES_NETWORK, SOLVES_NETWORK_NOISY = 0.05, 3.0


@final
@dataclass(frozen=True, eq=False)
class Learned:
    """A Lagrangian, how well it explains held-out motions, and these motions.

    Attributes
    ----------
    lagrangian
        Metric and potential.
    residual
        Weak residual on held-out motions: root mean square, in units of the noise where ``noisy``, else of the momenta.
    noisy
        Which of the two.
    solves
        Whether the motions have a Lagrangian of this form: if not, its geometry means nothing.
    expansion, network
        What the solver found.
    fitting, judging
        The motions that were fitted, and those that were not.
    judges
        Numbers of the trajectories that judge.
    noise
        Estimated standard deviations of positions and velocities; None if there are no errors.
    """

    lagrangian: Lagrangian
    residual: float
    noisy: bool
    solves: bool
    expansion: Expansion | None
    network: KineticNet | None
    fitting: Motion
    judging: Motion
    judges: NDArray[np.intp]
    noise: Noise | None


def learn(
    data: Trajectories,
    positions: tuple[str, ...],
    velocities: tuple[str, ...],
    settings: KineticSettings,
    rng: np.random.Generator,
    progress: Progress = lambda done, total, text: None,
) -> Learned:
    """Learn a Lagrangian from trajectories.

    Parameters
    ----------
    data
        Measured trajectories, two or more.
    positions, velocities
        Their columns, in the same order.
    settings
        Of the method.
    rng
        Splits the trajectories, and chooses first weights and batches.
    progress
        Told what is being done.

    Raises
    ------
    ValueError
        A column is not there, or there are too few data.
    """
    if len(data) < 2:
        raise ValueError("trajectories must be two or more, so that one can judge what others were fitted to, got 1")
    order = rng.permutation(len(data))
    judged = max(1, round(settings.held_out * len(data)))
    judges = np.sort(order[:judged])
    whole, noise = motion(data, positions, velocities), _noise(data, positions, velocities)
    fitting, judging = whole.take(order[judged:]), whole.take(judges)
    if settings.solver == "dictionary":
        progress(0, 1, "solving for the metric")
        found = fit_expansion(fitting, judging, noise, settings.window, settings.stride)
        return Learned(
            found.lagrangian, found.residual, found.noisy, found.solves, found, None, fitting, judging, judges, noise
        )
    training = Training(settings.hidden, settings.steps, settings.batch, settings.rate, settings.refinement)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    speeds = fitting.samples()[1].std(0, correction=0)
    train, test = (
        weak_objective(part, settings.window, settings.stride, speeds, noise, generator) for part in (fitting, judging)
    )
    lagrangian, network = fit_network(train, fitting, training, generator, progress)
    residual = float(test(network).detach()) ** 0.5
    solves = residual < (SOLVES_NETWORK if noise is None else SOLVES_NETWORK_NOISY**0.5)
    return Learned(lagrangian, residual, noise is not None, solves, None, network, fitting, judging, judges, noise)


def _noise(data: Trajectories, positions: tuple[str, ...], velocities: tuple[str, ...]) -> Noise | None:
    """Estimate standard deviations of errors; return None where they are nothing beside the motion."""
    sigma = estimate_noise(data)
    spread = data.values.std(axis=0)
    columns = [data.state.index(column) for column in (*positions, *velocities)]
    sigma, spread = sigma[columns], spread[columns]
    if not np.isfinite(sigma).all() or np.median(sigma / np.maximum(spread, np.finfo(float).tiny)) <= NO_NOISE:
        return None
    # A column without errors beside others that have them: the form that noise gives must stay definite.
    floor = torch.from_numpy(np.maximum(sigma, 1e-6 * spread))
    return floor[: len(positions)], floor[len(positions) :]
