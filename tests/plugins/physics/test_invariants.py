from functools import cache

import numpy as np
import pytest

from ndm_apps.errors import InputError
from ndm_apps.expression import parse_expression
from ndm_apps.plugins.physics.invariants import find_invariants, split
from ndm_apps.plugins.physics.schema import SpectralSettings
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.plugins.physics.trajectories import Trajectories
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import grid, on_grid, oscillator, system

NAMES = ("harmonic_oscillator", "isotropic_oscillator_2d", "pendulum", "henon_heiles", "damped_oscillator", "lorenz")
FUNCTIONS = {"sin": np.sin, "cos": np.cos}


def discover(data, seed=0, **settings):
    return find_invariants(data, SpectralSettings(**settings), np.random.default_rng([seed, 1]))


@cache
def found_in(name, noise, seed):
    _, task = load_task(f"physics/{name}")
    return task, discover(simulate(task.system, noise, seed), seed)


def value_of(text, columns, values, **parameters):
    tree = parse_expression(text, [*columns, *parameters])
    return tree.evaluate({**parameters, **dict(zip(columns, np.moveaxis(values, -1, 0), strict=True))}, FUNCTIONS)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_right_and_the_formulas_hold_on_new_data(name, noise, seed):
    task, found = found_in(name, noise, seed)
    assert len(found.laws) == task.truth.n_conserved and not found.constraints
    _, fresh = grid(simulate(task.system, 0.0, 100 + seed))
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
    points = grid(simulate(task.system, 0.0, 7))[1][:, 50]
    step = 1e-5

    def value(text, values):
        return value_of(text, columns, values, **task.system.parameters)

    def gradient(text):
        shifts = step * np.eye(len(columns))
        return np.stack(
            [(value(text, points + s) - value(text, points - s)) / (2 * step) for s in shifts],
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
    white = rng.standard_normal((40, 100, 2))
    assert discover(on_grid(white)).laws == ()
    # Trajectories that stay where they are differ in mean: then both columns are conserved, but one is the limit.
    still = white * 0.01 + rng.standard_normal((40, 1, 2))
    assert len(discover(on_grid(still)).laws) >= 1


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


def test_a_dictionary_is_searched_only_if_its_terms_are_few_enough():
    data = simulate(oscillator(), 0.0, 0)
    found = discover(data, terms=5)
    assert [tier.name for tier in found.tiers] == ["poly1", "poly2"] and len(found.laws) == 1
    with pytest.raises(InputError, match=r"methods.spectral.terms: got 1, must be 2 or more"):
        discover(data, terms=1)


def test_splits_are_disjoint_and_few_trajectories_are_not_split():
    parts = split(60, 0.2, np.random.default_rng(0))
    together = np.concatenate([parts.fitting, parts.choosing, parts.judging])
    assert sorted(together) == list(range(60))
    assert (len(parts.fitting), len(parts.choosing), len(parts.judging)) == (36, 12, 12)
    few = split(5, 0.2, np.random.default_rng(0))
    assert few.fitting.tolist() == few.judges.tolist() == [0, 1, 2, 3, 4] and len(few.judging) == 0


def test_judging_trajectories_take_no_part_in_finding():
    data = simulate(oscillator(), 0.01, 0)
    parts = discover(data).parts
    time, spoilt = grid(data)
    spoilt = spoilt.copy()
    spoilt[parts.judging[:6]] *= np.exp(-0.05 * time)[:, None]  # these lose energy
    found, refused = discover(data), discover(on_grid(spoilt, time, data.state))
    assert len(found.laws) == 1 and not found.rejected
    assert refused.laws == () and len(refused.rejected) == 1
    np.testing.assert_allclose(refused.rejected[0].formula.coefficients, found.laws[0].formula.coefficients, rtol=0.01)
    assert "leaf distance" in refused.rejected[0].failures[0]


def test_one_trajectory_cannot_tell_laws_from_constants():
    data = simulate(oscillator(), 0.01, 0).take(np.array([0]))
    found = discover(data)
    assert found.laws == () and "one trajectory" in found.notes[0]


def test_time_that_is_up_is_told():
    found = discover(simulate(oscillator(), 0.01, 0), seconds=1e-6)
    assert found.laws == () and "Time was up" in found.notes[0]


def test_nothing_that_moves_is_told():
    with pytest.raises(InputError, match="no column ever changes"):
        discover(on_grid(np.ones((20, 30, 1))))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_special_functions_are_found_where_they_belong(noise):
    expected = {"lotka_volterra": ["log"], "toda": ["exp"], "kepler": ["sqrt"]}
    for name, functions in expected.items():
        task, found = found_in(name, noise, 1000)
        assert len(found.laws) == task.truth.n_conserved
        text = " ".join(str(law.expression) for law in found.laws)
        assert all(function in text for function in functions)


def test_trajectories_of_any_length_at_any_times():
    data = simulate(oscillator(), 0.01, 1000)
    rng = np.random.default_rng(1)
    kept = np.sort(rng.choice(len(data.values), len(data.values) // 2, replace=False))
    owner = np.repeat(np.arange(60), 200)[kept]
    ragged = Trajectories(
        data.state, data.angles, data.time[kept], data.values[kept], np.searchsorted(owner, np.arange(60))
    )  # fmt: skip
    found = discover(ragged)
    assert len(set(ragged.lengths.tolist())) > 5
    assert [str(law.expression) for law in found.laws] == ["p**2 + q**2"]
    assert found.noise["q"] == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize("many", [4, 10])
def test_few_trajectories_are_judged_by_leaving_each_out(many):
    short = oscillator(points=50)
    data = simulate(short, 0.01, 1000).take(np.arange(many))
    found = discover(data)
    assert [str(law.expression) for law in found.laws] == ["p**2 + q**2"] and len(found.parts.judging) == 0
    assert f"{many} trajectories only" in found.notes[0]
    damped = system({"q": "p", "p": "-q - 0.2*p"}, {"q": (-2, 2), "p": (-2, 2)}, points=50)
    assert discover(simulate(damped, 0.01, 1000).take(np.arange(many))).laws == ()


def test_what_grows_at_a_constant_rate_is_told_apart():
    free = system(
        {"x": "p", "y": "r", "p": "-y*0", "r": "-y"}, {"x": (-1, 1), "y": (-1, 1), "p": (-1, 1), "r": (-1, 1)}
    )
    for noise in (0.0, 0.01):
        found = discover(simulate(free, noise, 1000), rates=True, degree=2, special=False)
        assert {str(law.expression) for law in found.laws} == {"p", "r**2 + y**2"}
        assert [str(law.expression) for law in found.growing] == ["x"]
    assert discover(simulate(free, 0.0, 1000), degree=2, special=False).growing == ()


def test_exact_laws_prove_that_coarse_samples_have_no_noise():
    _, task = load_task("physics/henon_heiles")
    coarse = task.system.model_copy(update={"time": task.system.time.model_copy(update={"points": 60})})
    found = discover(simulate(coarse, 0.0, 1000))
    assert len(found.laws) == 1 and max(found.noise.values()) < 2e-6


def test_columns_and_expressions_of_the_user():
    well = system({"q": "p", "p": "2*q/(1 + q**2)**2"}, {"q": (-1.5, 1.5), "p": (-1, 1)}, trajectories=30)
    found = discover(simulate(well, 0.0, 1000), expressions=("1/(1 + q**2)",), degree=2)
    assert [str(law.expression) for law in found.laws] == ["p**2/2 + 1/(q**2 + 1)"]
    assert discover(simulate(well, 0.0, 1000), degree=2).laws == ()


def test_an_expression_that_overflows_is_left_out():
    data = simulate(oscillator(trajectories=20), 0.0, 1000)
    found = discover(data, expressions=(f"exp(300*exp({data.state[0]}))",), degree=2)
    assert len(found.laws) == 1 and "user" not in [tier.name for tier in found.tiers]


def test_units_may_forbid_functions():
    _, task = load_task("physics/lotka_volterra")
    data = simulate(task.system, 0.0, 1000)
    rng = np.random.default_rng(0)
    forbidden = find_invariants(data, SpectralSettings(), rng, allowed=lambda function, columns: function != "log")
    assert forbidden.laws == ()
    known = find_invariants(data, SpectralSettings(), rng, known_noise={data.state[0]: 0.5})
    assert known.noise[data.state[1]] < 1e-6
