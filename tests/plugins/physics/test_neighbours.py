import numpy as np
import pytest
from scipy.stats import chi2

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary
from ndm_apps.plugins.physics.leaf import evaluate, problem, sampson_weights
from ndm_apps.plugins.physics.neighbours import Neighbours

from .systems import on_grid

X, P = Atom("column", (0,)), Atom("column", (1,))
TERMS = Dictionary(("x", "p"), ((P, P), (X, X), (X, X, X, X)))
TRUE = np.array([1.0, 1.0, 0.5])


def quartic(noise, seed, trajectories=40):
    """Motion in x^2/2 + x^4/4 by short leapfrog steps, measured with noise."""
    rng = np.random.default_rng(seed)
    x, p = rng.uniform(0.4, 1.2, trajectories), rng.uniform(-0.4, 0.4, trajectories)
    rows, step = [], 0.01
    for number in range(2000):
        if number % 20 == 0:
            rows.append(np.stack([x, p], axis=-1))
        p = p - step / 2 * (x + x**3)
        x = x + step * p
        p = p - step / 2 * (x + x**3)
    clean = np.stack(rows, axis=1)
    return on_grid(clean + noise * rng.standard_normal(clean.shape), 0.2 * np.arange(100), ["x", "p"])


def fitted(noise, assumed, seed):
    samples = evaluate(TERMS, quartic(noise, seed), assumed, noisy=True)
    weights = sampson_weights(samples, TRUE[:, None], assumed)
    return samples, weights, Neighbours(samples, weights, assumed, "each")


def scaled(vectors):
    return vectors / vectors[..., :1]


def test_without_noise_the_law_comes_out():
    _, _, neighbours = fitted(1e-5, np.full(2, 1e-5), 0)
    assert scaled(neighbours.fit()) == pytest.approx(TRUE, rel=1e-3)


def test_a_wrong_size_of_the_noise_does_little_harm():
    wrong = np.array([0.06, 0.04])  # of 0.05 each
    plain, near = [], []
    for seed in range(8):
        samples, weights, neighbours = fitted(0.05, wrong, seed)
        plain.append(scaled(problem(samples, wrong, weights, "each", exact=False).solve()[1][:, 0]))
        near.append(scaled(neighbours.fit()))
    bias = [np.abs(np.mean(many, axis=0) - TRUE)[1:].max() for many in (plain, near)]
    assert bias[1] < 0.4 * bias[0]


def test_errors_cover_the_truth_and_losses_are_chi_squared():
    z, losses = [], []
    for seed in range(25):
        _, _, neighbours = fitted(0.02, np.full(2, 0.02), seed)
        best, rng = neighbours.fit(), np.random.default_rng(seed)
        errors = (scaled(neighbours.bootstrap(40, rng)) - scaled(best)).std(axis=0)
        z += ((scaled(best) - TRUE)[1:] / errors[1:]).tolist()
        losses.append(neighbours.loss(TRUE, best))
    assert np.mean(np.abs(z) < 2.0) >= 0.86
    # Two ratios: a median of 1.4, and few beyond one in a hundred.
    assert 0.5 < np.median(losses) < 3.0 and np.mean(np.array(losses) > chi2.isf(0.01, 2)) <= 0.12


def test_a_resample_of_all_is_the_whole():
    _, _, neighbours = fitted(0.02, np.full(2, 0.02), 0)
    own, drawn = neighbours.problem(), neighbours.problem(np.arange(neighbours.trajectories))
    np.testing.assert_allclose(own.root, drawn.root)
    assert neighbours.loss(neighbours.fit(), neighbours.fit()) == 0.0
