"""Averages in windows: independent errors of the size told, no bias by smooth motion, and none where motion is fast."""

import numpy as np
import pytest

from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.windows import NODES, averaged
from tests.plugins.physics.systems import on_grid

ONE = np.ones(1)


@pytest.fixture(scope="module")
def irregular():
    """White noise at random times, in trajectories of different lengths, one of them very short."""
    rng = np.random.default_rng(0)
    lengths = np.array([*rng.integers(180, 260, 80), 5])
    time = np.concatenate([np.sort(rng.uniform(0, 10, length)) for length in lengths.tolist()])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return Trajectories(("a",), frozenset(), time, rng.standard_normal((len(time), 1)), starts)


def test_errors_are_independent_and_of_the_size_that_is_told(irregular):
    found = averaged(irregular, ONE)
    error = found.data.values[:, 0] / found.sigma[0]
    assert found.window >= 16 and found.sigma[0] == pytest.approx(np.sqrt(NODES / found.window), rel=0.25)
    assert np.mean(error**2) == pytest.approx(1.0, abs=0.1)
    for lag in range(1, 5):
        assert abs(np.mean(error[lag:] * error[:-lag])) < 4.0 / np.sqrt(len(error))


def test_every_trajectory_keeps_its_place_and_order(irregular):
    found = averaged(irregular, ONE).data
    assert len(found) == len(irregular) and found.lengths[-1] == NODES and found.lengths.sum() == len(found.values)
    for (time, _), (before, _) in zip(found.each(), irregular.each(), strict=True):
        assert (np.diff(time) > 0).all() and before[0] <= time[0] and time[-1] <= before[-1]


def test_motion_of_degree_four_is_no_error():
    time = np.linspace(-1, 1, 160)
    motion = np.stack([1 - 2 * time + time**4, time**3 - 3 * time**4], axis=-1)[None].repeat(3, axis=0)
    found = averaged(on_grid(motion, time), np.full(2, 1e3))
    assert found.window == 20
    t = found.data.time
    np.testing.assert_allclose(found.data.values, np.stack([1 - 2 * t + t**4, t**3 - 3 * t**4], -1), atol=1e-12)


def test_the_window_is_as_long_as_the_motion_allows():
    time = np.linspace(0, 20, 400)
    rng = np.random.default_rng(1)

    def window(frequency, noise):
        angle = frequency * time + rng.uniform(0, 7, (30, 1))
        return averaged(
            on_grid((np.sin(angle) + noise * rng.standard_normal(angle.shape))[..., None], time), noise * ONE
        )

    slow, fast, faster = window(1.0, 0.05), window(4.0, 0.05), window(16.0, 0.05)
    assert slow.window > fast.window > faster.window == 1
    assert faster.sigma == pytest.approx(0.05) and window(4.0, 0.001).window < fast.window
