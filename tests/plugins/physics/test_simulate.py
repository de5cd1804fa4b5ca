import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.plugins.physics import simulate as module
from ndm_apps.plugins.physics.noise import estimate_noise
from ndm_apps.plugins.physics.simulate import initial_values, simulate
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import grid, oscillator, system


def test_the_oscillator_moves_as_its_closed_form():
    t, values = grid(simulate(oscillator(k=4.0), 0.0, 3))
    q, p = values[:, :1, 0], values[:, :1, 1]
    np.testing.assert_allclose(values[..., 0], q * np.cos(2 * t) + p / 2 * np.sin(2 * t), atol=1e-10)
    np.testing.assert_allclose(values[..., 1], p * np.cos(2 * t) - 2 * q * np.sin(2 * t), atol=1e-10)


def test_functions_and_constants_of_expressions():
    decay = system({"x": "-x*log(e)", "y": "min(1, 2, max(3, y))"}, {"x": (1, 2), "y": (0, 0)})
    time, values = grid(simulate(decay, 0.0, 0))
    np.testing.assert_allclose(values[..., 0], values[:, :1, 0] * np.exp(-time), atol=1e-11)
    np.testing.assert_allclose(values[..., 1], np.broadcast_to(time, (60, 200)), atol=1e-10)


def test_energies_are_conserved():
    _, task = load_task("physics/henon_heiles")
    x, y, px, py = np.moveaxis(grid(simulate(task.system, 0.0, 1))[1], -1, 0)
    energy = (px**2 + py**2 + x**2 + y**2) / 2 + x**2 * y - y**3 / 3
    assert np.abs(energy - energy[:, :1]).max() < 1e-11
    assert energy[:, 0].max() < 1 / 6, "the condition on initial values holds"
    _, task = load_task("physics/pendulum")
    theta, omega = np.moveaxis(grid(simulate(task.system, 0.0, 1))[1], -1, 0)
    energy = omega**2 / 2 - np.cos(theta)
    assert np.abs(energy - energy[:, :1]).max() < 1e-10


def test_angles_are_brought_to_one_turn():
    turning = system({"a": "w", "w": 0}, {"a": (3.0, 3.1), "w": (2.0, 2.0)}, angles=("a",))
    clean, noisy = simulate(turning, 0.0, 0), simulate(turning, 0.05, 0)
    for data in (clean, noisy):
        assert data.values[..., 0].min() > -np.pi and data.values[..., 0].max() <= np.pi
    time, values = grid(clean)
    expected = np.exp(1j * (values[:, :1, 0] + 2 * time))
    np.testing.assert_allclose(np.exp(1j * values[..., 0]), expected, atol=1e-10)
    assert np.array_equal(clean.values[..., 1], noisy.values[..., 1]), "a column without spread has no noise"


def test_noise_has_the_size_asked_for_and_is_estimated():
    clean, noisy = (simulate(oscillator(), noise, 0) for noise in (0.0, 0.03))
    spread = clean.values.std(axis=0)
    np.testing.assert_allclose((noisy.values - clean.values).std(axis=0) / spread, 0.03, rtol=0.03)
    np.testing.assert_allclose(estimate_noise(noisy) / spread, 0.03, rtol=0.1)
    assert (estimate_noise(clean) < 1e-10).all()


def test_noise_is_estimated_at_any_times():
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 60, 50)
    time = np.concatenate([np.sort(rng.uniform(0, 0.1 * length, length)) for length in lengths])
    values = np.stack([np.sin(time), 100 * np.cos(time)], axis=1) + [0.02, 3.0] * rng.standard_normal((len(time), 2))
    data = Trajectories(("x", "y"), frozenset(), time, values, np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    np.testing.assert_allclose(estimate_noise(data), [0.02, 3.0], rtol=0.12)


def test_noise_of_an_angle_is_not_confused_by_its_jumps():
    turning = system({"a": "w", "w": 0}, {"a": (-3.0, 3.0), "w": (2.0, 3.0)}, angles=("a",))
    assert estimate_noise(simulate(turning, 0.01, 0))[0] == pytest.approx(0.01 * np.pi / np.sqrt(3), rel=0.15)


def test_the_same_seed_gives_the_same_trajectories():
    first, again, other = (simulate(oscillator(), 0.01, seed).values for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_initial_values_meet_the_condition():
    rng = np.random.default_rng(0)
    drawn = initial_values(oscillator(where="q**2 + p**2 < 0.5 and k*q > 0"), rng)
    assert drawn.shape == (60, 2) and ((drawn**2).sum(1) < 0.5).all() and (drawn[:, 0] > 0).all()
    assert drawn[:, 0].std() > 0.1
    assert initial_values(oscillator(where="1 < 2"), rng).shape == (60, 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (oscillator(where="q > 2"), "system.where: only 0 of 120000 .* meet 'q > 2', must be 60"),
        (oscillator(where="sqrt(-1 - q**2) > 0"), "system.where: only 0 of"),
        (system({"x": "x**2"}, {"x": (0.5, 1.0)}), "trajectory 0 .from x=.*run away at t="),
        (system({"x": "x*(x - 1)"}, {"x": (0.9, 1.01)}, end=20.0), "trajectory .* .from x=1.00.*run away"),
        (system({"x": "log(x)"}, {"x": (-2.0, -1.0)}), "trajectory 0 .from x=-.*no finite number at the start"),
        (system({"x": "-x/0**abs(x)"}, {"x": (1.0, 1.0)}), "trajectory 0 .* no finite number at the start"),
    ],
)
def test_what_cannot_be_simulated_is_told(wrong, says):
    with pytest.raises(InputError, match=says):
        simulate(wrong, 0.0, 0)


def test_a_stiff_system_is_given_up(monkeypatch):
    monkeypatch.setattr("ndm_apps.plugins.physics.simulate.MOST_EVALUATIONS", 500)
    with pytest.raises(InputError, match=r"trajectory 0 .* more than 500 evaluations"):
        simulate(system({"x": "-1e5*(x - cos(x))"}, {"x": (1.0, 2.0)}), 0.0, 0)


def test_what_fails_together_is_integrated_one_by_one(monkeypatch):
    together, integrate = simulate(oscillator(), 0.0, 0).values, module._integrate

    def one(derivative, initial, time, is_one):
        if not is_one:
            raise module._IntegrationError("together")
        return integrate(derivative, initial, time)

    monkeypatch.setattr(module, "_integrate", lambda f, x, t: one(f, x, t, len(x) == 1))
    alone = simulate(oscillator(), 0.0, 0).values
    np.testing.assert_allclose(alone, together, atol=1e-10)
