"""One run of the method ``kinetic``: the geometry of motion learned from positions and velocities."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from ndm_apps.errors import InputError
from ndm_apps.plugins.base import Dataset, Picture, Result, RunContext
from ndm_apps.plugins.physics.kinetic.analysis import NoGeometryError, analyse
from ndm_apps.plugins.physics.kinetic.columns import position_columns
from ndm_apps.plugins.physics.kinetic.learning import learn
from ndm_apps.plugins.physics.kinetic.pictures import PICTURES
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.kinetic.values import refused_values, result_values, score
from ndm_apps.plugins.physics.read import read
from ndm_apps.plugins.physics.schema import PhysicsTask
from ndm_apps.plugins.physics.simulate import simulate


def run(task: PhysicsTask, method: str, settings: KineticSettings, context: RunContext) -> Result:
    """Run the method on one system; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    A run takes seconds, or a minute with networks: one that is resumed begins again.
    """
    rng = np.random.default_rng([context.seed, 2])
    context.progress(0, 1, "simulating" if task.system is not None else "reading")
    if task.system is not None:
        data, source = simulate(task.system, task.noise, context.seed), "simulated from the equations of the task"
    else:
        data, source = read(task.data).data, str(task.data)
    if context.evaluate == "validation":
        # What would judge in a test is left out altogether.
        rest = rng.permutation(len(data))[round(settings.held_out * len(data)) :]
        data = data.take(np.sort(rest))
    columns = position_columns(data, task.kinetic)
    try:
        learned = learn(data, columns.positions, columns.velocities, settings, rng, context.progress)
    except ValueError as error:
        raise InputError(f"kinetic: {error}") from None
    context.progress(0, 1, "looking for symmetries")
    drawn: dict[str, Picture] = {}
    truth = task.truth
    try:
        geometry = analyse(learned, settings, rng)
    except NoGeometryError as error:
        values = refused_values(learned, columns, str(error))
    else:
        values = result_values(geometry, columns)
        drawn = {name: draw(geometry) for name, draw in PICTURES.items()}
        if truth is not None and truth.kinetic is not None and task.system is not None:
            values["kinetic"] |= score(geometry, truth.kinetic, columns, task.system.parameters)
    values["n_conserved_true"] = None if truth is None else truth.n_conserved
    values["correct"] = None if truth is None else values["n_conserved"] == truth.n_conserved
    context.log("residual", learned.residual, 0)
    state = {} if learned.network is None else learned.network.state_dict()
    context.checkpoint.save({"network": dict(state)}, 1)
    digest = hashlib.sha256(np.ascontiguousarray(data.values).tobytes()).hexdigest()
    return Result(
        values=values,
        pictures=drawn,
        dataset=Dataset("trajectories", source, digest, len(data.values)),
        model=learned.network,
        example=None if learned.network is None else (torch.zeros(1, len(columns.positions), dtype=torch.float64),),
    )
