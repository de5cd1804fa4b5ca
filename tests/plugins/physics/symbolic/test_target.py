import numpy as np
import pytest

from ndm_apps.plugins.physics.symbolic.target import nearest_sum

NONE = np.empty((400, 0))


def correlation(one, other):
    return abs(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("reparametrised", [np.exp, np.tanh, lambda e: e**3 + e])
def test_the_sum_comes_back_from_any_function_of_it(reparametrised):
    x = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    energy = x[:, 0] ** 2 / 2 + np.exp(-x[:, 1]) + np.sin(x[:, 2])
    scaled = (energy - energy.mean()) / energy.std()
    assert correlation(nearest_sum(reparametrised(scaled / 2), NONE, x, np.zeros(3, bool)), energy) > 0.99


def test_an_angle_enters_by_its_harmonics():
    q = np.random.default_rng(0).uniform(-9, 9, (400, 2))
    energy = (q[:, 1] ** 2 / 20 - np.cos(q[:, 0])) / 4
    assert correlation(nearest_sum(np.exp(energy), NONE, q, np.array([True, False])), energy) > 0.9999


def test_functions_of_known_laws_alone_are_left_out():
    x = np.random.default_rng(0).uniform(-1, 1, (400, 3))
    known, energy = x[:, 0] + x[:, 2], x[:, 0] ** 2 + x[:, 1] ** 2
    found = nearest_sum(energy + known + known**2, known[:, None], x, np.zeros(3, bool))
    powers = np.vander(known, 6)
    rest = energy - powers @ np.linalg.lstsq(powers, energy)[0]
    assert abs(found @ known) / len(known) < 0.01 and correlation(found, rest) > 0.999
