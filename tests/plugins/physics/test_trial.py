"""Terms exchanged, judged on trajectories left out, and judged beyond the noise of known laws."""

import numpy as np
import pytest

from ndm_apps.plugins.physics.assessment import assess
from ndm_apps.plugins.physics.background import background
from ndm_apps.plugins.physics.crossed import crossed
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, polynomials
from ndm_apps.plugins.physics.leaf import evaluate, problem
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.plugins.physics.swap import improved, information
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
    behind = background(data.values, data.starts, [known], sigma, noisy=True)
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
    behind = background(values, np.array([0, 25]), [formula], np.ones(3), noisy=False)
    gradient = rng.standard_normal((50, 3))
    rest, squared = behind.removed(np.zeros(50), gradient)
    np.testing.assert_allclose(squared, (gradient[:, 1:] ** 2).sum(axis=1), rtol=1e-6)
    mean = np.repeat([values[:25, 0].mean(), values[25:, 0].mean()], 25)
    np.testing.assert_allclose(rest, -gradient[:, 0] * (values[:, 0] - mean), rtol=1e-6, atol=1e-9)
