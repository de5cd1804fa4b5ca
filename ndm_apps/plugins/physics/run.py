"""One physics run: simulate a system or read a file, find what is conserved, judge it on held-out trajectories."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from ndm_apps.plugins.base import Dataset, Result, RunContext
from ndm_apps.plugins.physics import pictures
from ndm_apps.plugins.physics.dimensions import described
from ndm_apps.plugins.physics.invariants import split
from ndm_apps.plugins.physics.kinetic.settings import KineticSettings
from ndm_apps.plugins.physics.opinions import search
from ndm_apps.plugins.physics.read import Measured, read
from ndm_apps.plugins.physics.results import result_values
from ndm_apps.plugins.physics.schema import PhysicsTask, SpectralSettings
from ndm_apps.plugins.physics.score import score
from ndm_apps.plugins.physics.simulate import clean_and_measured
from ndm_apps.plugins.physics.tex import document
from ndm_apps.plugins.physics.trajectories import Trajectories


def run(task: PhysicsTask, method: str, settings: SpectralSettings | KineticSettings, context: RunContext) -> Result:
    """Run the method on one system; see :class:`~ndm_apps.plugins.base.RunContext` for the rest.

    A run takes seconds: one that is resumed begins again.
    """
    if isinstance(settings, KineticSettings):
        from ndm_apps.plugins.physics.kinetic import run as kinetic

        return kinetic.run(task, method, settings, context)
    choose, draws, compare = np.random.default_rng([context.seed, 1]).spawn(3)
    measured: Measured | None = None
    if task.system is not None:
        context.progress(0, 1, "simulating")
        clean, data = clean_and_measured(task.system, task.noise, context.seed)
    else:
        context.progress(0, 1, "reading")
        measured = read(task.data)
        data = clean = measured.data
    if context.evaluate == "validation":
        # What would judge in a test is left out altogether.
        rest = split(len(data), settings.held_out, choose)
        rest = np.sort(np.concatenate([rest.fitting, rest.choosing]))
        data, clean = data.take(rest), clean.take(rest)
        if measured is not None:
            measured = replace(measured, data=data, labels=tuple(measured.labels[n] for n in rest.tolist()))
    known = {} if measured is None else {"known_noise": measured.noise, "allowed": measured.allows}
    opinions = search(data, settings, draws, context.progress, **known)
    found = opinions.found
    for number, spectrum in enumerate(one for one in found.spectra if one.mean == "each"):
        kind = "exact" if spectrum.exact else "noisy"
        context.log(f"least_eigenvalue/{kind}", float(spectrum.eigenvalues[0]), number)
    if measured is None:
        values = result_values(found, clean.take(found.parts.judges))
    else:
        values = described(found, measured)
    values = opinions.told(values)
    truth = None if task.truth is None else task.truth.n_conserved
    values["n_conserved_true"] = truth
    values["correct"] = None if truth is None else len(found.laws) == truth
    values["score"] = None
    if task.system is not None and task.truth is not None and len(task.truth.invariants) >= task.truth.n_conserved:
        formulas = [law.expression for law in found.laws]
        deviations = [law.deviations for law in found.laws]
        measured_values = [law.measured for law in found.laws]
        values["score"] = score(formulas, deviations, task.truth, task.system, clean, compare, measured_values)
    shown = data.take(found.parts.judges)
    # What stays of the run: the formulas, and the coefficients behind them.
    kept = [{"expression": str(law.expression), "coefficients": law.formula.coefficients} for law in found.laws]
    context.checkpoint.save({"invariants": kept}, len(found.tiers))
    drawn = {
        "spectrum": pictures.spectrum(found),
        "portrait": pictures.portrait(found, shown),
        "levels": pictures.levels(found, shown),
        "drift": pictures.drift(found, shown),
    }
    return Result(
        values=values,
        pictures={name: picture for name, picture in drawn.items() if picture is not None},
        dataset=_dataset(data) if measured is None else measured.dataset(),
        files={"laws.tex": document(values, "a simulated system" if measured is None else measured.name)},
    )


def _dataset(data: Trajectories) -> Dataset:
    digest = hashlib.sha256(np.ascontiguousarray(data.values).tobytes()).hexdigest()
    return Dataset("trajectories", "simulated from the equations of the task", digest, len(data.values))
