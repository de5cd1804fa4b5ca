import numpy as np
import pytest
import sympy
import torch

from ndm_apps.plugins.physics.atoms import Atom
from ndm_apps.plugins.physics.dictionary import Dictionary, Formula, polynomials, products
from ndm_apps.plugins.physics.formula import expression, term

POINTS = np.random.default_rng(0).uniform(-2, 2, (4, 5, 3))


ATOMS = [
    Atom("column", (0,)), Atom("sin", (1,)), Atom("cos", (1,)), Atom("log", (2,)), Atom("exp", (0, 2), 0.7),
    Atom("difference", (2, 0), -2.0), Atom("difference", (1, 0), 3.0), Atom("distance", (0, 1), -1.0),
    Atom("distance", (0, 1, 2, 3), -1.5, softening=0.1, pair=True), Atom("log_distance", (0, 1)),
    Atom("expression", (0, 3), text="1/(1 + a**2*d)", names=("a", "b", "c", "d")),
]  # fmt: skip


def in_torch(atom, x):
    """The atoms written in torch, differentiated by it."""
    own = [x[n] for n in atom.columns]
    if atom.kind == "expression":
        return 1 / (1 + own[0] ** 2 * own[1])
    if atom.kind in ("exp", "difference"):
        gap = own[0] - own[1]
        return torch.exp(atom.power * gap) if atom.kind == "exp" else gap**atom.power
    if "distance" in atom.kind:
        half = len(own) // 2
        arms = [a - b for a, b in zip(own[:half], own[half:], strict=True)] if atom.pair else own
        square = sum(arm**2 for arm in arms) + atom.softening
        return square ** (atom.power / 2) if atom.kind == "distance" else torch.log(square) / 2
    return own[0] if atom.kind == "column" else getattr(torch, atom.kind)(own[0])


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_features_slopes_and_bias_agree_with_autograd(degree):
    dictionary = Dictionary(("a", "b", "c", "d"), tuple(products(ATOMS, degree, special=degree)))
    points = np.random.default_rng(0).uniform(0.5, 2, (3, 4))
    sigma = np.array([0.1, 0.2, 0.05, 0.3])
    plain, corrected = dictionary.evaluate(points), dictionary.evaluate(points, sigma)
    jacobian = dictionary.jacobian(points)

    def features(x):
        values = {atom: in_torch(atom, x) for atom in ATOMS}
        return torch.stack([torch.stack([values[atom] for atom in term]).prod() for term in dictionary.terms])

    point = torch.as_tensor(points[1])
    np.testing.assert_allclose(plain.features[1], features(point).numpy(), rtol=1e-12)
    slopes = torch.autograd.functional.jacobian(features, point, vectorize=True)
    # A user's expression is differentiated by differences.
    np.testing.assert_allclose(jacobian[1], slopes.numpy(), rtol=1e-5, atol=1e-6)
    if degree < 3:
        bends = torch.autograd.functional.jacobian(
            lambda x: torch.autograd.functional.jacobian(features, x, vectorize=True, create_graph=True), point
        )
        bias = 0.5 * (torch.diagonal(bends, dim1=1, dim2=2).numpy() * sigma**2).sum(axis=1)
        np.testing.assert_allclose(plain.features[1] - corrected.features[1], bias, rtol=1e-4, atol=1e-6)


def test_samples_near_poles_are_not_valid():
    sigma = np.full(4, 0.1)
    points = np.array([[1.0, 2, 3, 4], [1, 2, 0.2, 4], [1, 2, 1.1, 4], [0.1, 0.1, 3, 4]])
    good = Dictionary(("a", "b", "c", "d"), tuple((atom,) for atom in ATOMS)).valid(points, sigma)
    assert good.tolist() == [True, False, False, False]


def test_polynomials_and_their_derivatives():
    dictionary = polynomials(["a", "b", "c"], ["a"], 3)
    values = POINTS.reshape(-1, 3)
    step = 1e-6
    for column in range(3):
        shift = step * np.eye(3)[column]
        slope = (dictionary.evaluate(values + shift).features - dictionary.evaluate(values - shift).features) / 2 / step
        np.testing.assert_allclose(dictionary.jacobian(values)[..., column], slope, atol=1e-7)


@pytest.mark.parametrize("angles", [(), ("b",), ("a", "b")])
def test_the_monomials_are_all_there_once_and_independent(angles):
    dictionary = polynomials(["a", "b"], angles, 3)
    assert len(set(dictionary.terms)) == len(dictionary) == {0: 9, 1: 15, 2: 24}[len(angles)]
    assert [len(term) for term in dictionary.terms] == sorted(len(term) for term in dictionary.terms)
    points = np.random.default_rng(1).uniform(-3, 3, (500, 2))
    # Of a constant, too: cos**2 + sin**2 would make one.
    sizes = np.linalg.svd(np.c_[np.ones(500), dictionary.evaluate(points).features], compute_uv=False)
    assert sizes[-1] > 1e-3 * sizes[0]


def test_formulas_have_the_value_of_their_terms():
    dictionary = polynomials(["E", "lam"], ["lam"], 3)
    coefficients = np.random.default_rng(2).normal(size=len(dictionary)).round(3)
    formula = expression(dictionary, [f"{c:.3f}" for c in coefficients])
    assert {str(symbol) for symbol in formula.free_symbols} == {"E", "lam"}, "names of columns, not sympy's own"
    values = dict(zip(sorted(formula.free_symbols, key=str), (0.3, -1.2), strict=True))
    expected = float(Formula(dictionary, coefficients)(np.array([0.3, -1.2])))
    assert float(formula.subs(values)) == pytest.approx(expected, rel=1e-12)
    assert str(term(dictionary.terms[0], dictionary.columns)) == "E"


def test_formulas_of_special_functions_have_the_value_of_their_terms():
    dictionary = Dictionary(("a", "b", "c", "d"), tuple(products(ATOMS, 2)))
    coefficients = np.random.default_rng(3).normal(size=len(dictionary)).round(3)
    formula = expression(dictionary, [f"{c:.3f}" for c in coefficients])
    point = [0.4, 1.3, 0.9, 2.1]
    value = float(formula.subs(dict(zip((sympy.Symbol(c) for c in "abcd"), point, strict=True))))
    assert value == pytest.approx(float(Formula(dictionary, coefficients)(np.array(point))), rel=1e-10)
