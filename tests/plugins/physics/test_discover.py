from functools import cache

import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.discover import find_invariants, split
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import Trajectories, simulate
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import oscillator, system

NAMES = ("harmonic_oscillator", "isotropic_oscillator_2d", "pendulum", "henon_heiles", "damped_oscillator", "lorenz")
FUNCTIONS = {"sin": np.sin, "cos": np.cos}


def discover(data, seed=0, **settings):
    chosen = SpectralSettings(**settings)
    rng = np.random.default_rng([seed, 1])
    return find_invariants(data, split(len(data.values), chosen.held_out, rng), chosen, rng)


@cache
def found_in(name, noise, seed):
    _, task = load_task(f"physics/{name}")
    return task, discover(simulate(task.system, noise, seed), seed)


def value_of(text, columns, values):
    tree = parse_expression(text, columns)
    return tree.evaluate(dict(zip(columns, np.moveaxis(values, -1, 0), strict=True)), FUNCTIONS)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_right_and_the_formulas_hold_on_new_data(name, noise, seed):
    task, found = found_in(name, noise, seed)
    assert len(found.laws) == task.truth.n_conserved and not found.constraints
    fresh = simulate(task.system, 0.0, 100 + seed).values
    for law in found.laws:
        levels = value_of(str(law.expression), task.system.state, fresh)
        drift = levels.std(axis=1).mean() / levels.mean(axis=1).std()
        assert drift < (1e-8 if noise == 0 else 5e-3)
        assert law.assessment.drift < (1e-8 if noise == 0 else 0.06)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_law_of_the_oscillator_is_its_energy(noise):
    _, found = found_in("harmonic_oscillator", noise, 0)
    points = np.random.default_rng(0).normal(size=(100, 2))
    ratio = value_of(str(found.laws[0].expression), ["q", "p"], points) / (points**2).sum(axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9 if noise == 0 else 5e-3)


@pytest.mark.parametrize("name", NAMES[:4])
def test_true_laws_depend_on_those_found(name):
    """Their gradients lie in the span of the gradients of what was found, at points of fresh trajectories."""
    task, found = found_in(name, 0.0, 0)
    columns = task.system.state
    points = simulate(task.system, 0.0, 7).values[:, 50]
    step = 1e-5

    def gradient(text):
        shifts = step * np.eye(len(columns))
        return np.stack(
            [(value_of(text, columns, points + s) - value_of(text, columns, points - s)) / (2 * step) for s in shifts],
            axis=-1,
        )

    known = np.stack([gradient(str(law.expression)) for law in found.laws], axis=-1)
    for text in task.truth.invariants:
        true = gradient(text)[..., None]
        outside = true - known @ (np.linalg.pinv(known, rcond=1e-6) @ true)
        assert np.median(np.linalg.norm(outside, axis=1) / np.linalg.norm(true, axis=1)) < 1e-7


def test_what_is_constant_over_all_data_is_a_constraint_not_a_law():
    circle = system(
        {"c": "-s*w", "s": "c*w", "w": 0}, {"c": (1, 1), "s": (0, 0), "w": (0.5, 2)}, trajectories=40
    )  # fmt: skip
    for noise in (0.0, 0.01):
        found = discover(simulate(circle, noise, 0))
        assert [str(law.expression) for law in found.constraints] == ["c**2 + s**2"]
        assert [str(law.expression) for law in found.laws] == ["w"]


def test_a_column_that_never_changes_is_a_constraint_and_one_that_differs_is_a_law():
    still = system({"q": "p", "p": "-q", "m": 0}, {"q": (-1, 1), "p": (-1, 1), "m": (2, 2)})
    found = discover(simulate(still, 0.0, 0))
    assert found.constant == {"m": 2.0} and [str(law.expression) for law in found.laws] == ["p**2 + q**2"]
    carried = system({"q": "p", "p": "-k*q", "k": 0}, {"q": (-1, 1), "p": (-1, 1), "k": (0.5, 2)})
    found = discover(simulate(carried, 0.0, 0))
    assert {str(law.expression) for law in found.laws} == {"k", "k*q**2 + p**2"} and not found.constant


def test_a_slow_decay_is_not_taken_for_a_law():
    for noise in (0.0, 0.01):
        damped = system({"q": "p", "p": "-q - 0.003*p"}, {"q": (-1, 1), "p": (-1, 1)}, end=20.0, points=400)
        assert discover(simulate(damped, noise, 0)).laws == ()


def test_noise_that_moves_nothing_is_no_law():
    rng = np.random.default_rng(0)
    white = Trajectories(("a", "b"), frozenset(), np.linspace(0, 1, 100), rng.standard_normal((40, 100, 2)))
    found = discover(white)
    assert found.laws == ()
    # Trajectories that stay where they are differ in mean: then both columns are conserved, but one is the limit.
    still = white.values * 0.01 + rng.standard_normal((40, 1, 2))
    assert len(discover(Trajectories(white.state, frozenset(), white.time, still)).laws) >= 1


def test_coefficients_that_are_no_fractions_keep_their_digits_and_their_deviations_are_of_the_right_size():
    quartic = system({"q": "p", "p": "-0.7*q - 0.3137*q**3"}, {"q": (-1.5, 1.5), "p": (-1, 1)}, end=20.0, points=400)
    exact = discover(simulate(quartic, 0.0, 0)).laws[0]
    assert str(exact.expression) == "p**2 + 0.15685*q**4 + 7*q**2/10"
    errors = []
    for seed in range(6):
        law = discover(simulate(quartic, 0.01, seed), seed).laws[0]
        assert set(law.deviations) == {"p**2", "q**2", "q**4"} and law.deviations["p**2"] == 0.0
        fitted = {str(term): float(value) for term, value in law.expression.as_coefficients_dict().items()}
        errors.append((fitted["q**4"] - 0.15685) / law.deviations["q**4"])
    assert 0.3 < np.sqrt(np.mean(np.square(errors))) < 3.0


def test_a_larger_degree_is_searched_only_as_far_as_its_terms_allow():
    data = simulate(oscillator(), 0.0, 0)
    found = discover(data, terms=5)
    assert found.degrees == (1, 2) and len(found.dictionary) == 5 and len(found.laws) == 1
    with pytest.raises(InputError, match=r"methods.spectral.terms: got 1, must be 2 or more"):
        discover(data, terms=1)


def test_splits_are_disjoint_and_refuse_few_trajectories():
    parts = split(60, 0.2, np.random.default_rng(0))
    together = np.concatenate([parts.fitting, parts.choosing, parts.judging])
    assert sorted(together) == list(range(60))
    assert (len(parts.fitting), len(parts.choosing), len(parts.judging)) == (36, 12, 12)
    with pytest.raises(InputError, match="got 5 trajectories, must be 12 or more"):
        split(5, 0.2, np.random.default_rng(0))


def test_judging_trajectories_take_no_part_in_finding():
    data = simulate(oscillator(), 0.01, 0)
    settings = SpectralSettings()
    parts = split(60, 0.2, np.random.default_rng(0))
    spoilt = data.values.copy()
    spoilt[parts.judging[:6]] *= np.exp(-0.05 * data.time)[:, None]  # these lose energy
    found = find_invariants(data, parts, settings, np.random.default_rng(1))
    other = Trajectories(data.state, data.angles, data.time, spoilt)
    refused = find_invariants(other, parts, settings, np.random.default_rng(1))
    assert len(found.laws) == 1 and not found.rejected
    assert refused.laws == () and len(refused.rejected) == 1
    assert refused.rejected[0].expression == found.laws[0].expression
    assert "leaf distance" in refused.rejected[0].failures[0]


def test_nothing_that_moves_is_told():
    still = Trajectories(("a",), frozenset(), np.linspace(0, 1, 30), np.ones((20, 30, 1)))
    with pytest.raises(InputError, match="no column ever changes"):
        discover(still)
