"""The noise of samples, judged from the samples alone."""

import numpy as np
import pytest

from ndm_apps.plugins.physics.noise import RELATIVE_ERROR, estimate_noise
from ndm_apps.plugins.physics.trajectories import Trajectories
from tests.plugins.physics.systems import on_grid


def motion(per_period, noise, seed=0, trajectories=60, points=60):
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(points) / per_period + rng.uniform(0, 7, (trajectories, 1))
    values = np.sin(angle) + 0.2 * np.sin(2 * angle)
    return on_grid((values + noise * rng.standard_normal(values.shape))[..., None], np.arange(points) / points)


@pytest.mark.parametrize("per_period", [100, 20, 7])
def test_smooth_motion_is_told_from_noise_even_if_sampled_coarsely(per_period):
    assert estimate_noise(motion(per_period, 0.01))[0] == pytest.approx(0.01, rel=0.1)


def test_its_relative_error_is_as_claimed():
    squares = np.array([estimate_noise(motion(50, 0.05, seed))[0] ** 2 for seed in range(40)]) / 0.05**2
    error = RELATIVE_ERROR / np.sqrt(60 * 60)
    assert abs(squares.mean() - 1.0) < error and 0.3 * error < squares.std() < 1.5 * error


def test_irregular_times_and_gaps():
    rng = np.random.default_rng(0)
    time = np.sort(rng.choice(np.linspace(0, 40, 4000), 2500, replace=False))
    values = np.sin(time)[:, None] + 0.02 * rng.standard_normal((2500, 1))
    data = Trajectories(("x",), frozenset(), time, values, np.array([0]))
    assert estimate_noise(data)[0] == pytest.approx(0.02, rel=0.1)
