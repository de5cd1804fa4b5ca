"""Slow functions against closed forms, and against the generalised eigenproblem that they solve."""

import numpy as np
import pytest
from scipy.linalg import eigh

from ndm_apps.engine.slow import least_change, slow_functions


def test_agrees_with_the_generalised_eigenproblem():
    generator = np.random.default_rng(1000)
    root, factor = generator.standard_normal((9, 5)), generator.standard_normal((5, 5))
    metric = factor @ factor.T + 0.1 * np.eye(5)
    values, vectors = least_change(root, metric)
    expected, _ = eigh(root.T @ root, metric)
    np.testing.assert_allclose(values, expected, rtol=1e-9)
    np.testing.assert_allclose(vectors.T @ metric @ vectors, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(root.T @ root @ vectors, metric @ vectors * values, atol=1e-8)


def test_does_not_depend_on_the_units_of_terms():
    generator = np.random.default_rng(1001)
    root, factor = generator.standard_normal((9, 4)), generator.standard_normal((4, 4))
    metric, units = factor @ factor.T + 0.1 * np.eye(4), np.array([1e-6, 1.0, 1e3, 1e7])
    values, _ = least_change(root, metric)
    np.testing.assert_allclose(least_change(root * units, units[:, None] * metric * units)[0], values, rtol=1e-8)


def test_a_root_with_few_rows_has_vectors_that_do_not_change():
    values, vectors = least_change(np.array([[1.0, 1.0, 0.0]]), np.eye(3))
    np.testing.assert_allclose(values, [0.0, 0.0, 2.0], atol=1e-14)
    np.testing.assert_allclose(np.array([1.0, 1.0, 0.0]) @ vectors[:, :2], 0.0, atol=1e-14)


def test_terms_without_variance_are_left_out():
    values, vectors = least_change(np.eye(2), np.diag([1.0, 0.0]))
    np.testing.assert_allclose(values, [1.0])
    np.testing.assert_allclose(np.abs(vectors), [[1.0], [0.0]])


def test_finds_the_energy_of_an_anharmonic_oscillator():
    generator = np.random.default_rng(1002)
    x = generator.uniform(-1.5, 1.5, (2000, 2))

    def flow(x):
        for _ in range(200):  # leapfrog: its energy error is of second order in a step of 0.001
            half = x[:, 1] - 0.0005 * x[:, 0] ** 3
            place = x[:, 0] + 0.001 * half
            x = np.stack([place, half - 0.0005 * place**3], -1)
        return x

    def terms(x):
        q, p = x.T
        return np.stack([q, p, q * p, q**2, p**2, q**4, q**3 * p], -1)

    rates, vectors = slow_functions(terms(x), terms(flow(x)), 2)
    assert rates[0] < 1e-12 and rates[1] > 1e-3
    energy = vectors[:, 0] / vectors[4, 0]
    np.testing.assert_allclose(energy, [0, 0, 0, 0, 1, 0.5, 0], atol=1e-5)
    assert np.isclose((terms(x) @ vectors[:, 0]).std(ddof=1), 1.0)


@pytest.mark.parametrize(("before", "after"), [((4, 2), (4, 3)), ((1, 2), (1, 2)), ((4,), (4,))])
def test_refuses_states_that_do_not_pair(before, after):
    with pytest.raises(ValueError, match="must have one shape"):
        slow_functions(np.zeros(before), np.zeros(after), 1)
