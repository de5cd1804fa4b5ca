import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.fit import fit_ensemble
from ndm_apps.plugins.planning.model import NetDynamics, fit_net

CLIPS = np.array([[-np.inf, np.inf], [-8.0, 8.0]])
BOX = np.array([[-np.pi, np.pi], [-8.0, 8.0]])
MIRROR = (np.array([-1.0, -1.0]), np.array([-1.0]))


def pendulum(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    omega = np.clip(x[:, 1] + 0.75 * np.sin(x[:, 0]) + 0.15 * u[:, 0], -8, 8)
    return np.stack([x[:, 0] + 0.05 * omega, omega], axis=-1)


def seen(step, box: np.ndarray, count: int, seed: int) -> Transitions:
    rng = np.random.default_rng(seed)
    x, u = rng.uniform(box[:, 0], box[:, 1], (count, len(box))), rng.uniform(-2, 2, (count, 1))
    return Transitions(x, u, step(x, u))


@pytest.fixture(scope="module")
def model() -> NetDynamics:
    return fit_net(Chart(2, 1, (0,), CLIPS, BOX, MIRROR), seen(pendulum, BOX, 150, 1000), seed=1000, steps=80)


def test_a_pendulum_is_learnt_with_its_clip(model):
    test = seen(pendulum, BOX, 500, 1001)
    error = model.step(test.x, test.u) - test.y
    assert np.sqrt(np.square(error).mean()) < 1e-3
    fast = np.array([[np.pi / 2, 7.9]])
    np.testing.assert_allclose(model.step(fast, np.array([[2.0]])), [[np.pi / 2 + 0.4, 8.0]], atol=1e-9)


def test_derivatives_are_those_of_the_drift(model):
    rng = np.random.default_rng(1000)
    x, step = rng.uniform(BOX[:, 0], BOX[:, 1], (600, 2)), 1e-6
    drift, slope, gain = model.linearised(x)
    again, same = model.affine(x)
    np.testing.assert_allclose(drift, again, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gain, same, rtol=0, atol=1e-12)
    numeric = np.stack(
        [(model.affine(x + step * e)[0] - model.affine(x - step * e)[0]) / (2 * step) for e in np.eye(2)]
    )
    np.testing.assert_allclose(slope, np.moveaxis(numeric, 0, -1), atol=1e-7)


def test_shapes_are_those_of_the_states(model):
    x, u = np.zeros((2, 5, 2)), np.zeros((2, 5, 1))
    assert model.step(x, u).shape == (2, 5, 2)
    assert [part.shape for part in model.linearised(x)] == [(2, 5, 2), (2, 5, 2, 2), (2, 5, 2, 1)]
    assert model.spread(x).shape == (2, 5, 2)
    assert model.step(x[0, 0], u[0, 0]).shape == (2,)


def test_the_evidence_switches_off_what_a_linear_law_explains():
    rng = np.random.default_rng(1000)
    z, u = rng.normal(size=(60, 2)), rng.normal(size=(60, 1))
    change = z @ [[0.3], [-1.2]] + 0.7 * u + 0.1
    net = fit_ensemble(z, u, change, steps=150, seed=1000, members=1)
    np.testing.assert_allclose(net.skip[0, :, 0], [0.3, -1.2, 0.1], atol=5e-3)
    np.testing.assert_allclose(net.skip[0, :, 1], [0, 0, 0.7], atol=5e-3)


def test_the_ensemble_is_surer_where_it_has_seen_than_far_away():
    def step(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        return x + 0.1 * np.cos(3 * x) + 0.1 * u

    box = np.array([[-3.0, 3.0]])
    chart = Chart(1, 1, (), np.array([[-np.inf, np.inf]]), box)
    model = fit_net(chart, seen(step, np.array([[-1.0, 1.0]]), 60, 1000), seed=1000, steps=100)
    assert model.doubtful
    near, far = model.spread(np.linspace(-1, 1, 20)[:, None]).max(), model.spread(np.array([[-3.0], [3.0]])).min()
    assert far > 10 * near


def test_a_wall_that_was_met_stops_the_model():
    def step(x: np.ndarray, u: np.ndarray) -> np.ndarray:
        v = x[:, 1] + 0.1 * u[:, 0]
        q = np.maximum(x[:, 0] + v, -1.0)
        return np.stack([q, np.where(q > -1.0, v, 0.0)], axis=-1)

    box = np.array([[-1.0, 1.0], [-0.5, 0.5]])
    chart = Chart(2, 1, (), np.array([[-np.inf, np.inf]] * 2), box)
    model = fit_net(chart, seen(step, box, 200, 1000), seed=1000, steps=50)
    np.testing.assert_allclose(model.step(np.array([[-0.9, -0.3]]), np.zeros((1, 1))), [[-1.0, 0.0]])
    assert np.isinf(model.walls[0, 1])


def test_data_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="at least 2 and finite"):
        fit_ensemble(np.array([[0.0], [np.nan]]), np.zeros((2, 1)), np.zeros((2, 1)))
