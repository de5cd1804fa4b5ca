import numpy as np
import pytest

from ndm_apps.plugins.physics.assessment import assess, drift
from ndm_apps.plugins.physics.dictionary import polynomials
from ndm_apps.plugins.physics.formula import normalised, printed, rational, simplest_between
from ndm_apps.plugins.physics.independence import new_directions, novelty
from ndm_apps.plugins.physics.leaf import centred, problem
from ndm_apps.plugins.physics.leaf import evaluate as evaluate_on
from ndm_apps.plugins.physics.sparse import shortest, sparse_vectors
from ndm_apps.plugins.physics.trajectories import Trajectories
from tests.plugins.physics.systems import on_grid

DICTIONARY = polynomials(["q", "p"], [], 2)  # q, p, q**2, q*p, p**2
ENERGY = np.array([0.0, 0.0, 1.0, 0.0, 1.0])


def evaluate(dictionary, values):
    return evaluate_on(dictionary, on_grid(values), np.full(values.shape[-1], 1e-6), noisy=False)


def circles(noise, seed=0, trajectories=40, points=150):
    rng = np.random.default_rng(seed)
    radii, phases = rng.uniform(0.5, 2, (trajectories, 1)), rng.uniform(0, 7, (trajectories, 1))
    angle = phases + np.linspace(0, 9, points)
    values = np.stack([radii * np.cos(angle), radii * np.sin(angle)], axis=-1)
    return values + noise * rng.standard_normal(values.shape)


def test_the_leaf_distance_of_a_law_is_one_and_of_others_it_is_large():
    noise = np.full(2, 0.01)
    samples = evaluate(DICTIONARY, circles(0.01))
    law = assess(samples, ENERGY, noise)
    assert law.distance == pytest.approx(1.0, abs=4 * np.sqrt(2 / law.samples))
    assert law.autocorrelation < 0.06 and law.f_statistic > 1e4
    assert assess(samples, 7.0 * ENERGY, noise).distance == pytest.approx(law.distance), "the scale does not matter"
    assert assess(samples, np.eye(5)[0], noise).distance > 1000
    assert assess(samples, np.eye(5)[0], noise).autocorrelation > 0.9


def test_the_distance_grows_with_the_noise_as_it_should():
    samples = evaluate(DICTIONARY, circles(0.02))
    assert assess(samples, ENERGY, np.full(2, 0.01)).distance == pytest.approx(4.0, rel=0.1)


def test_the_eigenproblem_finds_the_law_to_rounding():
    samples = evaluate(DICTIONARY, circles(0.0))
    eigenvalues, vectors = problem(samples, np.full(2, 1e-6), np.ones(6000), "each").solve()
    assert eigenvalues[0] < 1e-15 and eigenvalues[1] > 1e6
    np.testing.assert_allclose(vectors[:, 0] / vectors[2, 0], ENERGY, atol=1e-10)


def test_the_eigenvectors_solve_their_equation():
    samples = evaluate(DICTIONARY, circles(0.05))
    whole = problem(samples, np.array([0.05, 0.04]), np.ones(6000), "each")
    eigenvalues, vectors = whole.solve()
    covariance = whole.root.T @ whole.root
    np.testing.assert_allclose(covariance @ vectors, whole.metric @ vectors * eigenvalues, rtol=1e-8, atol=1e-10)
    features = samples.terms.features.reshape(40, 150, -1)
    rest = features - features.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(covariance, np.einsum("mtp,mtq->pq", rest, rest) / samples.size, atol=1e-12)


def test_the_mean_of_all_finds_what_is_constant_over_all_data():
    values = circles(0.0)
    on_one = values / np.linalg.norm(values, axis=-1, keepdims=True)
    samples, noise = evaluate(DICTIONARY, on_one), np.full(2, 1e-6)
    assert assess(samples, ENERGY, noise, mean="all").distance < 1e-15
    assert assess(evaluate(DICTIONARY, values), ENERGY, noise, mean="all").distance > 1e6


def test_drift_is_as_defined():
    values = np.array([[0.0, 2.0], [10.0, 12.0], [20.0, 22.0]])
    assert drift(values.ravel(), np.array([0, 2, 4])) == pytest.approx(1.0 / np.std([1.0, 11.0, 21.0]))


def test_trajectories_of_unequal_length_are_treated_each_by_itself():
    values = circles(0.01)
    rng = np.random.default_rng(5)
    kept = [np.sort(rng.choice(150, rng.integers(20, 150), replace=False)) for _ in values]
    lengths = np.array([len(rows) for rows in kept])
    state = np.concatenate([one[rows] for one, rows in zip(values, kept, strict=True)])
    time = np.concatenate([rows / 10 for rows in kept])
    ragged = Trajectories(("q", "p"), frozenset(), time, state, np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    samples = evaluate_on(DICTIONARY, ragged, np.full(2, 0.01), noisy=True)
    law = assess(samples, ENERGY, np.full(2, 0.01))
    assert law.distance == pytest.approx(1.0, abs=4 * np.sqrt(2 / law.samples)) and law.autocorrelation < 0.1
    for mean, degree in (("each", 0), ("line", 1)):
        rest = centred(samples, samples.terms.features, np.ones(samples.size), mean)
        for number, part in enumerate(np.split(np.arange(samples.size), samples.starts[1:])):
            fitted = np.polynomial.polynomial.polyfit(time[part], samples.terms.features[part], degree)
            line = np.polynomial.polynomial.polyval(time[part], fitted).T
            np.testing.assert_allclose(rest[part], samples.terms.features[part] - line, atol=1e-9, err_msg=str(number))
    some = samples.take(np.array([3, 0]))
    np.testing.assert_array_equal(some.values, np.concatenate([state[samples.owner == 3], state[samples.owner == 0]]))
    np.testing.assert_array_equal(samples.of(np.array([4, 1])).terms.gradients(np.eye(2))[..., 0],
                                  samples.terms.gradients(np.eye(5))[..., 4])  # fmt: skip


def test_functions_of_known_laws_are_not_new():
    x = np.random.default_rng(0).standard_normal((200, 4))
    first = np.stack([x[:, 0], 0 * x[:, 0], x[:, 2], 0 * x[:, 0]], axis=1)
    second = np.stack([0 * x[:, 0], x[:, 1], 0 * x[:, 0], x[:, 3]], axis=1)
    spin = np.stack([x[:, 3], -x[:, 2], -x[:, 1], x[:, 0]], axis=1)
    product = (x[:, [0]] ** 2 + x[:, [2]] ** 2) * second + (x[:, [1]] ** 2 + x[:, [3]] ** 2) * first
    known = np.stack([first, second], axis=-1)
    assert novelty(product, known) < 1e-12 and novelty(spin, known) > 0.3
    found = new_directions(np.stack([product, first, spin, second], axis=-1), known, 1e-5)
    assert found.shape == (4, 1)
    assert abs(found[2, 0]) > 0


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_short_vectors_of_a_space_are_found(noise):
    rng = np.random.default_rng(0)
    short = np.zeros((20, 3))
    for column, rows in enumerate(([0, 1], [2, 5, 9], [1, 2, 3, 4])):
        short[rows, column] = rng.uniform(0.5, 1, len(rows))
    space = (short + noise * rng.standard_normal(short.shape)) @ rng.standard_normal((3, 3))
    found = [set(np.flatnonzero(np.abs(v) > 0.02 * np.abs(v).max())) for v in sparse_vectors(space, np.eye(3), 0.02)]
    assert {0, 1} in found[:2] and {2, 5, 9} in found[:3]


def test_terms_are_left_out_while_the_rest_passes():
    needed = {2, 5}

    def fit(support):
        return np.ones(len(support)) if needed <= set(support) else None

    assert set(shortest(np.arange(8), fit)[0]) == needed
    assert shortest(np.array([2, 3]), fit) is None


def test_fractions_are_the_simplest_that_the_data_allow():
    assert simplest_between(3.14, 3.15) == simplest_between(22 / 7, 22 / 7 + 1e-9)
    assert str(rational(-0.5003, 2e-4)) == "-1/2" and rational(0.5003, 5e-5) is None
    assert rational(0.38, 0.2) is None, "what is not known to a few digits is not rounded"
    # Random numbers are seldom taken for fractions.
    draws = np.random.default_rng(0).uniform(0.1, 1, 400)
    assert sum(rational(value, 1e-4) is not None for value in draws) < 0.35 * 400
    with pytest.raises(ValueError, match="low 2"):
        simplest_between(2, 1)
    assert printed(0.0, 1e-3) == "0"


def test_formulas_are_scaled_to_look_like_energies():
    scaled, largest = normalised(np.array([0.0, 0.0, -2.0, 0.0, -4.0]), DICTIONARY)
    assert scaled.tolist() == [0.0, 0.0, 0.5, 0.0, 1.0] and largest == 4
    assert normalised(np.array([-2.0, 1.0, 0.0, 0.0, 0.0]), DICTIONARY)[0].tolist()[:2] == [1.0, -0.5]
