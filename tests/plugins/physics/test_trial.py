"""Terms exchanged, judged on trajectories left out, and judged beyond the noise of known laws."""

from dataclasses import replace

import numpy as np
import pytest

from ndm_apps.plugins.physics.assessment import Assessment, assess
from ndm_apps.plugins.physics.atoms import own_expression
from ndm_apps.plugins.physics.background import background
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, polynomials
from ndm_apps.plugins.physics.leaf import evaluate, problem
from ndm_apps.plugins.physics.level import APART, SEPARATED, Level
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.plugins.physics.swap import improved, information
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.plugins.physics.trial import CURVED, curvature
from tests.plugins.physics.systems import oscillator, system

NOISE = 0.02


@pytest.fixture(scope="module")
def plane():
    """Equal springs in two directions: energies E1, E2 and the angular momentum."""
    wide = (-1.5, 1.5)
    both = system(
        {"x": "p", "y": "r", "p": "-x", "r": "-y"}, {"x": wide, "y": wide, "p": wide, "r": wide}, trajectories=40
    )  # fmt: skip
    data = simulate(both, NOISE, 1000)
    return data, NOISE * data.values.std(axis=0)


def terms(*names):
    dictionary = polynomials(["x", "y", "p", "r"], [], 4)
    names_of = ["".join("xypr"[atom.columns[0]] for atom in term) for term in dictionary.terms]
    return np.array([names_of.index(name) for name in names]), dictionary


def test_exchanging_terms_finds_the_law_from_wrong_ones():
    data = simulate(oscillator(), NOISE, 1000)
    dictionary = polynomials(["q", "p"], [], 4)
    samples = evaluate(dictionary, data, NOISE * data.values.std(axis=0), noisy=True)
    whole = problem(samples, NOISE * data.values.std(axis=0), np.ones(samples.size), "each", exact=False)
    energy = [n for n, term in enumerate(dictionary.terms) if len(term) == 2 and term[0] == term[1]]
    for start in ([energy[0]], [0, energy[1]], [*energy, 6, 8], [3, 7, energy[0]]):
        assert improved(np.array(start), whole, samples.size).tolist() == energy
    assert information(1.0, 2, 100) < information(1.0, 3, 100) < information(1.2, 2, 100)


def test_a_fit_is_judged_on_what_it_did_not_see(plane):
    data, sigma = plane
    support, dictionary = terms("xx", "pp")
    samples = evaluate(dictionary.of(support), data, sigma, noisy=True)
    law = crossed(samples, np.array([1.0, 1.0]), sigma, "each", exact=False)
    assert law.distance == pytest.approx(1.0, abs=0.1) and law.autocorrelation < 0.06 and law.separation > 50
    assert law.samples == len(data.values)
    # With as many terms as there are, a fit to few trajectories is no good on others.
    few = evaluate(dictionary, data.take(np.arange(3)), sigma, noisy=True)
    vector = problem(few, sigma, np.ones(few.size), "each").solve()[1][:, 0]
    assert crossed(few, vector, sigma, "each").distance > 2.0


def test_a_copy_of_a_known_law_with_a_little_more_varies_beyond_it(plane):
    data, sigma = plane
    support, dictionary = terms("xx", "pp")
    known = Formula(dictionary.of(support), np.array([1.0, 1.0]))
    behind = background(evaluate(dictionary, data, sigma, noisy=True), [known], sigma, noisy=True)
    # E1**2 + a little of x*y, which is not conserved, hides in the noise of E1**2 ...
    copy, dictionary = terms("xxxx", "xxpp", "pppp", "xy")
    samples = evaluate(dictionary.of(copy), data, sigma, noisy=True)
    vector = np.array([1.0, 2.0, 1.0, 0.02])
    hidden = assess(samples, vector, sigma, "each", behind)
    assert hidden.distance < 1.2 and hidden.beyond > 10
    # ... but a law of its own does not.
    second, dictionary = terms("xr", "yp")
    samples = evaluate(dictionary.of(second), data, sigma, noisy=True)
    momentum = assess(samples, np.array([1.0, -1.0]), sigma, "each", behind)
    assert momentum.distance == pytest.approx(1.0, abs=0.1) and momentum.beyond == pytest.approx(1.0, abs=0.15)


def test_what_is_removed_is_the_part_along_known_gradients():
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (50, 3))
    formula = Formula(Dictionary(("a", "b", "c"), polynomials(["a", "b", "c"], [], 1).terms[:1]), np.array([2.0]))
    data = Trajectories(("a", "b", "c"), frozenset(), np.tile(np.arange(25.0), 2), values, np.array([0, 25]))
    samples = evaluate(formula.dictionary, data, np.ones(3), noisy=False)
    behind = background(samples, [formula], np.ones(3), noisy=False)
    gradient = rng.standard_normal((50, 3))
    rest, squared = behind.removed(np.zeros(50), gradient)
    np.testing.assert_allclose(squared, (gradient[:, 1:] ** 2).sum(axis=1), rtol=1e-6)
    mean = np.repeat([values[:25, 0].mean(), values[25:, 0].mean()], 25)
    np.testing.assert_allclose(rest, -gradient[:, 0] * (values[:, 0] - mean), rtol=1e-6, atol=1e-9)


def test_near_a_zero_of_its_gradient_noise_changes_a_function_by_its_curvature():
    values = 0.05 * np.random.default_rng(0).standard_normal((300, 1))
    line, cube = (polynomials(["a"], [], 3).of(np.array([n])) for n in (0, 2))
    assert curvature(line, np.ones(1), values, np.full(1, 0.05)) == 0.0
    assert curvature(cube, np.ones(1), values, np.full(1, 0.05)) > CURVED
    assert curvature(cube, np.ones(1), values + 1.0, np.full(1, 0.05)) < CURVED


def test_where_more_candidates_are_tried_leaves_must_lie_farther_apart():
    spreads = np.ones(2)
    few, many = (Level(0.05 * spreads, spreads, False, 5000, SpectralSettings(), tried) for tried in (1, 10**5))
    limit = few.distance_limit(500, 5, 1000)
    assert limit == many.distance_limit(500, 5, 1000)
    law = Assessment(1.0, 0.0, 1.0, 1.0, 0.0, 100.0, 10.0, 0.1, 500)
    assert SEPARATED <= few.least_separation(law, limit) < many.least_separation(law, limit)
    # Where noise is thought too large, no more can hide than is seen.
    assert many.least_separation(replace(law, distance=0.01), limit) == SEPARATED
    # Of 100000 candidates that vary along leaves by what is allowed for, chance lets next to none pass.
    rng = np.random.default_rng(0)
    noise = 1.0 + 3.0 / np.sqrt(5000) * rng.standard_normal(10**5)
    hidden = many.least_separation(law, limit) / APART
    assert np.mean((1.0 + hidden) * rng.chisquare(500, 10**5) / 500 / noise < limit) < 1e-4


def test_a_few_samples_of_large_noise_do_not_hide_how_trajectories_differ():
    """Of 1/r, samples near 0 vary so much that means of trajectories by themselves would tell nothing."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.uniform(1, 2, 40), 50)[:, None] + 0.01 * rng.standard_normal((2000, 1))
    values[::97] = 0.02 + 0.01 * rng.standard_normal((len(values[::97]), 1))
    law = Dictionary(("a",), ((own_expression("1/a", ["a"]),),))
    data = Trajectories(("a",), frozenset(), np.tile(np.arange(50.0), 40), values, 50 * np.arange(40))
    samples = evaluate(law, data, np.full(1, 0.001), noisy=False)
    assert assess(samples, np.ones(1), np.full(1, 0.001)).f_statistic > 10
