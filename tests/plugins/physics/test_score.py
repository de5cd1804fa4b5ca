"""Hand-made findings on systems whose laws are known."""

import numpy as np
import pytest
import sympy

from ndm_apps.plugins.physics.schema import Truth
from ndm_apps.plugins.physics.score import nearest_exact, score, textbook
from ndm_apps.plugins.physics.simulate import simulate
from ndm_apps.tasks import load_task
from tests.plugins.physics.systems import oscillator, system

X, Y, PX, PY = COLUMNS = sympy.symbols("x y px py")
E1, E2, L, F = (PX**2 + X**2) / 2, (PY**2 + Y**2) / 2, X * PY - Y * PX, X * Y + PX * PY


def scored(name, found, deviations=None, measured=()):
    _, task = load_task(f"physics/{name}")
    clean = simulate(task.system.model_copy(update={"trajectories": 20}), 0.0, 1000)
    given = deviations or [{} for _ in found]
    return score(found, given, task.truth, task.system, clean, np.random.default_rng(0), measured)


def test_truths_become_exact_expressions_of_the_columns():
    spring = oscillator(k=0.1, m=2.5)
    truth = Truth(n_conserved=1, invariants=("(p**2 + k*q**2)/2 + 0.25*m - pi + e",))
    p, q = sympy.symbols("p q")
    assert textbook(truth, spring) == [p**2 / 2 + q**2 / 20 + sympy.Rational(5, 8) - sympy.pi + sympy.E]
    names = system({"E": "pi", "pi": "-E"}, {"E": (-1, 1), "pi": (-1, 1)})
    (law,) = textbook(Truth(n_conserved=1, invariants=("E**2 + pi**2 + min(E, 2)",)), names)
    assert law == sympy.Symbol("E") ** 2 + sympy.Symbol("pi") ** 2 + sympy.Min(sympy.Symbol("E"), 2)


def test_the_textbook_formulas_score_full():
    values = scored("isotropic_oscillator_2d", [2 * E1 + 1, -E2, L])
    assert (values["spanned"], values["spurious"], values["textbook"], values["combinations"]) == (1.0, 0, 1.0, 1.0)
    assert values["worst_sine"] < 1e-12 and max(values["sines"]) < 1e-12
    assert scored("isotropic_oscillator_2d", [E1, E2, F])["textbook"] == 1.0, "another form that textbooks use"


def test_other_choices_of_the_same_laws_span_them_all():
    values = scored("isotropic_oscillator_2d", [sympy.expand(E1 + E2), sympy.expand(E1 - E2), sympy.expand(L**2 + E1)])
    assert (values["spanned"], values["spurious"]) == (1.0, 0)
    assert (values["textbook"], values["combinations"]) == (0.0, 1.0)
    values = scored("isotropic_oscillator_2d", [sympy.sqrt(E1 + 1), E2, L / (1 + E2)])
    assert (values["spanned"], values["textbook"], values["combinations"]) == (1.0, 1 / 3, 1 / 3)


def test_what_is_missing_counts():
    values = scored("isotropic_oscillator_2d", [sympy.expand(E1 + E2), L])
    assert values["spanned"] == pytest.approx(2 / 3) and values["worst_sine"] > 0.3
    assert (values["textbook"], values["combinations"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    values = scored("isotropic_oscillator_2d", [])
    assert (values["spanned"], values["worst_sine"], values["spurious"], values["textbook"]) == (0.0, 1.0, 0, 0.0)


def test_what_is_no_law_or_depends_on_others_is_spurious():
    values = scored("isotropic_oscillator_2d", [E1, sympy.expand(E1**2), X * PX, E2, L, F])
    assert values["spurious"] == 3 and values["spanned"] == 1.0
    assert np.flatnonzero(np.array(values["sines"]) > 0.1).tolist() == [2]
    values = scored("damped_oscillator", [sympy.Symbol("q") ** 2 + sympy.Symbol("p") ** 2])
    assert (values["spanned"], values["worst_sine"], values["textbook"]) == (None, None, None)
    assert values["spurious"] == 1


def test_slips_of_the_coefficients_span_but_do_not_equal():
    near = sympy.expand((PX**2 + sympy.Float("1.01") * X**2) / 2)
    values = scored("isotropic_oscillator_2d", [near, E2, L])
    assert (values["spanned"], values["textbook"]) == (1.0, pytest.approx(2 / 3))
    assert 1e-3 < values["worst_sine"] < 0.03
    off = sympy.expand((PX**2 + sympy.Rational(5, 4) * X**2) / 2)
    values = scored("isotropic_oscillator_2d", [off, E2, L])
    assert (values["spanned"], values["spurious"]) == (pytest.approx(2 / 3), 1)


def test_decimals_are_not_exact_even_where_they_look_so():
    q, p = sympy.symbols("q p")
    assert scored("harmonic_oscillator", [p**2 + sympy.Float("1.00") * q**2])["textbook"] == 0.0
    assert scored("harmonic_oscillator", [p**2 + q**2])["textbook"] == 1.0


def test_coefficients_are_compared_with_the_nearest_exact_formula():
    found = [sympy.Float("0.991") * X**2 + PX**2, PY**2 + sympy.Float("1.005") * Y**2, L]
    deviations = [{"x**2": 0.004, "px**2": 0.0}, {"y**2": 0.003, "py**2": 0.0}, {"py*x": 0.0, "px*y": 0.01}]
    values = scored("isotropic_oscillator_2d", found, deviations)["coefficients"]
    # The largest coefficient sets the scale: 1 of the first and third, 1.005 of the second.
    assert (values["compared"], values["without_exact_form"]) == (3, 0)
    assert values["worst_error"] == pytest.approx(0.009)
    assert (values["within_1_percent"], values["within_2_sd"]) == (3, 1)
    wider = [{**one, "x**2": 0.006} for one in deviations]
    assert scored("isotropic_oscillator_2d", found, wider)["coefficients"]["within_2_sd"] == 2


def test_what_errors_are_worth_the_coefficients_before_rounding_tell():
    found = [PX**2 / 2 + X**2 / 2, PY**2 + Y**2, sympy.expand(sympy.sqrt(2) * L)]
    deviations = [{"x**2": 0.004, "px**2": 0.0}, {"y**2": 0.003, "py**2": 0.0}, {"py*x": 0.0, "px*y": 0.01}]
    measured = [{"x**2": 0.491, "px**2": 0.5}, {"y**2": 1.005, "py**2": 1.0}, {"py*x": 1.41, "px*y": -1.42}]
    values = scored("isotropic_oscillator_2d", found, deviations, measured)["coefficients"]
    assert (values["within_2_sd"], values["compared"]) == (3, 3), "rounded, all are exact"
    assert (values["measured"], values["measured_within_2_sd"]) == (3, 2)
    equal = [{"x**2": 1.01, "px**2": 1.0, "y**2": 1.01, "py**2": 1.0}]
    spread = [{"x**2": 0.01, "px**2": 0.0, "y**2": 0.01, "py**2": 0.0}]
    values = scored("isotropic_oscillator_2d", [sympy.expand(E1 + E2)], spread, equal)["coefficients"]
    assert values["measured"] == 1, "equal coefficients are one number"


def test_the_error_of_a_superfluous_term_is_relative_to_the_largest_coefficient():
    found = [PX**2 + X**2 + sympy.Float("0.004") * X * PY, E2, L]
    deviations = [{"x**2": 0.01, "py*x": 0.003}, {}, {}]
    values = scored("isotropic_oscillator_2d", found, deviations)["coefficients"]
    assert values["worst_error"] == pytest.approx(0.004) and values["within_2_sd"] == values["compared"] == 4


def test_a_formula_without_an_exact_form_is_told():
    values = scored("isotropic_oscillator_2d", [PX**2 + X * Y, E2, L])["coefficients"]
    assert values["without_exact_form"] == 1 and values["compared"] == 2


def test_where_several_exact_formulas_have_the_terms_the_nearest_counts():
    _, task = load_task("physics/isotropic_oscillator_2d")
    clean = simulate(task.system.model_copy(update={"trajectories": 20}), 0.0, 1000)
    terms = [PX**2, X**2, PY**2, Y**2]
    given = np.array([1.0, 0.98, 0.7, 0.6])
    exact = nearest_exact(terms, given, np.array([0.0, 0.01, 0.01, 0.01]), COLUMNS, clean)
    np.testing.assert_allclose(exact, [1.0, 1.0, 0.65, 0.65], rtol=1e-9)
    exact = nearest_exact(terms, given, np.array([0.0, 0.01, 0.01, 0.03]), COLUMNS, clean)
    np.testing.assert_allclose(exact, [1.0, 1.0, 0.69, 0.69], rtol=1e-9)
    assert nearest_exact([X * PX, Y], np.array([1.0, 0.5]), np.zeros(2), COLUMNS, clean) is None


def test_laws_of_every_kind_of_function():
    for name in ("kepler", "double_pendulum", "lotka_volterra", "toda", "calogero_moser"):
        _, task = load_task(f"physics/{name}")
        laws = textbook(task.truth, task.system)[: task.truth.n_conserved]
        values = scored(name, [sympy.expand(law, trig=True) for law in laws])
        assert (values["spanned"], values["spurious"], values["textbook"]) == (1.0, 0, 1.0), name
        assert values["coefficients"]["worst_error"] < 1e-8
        assert values["coefficients"]["without_exact_form"] == 0
