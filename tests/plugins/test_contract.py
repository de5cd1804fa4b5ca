"""The shipped plugins keep what any plugin has to keep."""

import pytest

from ndm_apps.plugins import base
from ndm_apps.testing import PluginContract


class TestContinual(PluginContract):
    domain = "continual"
    config = "continual/digits"
    overrides = ("methods.ndm.immersion.width=20", "task.stream.batch_size=64", "task.stream.experiences=2",
                 "checkpoint_every=2")  # fmt: skip
    refused = ("methods.ndm.immersion.width=-1", "task.stream.kind=circular")


class TestPhysics(PluginContract):
    domain = "physics"
    config = "physics/harmonic_oscillator"
    overrides = ("task.system.trajectories=12", "task.system.time.points=40")
    refused = ("task.system.equations.q=__import__('os')", "methods.spectral.degree=-1")
    dtypes = ()  # laws are found in double precision, whatever a config says


class TestPlanning(PluginContract):
    domain = "planning"
    config = "planning/double_integrator"
    overrides = ("methods.ndm.episodes=2", "task.experience=50")
    clocks = tuple(f"plan_{clock}_{of}" for clock in ("ms", "cpu_ms") for of in ("median", "mean", "start"))
    refused = ("methods.ndm.episodes=0", "task.cost=[open('x')]")
    dtypes = ()  # the type is that of networks; this model is a table of numbers in double precision


class TestSupervised(PluginContract):
    domain = "supervised"
    config = "claims/generalisation-digits-100"
    overrides = ("methods.ndm.steps=20", "methods.ndm.components=4", "task.robustness.samples=20",
                 "task.robustness.pgd_steps=2", "checkpoint_every=10")  # fmt: skip
    clocks = ("train_seconds", "seconds_to_loss")
    refused = ("methods.ndm.structure=round", "methods.ndm_natural.precision=mixed", "methods.ndm_natural.compile=true")


@pytest.mark.skipif("generative" not in base.plugins(), reason="its entry point is not installed")
class TestGenerative(PluginContract):
    domain = "generative"
    config = "generative/digits"
    overrides = (
        *("task.score.pairs=4", "task.score.points=9", "task.score.samples=100", "methods.ndm.judge.epochs=1"),
        *("methods.ndm.model.epochs=2", "methods.ndm.model.hidden=[16]", "methods.ndm.model.flow_hidden=[8]"),
        *("methods.ndm.density.components=4", "methods.ndm.density.samples=200", "methods.ndm.paths=[geodesic]"),
        *("methods.ndm.head.steps=20", "methods.ndm.head.points=200", "methods.ndm.head.teacher_steps=5"),
        "checkpoint_every=10",
    )
    clocks = ("train_seconds", "milliseconds")
    refused = ("methods.ndm.model.dimension=0", "methods.ndm.metric.own=__import__('os')")
