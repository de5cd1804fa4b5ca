from fractions import Fraction

import numpy as np
import pytest

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.canonical import canonical, combined
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, polynomials
from ndm_apps.plugins.physics.forms import name
from ndm_apps.plugins.physics.kinds import Kinds
from ndm_apps.plugins.physics.leaf import evaluate
from ndm_apps.plugins.physics.level import Level
from ndm_apps.plugins.physics.rounding import in_proportion, scaled
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.search import Found
from ndm_apps.plugins.physics.shorten import shortened
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task

from .systems import on_grid

SIGMA = 0.01


def circles(frequencies, *, noise=0.0, trajectories=30, seed=0):
    """Oscillators of some frequencies: columns are all positions, then all velocities."""
    rng = np.random.default_rng(seed)
    time = np.linspace(0, 20, 100)
    phase = rng.uniform(0, 2 * np.pi, (trajectories, 1, len(frequencies)))
    size = rng.uniform(0.5, 1.5, (trajectories, 1, len(frequencies)))
    angle = np.array(frequencies) * time[:, None] + phase
    values = np.concatenate([size * np.sin(angle), np.array(frequencies) * size * np.cos(angle)], axis=-1)
    state = [f"{kind}{n}" for kind in "qp" for n in range(len(frequencies))]
    return on_grid(values + noise * rng.standard_normal(values.shape), time, state)


def level_of(data, noise=0.0):
    spreads = data.values.std(axis=0)
    sigma = np.full(len(spreads), noise) if noise else 1e-6 * spreads
    return Level(sigma, spreads, noise == 0.0, len(data.values), SpectralSettings())


def found(data, coefficients, noise=0.0, terms=None):
    """Return a formula as a search does, from the names of columns in each term."""
    names = list(data.state)
    factors = tuple(tuple(Atom("column", (names.index(c),)) for c in key.split()) for key in coefficients)
    vector = np.array(list(coefficients.values()), dtype=float)
    return Found(Formula(Dictionary(data.state, factors), vector), level_of(data, noise), "each", "poly2", 0.0)


def shape(one):
    return {
        " ".join(one.formula.dictionary.columns[atom.columns[0]] for atom in term): float(value)
        for term, value in zip(one.formula.dictionary.terms, one.formula.coefficients, strict=True)
    }


@pytest.mark.parametrize("noise", [0.0, SIGMA])
def test_mixed_energies_come_apart(noise):
    data = circles([1.0, np.sqrt(2.0)], noise=noise)
    one = {"p0 p0": 1.0, "q0 q0": 1.0, "p1 p1": 0.7, "q1 q1": 1.4}
    other = {"p0 p0": 1.0, "q0 q0": 1.0, "p1 p1": -0.3, "q1 q1": -0.6}
    laws = canonical([found(data, one, noise), found(data, other, noise)], data)
    assert [set(shape(law)) for law in laws] == [{"p0 p0", "q0 q0"}, {"p1 p1", "q1 q1"}]
    second = shape(laws[1])
    assert second["q1 q1"] / second["p1 p1"] == pytest.approx(2.0, rel=1e-6 if noise == 0.0 else 0.02)


def test_differences_are_written_out_where_that_is_simpler():
    data = circles([1.0, 1.0])
    columns = data.state
    p0, p1 = Atom("column", (2,)), Atom("column", (3,))
    terms = ((p0, p0), (p0, p1), (p1, p1), (Atom("difference", (0, 1), 2.0),))
    mixed = Found(
        Formula(Dictionary(columns, terms), np.array([1.0, -2.0, 1.0, 1.0])), level_of(data), "each", "pairP", 0.0
    )
    others = [found(data, {"p1 p1": 1.0, "q1 q1": 1.0}), found(data, {"q0 p1": 1.0, "q1 p0": -1.0})]
    laws = canonical([mixed, *others], data)
    shapes = [set(shape(law)) for law in laws]
    assert {"p0 p0", "q0 q0"} in shapes and {"p1 p1", "q1 q1"} in shapes
    assert all(len(terms) == 2 for terms in shapes)


def sphere():
    """Points that move so that two quadratic forms stay: a free body of moments 1, 2, 3, by short steps."""
    rng = np.random.default_rng(0)
    state = rng.uniform(-2, 2, (30, 3))

    def rate(m):
        x, y, z = m.T
        return np.stack([y * z * (1 / 3 - 1 / 2), z * x * (1 - 1 / 3), x * y * (1 / 2 - 1)], axis=-1)

    rows, step = [], 0.01
    for number in range(1000):
        if number % 10 == 0:
            rows.append(state)
        k1 = rate(state)
        k2 = rate(state + step / 2 * k1)
        k3 = rate(state + step / 2 * k2)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + rate(state + step * k3))
    return on_grid(np.stack(rows, axis=1), np.linspace(0, 10, 100), ["a", "b", "c"])


def test_equal_coefficients_are_simpler_than_one_term_less():
    data = sphere()
    one, other = {"a a": 0.3, "b b": 0.8, "c c": 29 / 30}, {"a a": 1.0, "c c": -1 / 3}
    laws = canonical([found(data, one), found(data, other)], data)
    assert laws[0].ties is not None and laws[1].ties is None
    sizes = np.abs(list(shape(laws[0]).values()))
    assert set(shape(laws[0])) == {"a a", "b b", "c c"} and np.ptp(sizes) < 1e-9 * sizes[0]
    assert len(shape(laws[1])) == 2


def simulated(name):
    _, task = load_task(f"physics/{name}")
    return simulate(task.system.model_copy(update={"trajectories": 15}), 0.0, 1000)


def test_an_energy_is_kinetic_and_potential_whatever_square_of_the_momentum_is_in_it():
    data = simulated("fput")
    pairs = [(data.state.index(f"q{a}"), data.state.index(f"q{b}")) for a, b in ((1, 2), (1, 3), (2, 3))]
    gaps = [(Atom("difference", pair, power),) for power in (2.0, 4.0) for pair in pairs]
    momenta = [Atom("column", (data.state.index(f"p{n}"),)) for n in (1, 2, 3)]
    crossed = [(momenta[0], momenta[1]), (momenta[0], momenta[2]), (momenta[1], momenta[2])]
    less = Formula(Dictionary(data.state, (*crossed, *gaps)), np.repeat([1.0, -0.5, -0.2], 3))
    total = found(data, {"p1": 1.0, "p2": 1.0, "p3": 1.0})
    laws = canonical([total, Found(less, level_of(data), "each", "pairP", 0.0)], data)
    energy = next(law.formula for law in laws if len(law.formula.dictionary) > 3)
    assert set(energy.dictionary.terms) == {*((p, p) for p in momenta), *gaps}
    assert np.abs(energy.coefficients / energy.coefficients[0]).max() == pytest.approx(1.0)


def test_a_sum_of_logarithms_is_a_product():
    rng = np.random.default_rng(0)
    time = np.linspace(0, 5, 60)
    rate, start = rng.uniform(-0.4, 0.4, (2, 30, 1)), rng.uniform(0.5, 2.0, (30, 1))
    x, y = start * np.exp(np.sin(rate[0] + time)), start * np.exp(-np.sin(rate[0] + time) + rate[1])
    data = on_grid(np.stack([x, y], axis=-1), time, ["x", "y"])
    logs = Dictionary(data.state, ((Atom("log", (0,)),), (Atom("log", (1,)),)))
    (law,) = canonical([Found(Formula(logs, np.ones(2)), level_of(data), "each", "log1", 0.0)], data)
    assert shape(law).keys() == {"x y"}


def test_sums_of_laws_that_factor_are_simpler():
    data = simulated("three_body")
    bodies = [(n, m) for n in (1, 2, 3) for m in (1, 2, 3)]
    terms = {(n, m): {f"x{n} vy{m}": 1.0, f"y{n} vx{m}": -1.0} for n, m in bodies}
    own = {key: value for n, m in bodies if n == m for key, value in terms[n, m].items()}
    others = {key: value for n, m in bodies if n != m for key, value in terms[n, m].items()}
    laws = canonical([found(data, own), found(data, others)], data)
    # The angular momentum, and (x1 + x2 + x3)(vy1 + vy2 + vy3) - (y1 + y2 + y3)(vx1 + vx2 + vx3).
    assert [len(law.formula.dictionary) for law in laws] == [6, 18]
    assert laws[1].ties.shape == (18, 1)


def test_equal_coefficients_are_one_number():
    data = circles([1.0, 1.0], noise=SIGMA)
    law = found(data, {"q0 p1": 1.0, "q1 p0": -1.001}, SIGMA)
    assert shortened(law, data).ties.shape == (2, 1)
    data = circles([1.3], noise=SIGMA)
    assert shortened(found(data, {"p0 p0": 1.0, "q0 q0": 1.69}, SIGMA), data).ties is None


def test_what_is_simplest_already_stays():
    data = circles([1.0])
    (law,) = canonical([found(data, {"q0 q0": 1.0, "p0 p0": 1.0})], data)
    assert set(shape(law)) == {"q0 q0", "p0 p0"}


def test_combined_samples_are_those_of_the_combination():
    data = circles([1.0, 2.0], trajectories=4)
    terms = polynomials(data.state, [], 2)
    sigma = np.full(4, SIGMA)
    samples = evaluate(terms, data, sigma, noisy=True)
    ties = np.random.default_rng(0).standard_normal((len(terms), 2))
    vectors = np.array([[1.0], [2.0]])
    assert combined(samples, ties).terms.features @ vectors == pytest.approx(samples.terms.features @ ties @ vectors)
    assert combined(samples, ties).squared_gradient(vectors, sigma) == pytest.approx(
        samples.squared_gradient(ties @ vectors, sigma)
    )


def test_a_term_that_does_nothing_goes_and_one_that_does_stays():
    data = circles([1.3], noise=SIGMA)
    law = found(data, {"p0 p0": 1.0, "q0 q0": 1.69, "q0 p0": 0.001, "q0": 0.001}, SIGMA)
    assert set(shape(shortened(law, data))) == {"p0 p0", "q0 q0"}


def test_nothing_is_left_out_where_terms_hold_two_laws():
    data = circles([1.0, 2.0], noise=SIGMA)
    law = found(data, {"p0 p0": 1.0, "q0 q0": 1.0, "p1 p1": 1.0, "q1 q1": 4.0}, SIGMA)
    assert shortened(law, data) is law


def replicates(values, errors, seed=0):
    return np.array(values) + np.array(errors) * np.random.default_rng(seed).standard_normal((50, len(values)))


def test_a_shared_denominator_counts_once():
    true = np.array([1, 4, 4, 11]) / 11
    many = replicates(true, [4e-4, 4e-4, 4e-4, 1e-9])
    assert in_proportion(many.mean(axis=0), many) == [1, 4, 4, 11]
    # One ratio alone with this denominator is as near by chance.
    assert in_proportion(many.mean(axis=0)[[1, 3]], many[:, [1, 3]]) is None


def test_random_coefficients_are_hardly_ever_rounded():
    rng = np.random.default_rng(1)
    rounded = 0
    for _ in range(200):
        values = np.append(rng.uniform(0.1, 1.0, 2), 1.0)
        rounded += in_proportion(values, replicates(values, [1e-3, 1e-3, 1e-9], int(rng.integers(1 << 30)))) is not None
    # Each of three units is tried, at a chance of one in twenty.
    assert rounded < 200 * 3 * 0.05


def test_scale_is_the_shortest_to_write():
    whole = [Fraction(n) for n in (3, 3, 6, -2)]
    assert scaled(whole, [True, True, False, False]) == [Fraction(1, 2), Fraction(1, 2), 1, Fraction(-1, 3)]
    assert scaled([Fraction(2), Fraction(2)], [False, False]) == [1, 1]


def named(terms, pairs=((0, 2), (1, 3)), columns=("x", "y", "px", "py")):
    factors = tuple(tuple(Atom("column", (columns.index(c),)) for c in key.split()) for key in terms)
    return name(Formula(Dictionary(columns, factors), np.array(list(terms.values()))), Kinds(pairs, (), ()))


def test_names_by_form():
    assert named({"px": 1.0, "py": 2.0}) == "momentum"
    assert named({"x py": 1.0, "y px": -1.0}) == "angular momentum"
    assert named({"x py": 1.0, "y px": 1.0}) is None
    assert named({"x px": 1.0, "y py": 1.0}) is None
    assert named({"px px": 0.5, "py py": 0.5, "x x": 0.5}) == "energy"
    assert named({"px px": 0.5, "x x": 0.5}) == "energy of some coordinates"
    assert named({"px px": 0.5, "py py": -0.5, "x x": 0.5}) is None
    # Quadratic in momenta, but with no square of them alone: a component of the Runge-Lenz vector.
    assert named({"px px y": -1.0, "px py x": 1.0, "y": 1.0}) is None
    assert named({"px px": 0.5, "x x": 0.5}, pairs=()) is None
