"""Velocities of positions: exact on polynomials, calibrated on noise, and good enough for laws."""

import numpy as np
import pandas as pd
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics.api import discover
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.velocities import with_velocities


def recorded(position, times, angles=()):
    names = tuple(f"q{n}" for n in range(position[0].shape[1]))
    starts = np.concatenate([[0], np.cumsum([len(t) for t in times])[:-1]])
    return Trajectories(names, frozenset(angles), np.concatenate(times), np.concatenate(position), starts)


def test_polynomials_at_irregular_times_are_exact():
    rng = np.random.default_rng(1000)
    times = [np.cumsum(rng.uniform(0.5, 1.5, length)) / 10 for length in (60, 45)]
    data = recorded([np.stack([t**2, 3 - t + t**2 / 2], axis=1) for t in times], times)
    found = with_velocities(data, np.zeros(2), ("v0", "v1"))
    t = found.data.time
    np.testing.assert_allclose(found.data.values, np.stack([t**2, 3 - t + t**2 / 2, 2 * t, t - 1], axis=1), atol=1e-8)


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 5e-2])
def test_claimed_errors_are_those_made(noise):
    rng = np.random.default_rng(1001)
    times = [np.linspace(0, 20, 200)] * 40
    phase = rng.uniform(0, 6, 40)
    clean = recorded([np.sin(t + p)[:, None] for t, p in zip(times, phase, strict=True)], times)
    values = clean.values + noise * rng.standard_normal(clean.values.shape)
    found = with_velocities(
        Trajectories(clean.state, clean.angles, clean.time, values, clean.starts), np.array([noise]), ("v",)
    )
    p = np.repeat(phase, found.data.lengths)
    for error, claimed in (
        (found.data.values[:, 0] - np.sin(found.data.time + p), found.position_error[0]),
        (found.data.values[:, 1] - np.cos(found.data.time + p), found.velocity_error[0]),
    ):
        assert 0.8 < error.std() / claimed < 1.2
        neighbours = np.corrcoef(error[1:], error[:-1])[0, 1]
        assert abs(neighbours) < 4 / np.sqrt(len(error)) + 0.05
    assert found.data.lengths.min() >= 8


def test_angles_that_jump_have_smooth_velocities():
    t = np.linspace(0, 30, 200)
    data = recorded([np.pi - np.mod(np.pi - 2 * t, 2 * np.pi)[:, None]], [t], angles=("q0",))
    found = with_velocities(data, np.zeros(1), ("v",))
    np.testing.assert_allclose(found.data.values[:, 1], 2.0, atol=1e-8)
    assert np.abs(found.data.values[:, 0]).max() <= np.pi


def test_trajectories_too_short_for_a_window_are_left_out_or_refused():
    times = [np.linspace(0, 5, 60), np.linspace(0, 5, 60), np.linspace(0, 0.2, 3)]
    found = with_velocities(recorded([np.sin(t)[:, None] for t in times], times), np.zeros(1), ("v",))
    assert found.kept == (0, 1) and len(found.data) == 2
    with pytest.raises(InputError, match="velocities: trajectories of 3 samples"):
        with_velocities(recorded([np.sin(times[2])[:, None]], times[2:]), np.zeros(1), ("v",))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_law_is_found_from_positions_alone(noise):
    rng = np.random.default_rng(1002)
    t = np.linspace(0, 10, 200)
    size, phase = rng.uniform(1, 2, (30, 1)), rng.uniform(0, 6, (30, 1))
    x = size * np.sin(2 * t + phase) + noise * rng.standard_normal((30, 200))
    frame = pd.DataFrame({"trajectory": np.repeat(np.arange(30), 200), "t": np.tile(t, 30), "x": x.ravel()})
    found = discover(frame, velocities=True, units={"x": "m", "t": "s"}, degree=2, special=False)
    assert found.n_conserved == 1
    law = found.laws[0].expand()
    ratio = float(law.coeff("x_dot", 2) / law.coeff("x", 2))
    assert ratio == pytest.approx(0.25, rel=0.02 if noise else 1e-6)
    assert [one.unit for one in found.measured.columns] == ["m", "m/s"]
    assert "Velocities are slopes of polynomials" in found.measured.notes[-1]
    with pytest.raises(InputError, match="no column 'x_dot'"):
        found.predict(frame)


def test_a_velocity_that_is_there_already_is_refused():
    frame = pd.DataFrame({"t": np.arange(40.0), "x": np.sin(np.arange(40.0)), "x_dot": np.cos(np.arange(40.0))})
    with pytest.raises(InputError, match="there is a column 'x_dot' already"):
        discover(frame, velocities=True)
