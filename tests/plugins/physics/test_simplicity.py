import numpy as np
import pytest

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.leaf import Problem
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.products import monomial, products
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simplicity import cost, equal_sizes, fewest_sizes, is_square, symbols, ties
from ndm_apps.plugins.physics.special_vectors import determined, of_one_size

COLUMNS = ("q1", "q2", "p1", "p2")
EXACT = Level(np.ones(4), np.ones(4), True, 1000, SpectralSettings())
NOISY = Level(np.ones(4), np.ones(4), False, 1000, SpectralSettings())
PAIRED = Kinds(((0, 2), (1, 3)), (), ())
GAP = Atom("difference", (0, 1), 2.0)


def dictionary(*terms):
    factors = [
        tuple(Atom("column", (COLUMNS.index(c),)) for c in term.split()) if isinstance(term, str) else term
        for term in terms
    ]
    return Dictionary(COLUMNS, tuple(factors))


def length(terms, values):
    return symbols(dictionary(*terms).terms, np.array(values, dtype=float))


def test_sums_in_products_are_collected():
    assert length(["q1 p1", "q1 p2", "q2 p1", "q2 p2"], [1, 1, 1, 1]) == 4  # (q1 + q2)(p1 + p2)
    assert length(["q1 p1", "q1 p2", "q2 p1", "q2 p2"], [1, -1, -1, 1]) == 4  # (q1 - q2)(p1 - p2)
    assert length(["q1 p1", "q1 p2", "q2 p1", "q2 p2"], [1, 1, 1, -1]) == 8
    assert length(["q1 q1", "q1 q2", "q2 q2"], [1, -2, 1]) == 3  # (q1 - q2)^2
    assert length([(GAP,)], [1]) == 3
    assert length(["q1", "q1 p1 p2"], [1, 1]) == 4
    assert length(["q1 p1", "q2 p2"], [1, 0]) == 2


def test_squares_are_those_of_columns_and_differences():
    terms = dictionary("q1 q1", "q1 p1", (GAP,), "q1").terms
    assert [is_square(term) for term in terms] == [True, False, True, False]


def test_sizes_are_equal_where_likelihood_does_not_tell_them_apart():
    vector = np.array([1.0, 2.0, -2.0 * (1 + 1e-7)])
    assert equal_sizes(vector, None, EXACT, 1000).tolist() == [0, 1, 1]
    assert equal_sizes(vector * [1, 1, 1.001], None, EXACT, 1000).tolist() == [0, 1, 2]
    assert ties(vector, np.array([0, 1, 1])).tolist() == [[1, 0], [0, 1], [0, -1]]


@pytest.mark.parametrize(("apart", "expected"), [(0.01, [0, 1, 1]), (0.3, [0, 1, 2])])
def test_in_noise_the_criterion_decides(apart, expected):
    # lambda = 1 at the best vector; another loses as the square of its distance in units of 0.02.
    best = np.array([1.0, 2.0, 2.0 + apart])
    best /= np.linalg.norm(best)
    across = np.linalg.svd(best[None])[2][1:]
    samples = 1000
    root = np.concatenate([across * np.sqrt(1.0 + 1.0 / (samples * 0.02**2)), best[None]])
    assert equal_sizes(best, Problem(root, np.eye(3)), NOISY, samples).tolist() == expected


def test_halves_of_squares_count_as_equal_to_others():
    terms = dictionary("p1 p1", "p2 p2", "q1")
    unit, groups = fewest_sizes(terms, np.array([0.5, 0.5, -1.0]), None, EXACT, 1000)
    assert unit.tolist() == [0.5, 0.5, 1.0] and groups.tolist() == [0, 0, 0]
    assert fewest_sizes(terms, np.array([1.0, 1.0, -1.0]), None, EXACT, 1000)[1].max() == 0


def test_an_energy_is_simpler_than_without_the_square_of_the_momentum():
    def bits(terms, values):
        return cost(dictionary(*terms), np.array(values), None, EXACT, 1000, 5, PAIRED)

    # p1 p2 - (q1 - q2)^2 / 2 is shorter, but half the square of the momentum less the energy.
    assert bits(["p1 p1", "p2 p2", (GAP,)], [0.5, 0.5, 0.5]) < bits(["p1 p2", (GAP,)], [1.0, -0.5])
    assert bits(["p1 p1", "p2 p2", "q1 q1"], [0.5, 0.5, 0.5]) < bits(["p1 p1", "p2 p2", "q1 q1"], [0.5, 0.5, 0.7])
    assert bits(["q1 p2", "q2 p1"], [1, -1]) < bits(["q1 q2", "p1 p2"], [1, 1]), "an angular momentum has a known form"


def test_products_of_laws_are_written_in_their_terms():
    momentum = Formula(dictionary("p1", "p2"), np.array([1.0, 1.0]))
    energy = Formula(dictionary("p1 p1", (GAP,)), np.array([0.5, 0.5]))
    (square,) = products([momentum, energy])
    assert set(square.dictionary.terms) == set(dictionary("p1 p1", "p1 p2", "p2 p2").terms)
    assert sorted(square.coefficients) == [1.0, 1.0, 2.0]
    assert list(products([momentum])) == [], "of no higher degree than the laws"


def test_only_sums_of_logarithms_are_products():
    logs = Dictionary(COLUMNS, ((Atom("log", (0,)),), (Atom("log", (1,)),)))
    assert len(monomial(Formula(logs, np.array([0.5, 1.0]))).dictionary.terms[0]) == 3
    assert monomial(Formula(logs, np.array([1.0, -1.0]))) is None
    assert monomial(Formula(logs, np.array([1.0, 1.4]))) is None
    assert monomial(Formula(dictionary("q1"), np.ones(1))) is None


def test_special_vectors_of_a_plane():
    space = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    vectors = [(row / np.abs(row).max(), tied) for rows, tied in determined(space, space, np.ones(4)) for row in rows]
    plain = {tuple(np.round(np.abs(row), 6)) for row, tied in vectors if not tied}
    assert (1.0, 1.0, 0.0, 0.0) in plain and (0.0, 0.5, 0.5, 1.0) in plain and (0.5, 0.0, 0.5, 1.0) in plain
    tied = np.array([row for row, tied in vectors if tied])
    assert (np.abs(tied @ np.linalg.svd(space)[0][:, 2:]) < 1e-9).all(), "all lie in the space"
    assert of_one_size(np.array([[1.0, -1.0, 0.0], [1.0, 0.5, 0.2]]), np.ones(3), 1e-6)[0].tolist() == [1.0, -1.0, 0.0]
    assert len(of_one_size(np.array([[1.0, 0.5, 0.2]]), np.ones(3), 1e-6)) == 0
