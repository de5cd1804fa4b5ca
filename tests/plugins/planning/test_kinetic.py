import numpy as np
import pytest

from ndm_apps.plugins.planning.chart import Chart, Transitions
from ndm_apps.plugins.planning.fit_kinetic import KineticDynamics, fit_kinetic
from ndm_apps.plugins.planning.kinetic import KineticForm
from ndm_apps.plugins.planning.truth import ACROBOT, CART_POLE, MOUNTAIN_CAR, PENDULUM

FREE = [-np.inf, np.inf]


def transitions(truth, box: np.ndarray, push: float, count: int, seed: int) -> Transitions:
    rng = np.random.default_rng(seed)
    x = rng.uniform(box[:, 0], box[:, 1], (count, len(box)))
    u = rng.uniform(-push, push, (count, 1))
    return Transitions(x, u, truth.step(x, u))


CASES = {
    "pendulum": (PENDULUM, (0,), [FREE, [-8, 8]], np.array([[-np.pi, np.pi], [-6, 6]]), 2.0, 60),
    "cart-pole": (CART_POLE, (2,), [FREE] * 4, np.array([[-2, 2], [-3, 3], [-np.pi, np.pi], [-6, 6]]), 10.0, 200),
    "acrobot": (
        ACROBOT,
        (0, 1),
        [FREE, FREE, [-4 * np.pi, 4 * np.pi], [-9 * np.pi, 9 * np.pi]],
        np.array([[-np.pi, np.pi], [-np.pi, np.pi], [-3, 3], [-4, 4]]),
        1.0,
        250,
    ),
}


def fitted(name: str) -> KineticDynamics:
    truth, angles, clips, box, push, count = CASES[name]
    chart = Chart(len(box), 1, angles, np.array(clips, dtype=float), 3 * box)
    model = fit_kinetic(chart, transitions(truth, box, push, count, 1000), rng=np.random.default_rng(1000))
    assert model is not None
    return model


@pytest.mark.parametrize("name", CASES)
def test_mechanical_systems_are_identified(name):
    truth, _, _, box, push, _ = CASES[name]
    model = fitted(name)
    test = transitions(truth, 1.5 * box, push, 300, 1001)
    np.testing.assert_allclose(model.step(test.x, test.u), test.y, atol=1e-6)
    assert not model.spread(test.x).any()


def test_the_metric_is_the_kinetic_energy():
    model = fitted("cart-pole")
    q = np.array([[0.3, 0.0], [-0.1, 1.0]])
    metric = model.integrator.form.metric(model.coefficients[:-1], q)
    true = np.empty((2, 2, 2))
    true[:, 0, 0], true[:, 1, 1] = 1.1, 0.1 * 0.25 * 4 / 3
    true[:, 0, 1] = true[:, 1, 0] = 0.05 * np.cos(q[:, 1])
    np.testing.assert_allclose(metric / metric[0, 0, 0], true / 1.1, atol=1e-5)
    assert len(model.integrator.form.kept) < 9


def test_derivatives_are_those_of_the_drift():
    model, step = fitted("acrobot"), 1e-6
    x = np.random.default_rng(1000).uniform(-1, 1, (5, 4))
    drift, slope, gain = model.linearised(x)
    np.testing.assert_allclose(drift, model.step(x, np.zeros((5, 1))), atol=1e-12)
    numeric = [(model.affine(x + step * e)[0] - model.affine(x - step * e)[0]) / (2 * step) for e in np.eye(4)]
    np.testing.assert_allclose(slope, np.stack(numeric, axis=-1), atol=1e-7)
    np.testing.assert_allclose(gain, model.affine(x)[1])


def test_free_motion_is_a_geodesic_and_keeps_its_speed():
    form = KineticForm.full((True, True), 1)
    p = np.zeros(sum(form.sizes))
    weights = p[: form.sizes[0]].reshape(3, 9)
    weights[0, 0], weights[2, 0] = 3.0, 1.0
    weights[0, 2], weights[1, 2] = 0.5, 0.4  # of cos q2
    q, v, h = np.array([0.2, 0.7]), np.array([1.0, -2.0]), 1e-3
    speeds = []
    for _ in range(500):
        speeds.append(v @ form.metric(p, q) @ v)
        a = form.acceleration(p, q, v, np.zeros(1))
        middle = v + h / 2 * a
        q, v = q + h * middle, v + h * form.acceleration(p, q + h / 2 * v, middle, np.zeros(1))
    np.testing.assert_allclose(speeds, speeds[0], rtol=1e-5)


def test_what_is_no_mechanical_system_is_refused():
    rng = np.random.default_rng(1000)
    x = rng.normal(size=(100, 2))
    chart = Chart(2, 1, (), np.array([FREE] * 2), np.array([[-9.0, 9.0]] * 2))
    seen = Transitions(x, x[:, :1], x + rng.normal(size=x.shape))
    assert fit_kinetic(chart, seen, rng=rng) is None


def test_a_track_that_is_no_short_series_is_not_predicted():
    box = np.array([[-1.1, 0.5], [-0.05, 0.05]])
    chart = Chart(2, 1, (), np.array([FREE, [-0.07, 0.07]]), np.array([[-1.2, 0.6], [-0.07, 0.07]]))
    seen = transitions(MOUNTAIN_CAR, box, 1.0, 300, 1000)
    model = fit_kinetic(chart, seen, rng=np.random.default_rng(1000))
    error = model.step(seen.x, seen.u) - seen.y
    assert np.sqrt(np.square(error[:, 1]).mean()) > 0.01 * (seen.y - seen.x)[:, 1].std()
