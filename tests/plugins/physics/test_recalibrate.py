"""Noise that was thought too large is known from what laws leave; so what it hid is no law any more."""

import numpy as np
import pytest

from ndm_apps.plugins.physics.dictionary import Formula, polynomials
from ndm_apps.plugins.physics.invariants import find_invariants
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.recalibrate import recalibrated
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import grid, on_grid, oscillator

TRUE = np.array([0.01, 0.03])


@pytest.fixture(scope="module")
def measured():
    time, values = grid(simulate(oscillator(), 0.0, 1000))
    return on_grid(values + TRUE * np.random.default_rng(0).standard_normal(values.shape), time, ("q", "p"))


def level_after(measured, sigma):
    dictionary = polynomials(["q", "p"], [], 2).of(np.array([2, 4]))
    level = Level(sigma, measured.values.std(axis=0), False, len(measured.values), SpectralSettings())
    return level, recalibrated(Found(Formula(dictionary, np.ones(2)), level, "each", "poly2", 0.0), measured)


@pytest.mark.parametrize("factors", [(8.0, 8.0), (3.0, 8.0), (8.0, 2.5)])
def test_each_columns_noise_is_told_by_a_law(measured, factors):
    _, found = level_after(measured, TRUE * factors)
    assert found.sigma == pytest.approx(TRUE, rel=0.2)


def test_noise_that_is_right_is_left_alone(measured):
    level, found = level_after(measured, 1.05 * TRUE)
    assert found is level


@pytest.mark.parametrize("seed", [1004, 1006])
def test_coarse_and_few_samples_of_chaos_have_no_second_law(seed):
    """Six samples a period: motion is taken for noise of 10 %, which would hide what is not conserved."""
    _, task = load_task("physics/henon_heiles")
    time = task.system.time.model_copy(update={"points": 50})
    few = task.system.model_copy(update={"time": time, "trajectories": 12})
    found = find_invariants(
        simulate(few, 0.01, seed).take(np.arange(10)), SpectralSettings(), np.random.default_rng([seed, 1])
    )  # fmt: skip
    assert len(found.laws) == 1 and max(found.noise.values()) < 0.03
