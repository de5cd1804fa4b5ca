import numpy as np
import pytest
import torch

from ndm_apps.plugins.physics.dictionary import number_of_terms, polynomials
from ndm_apps.plugins.physics.formula import expression, term

POINTS = np.random.default_rng(0).uniform(-2, 2, (4, 5, 3))


def autograd_jacobian(dictionary, point):
    """The monomials written in torch, one by one, and differentiated by it."""

    def features(x):
        total = []
        for row in dictionary.exponents:
            product = torch.ones((), dtype=x.dtype)
            for atom, exponent in zip(dictionary.atoms, row, strict=True):
                column = x[atom.column]
                product = product * {"": column, "sin": column.sin(), "cos": column.cos()}[atom.function] ** exponent
            total.append(product)
        return torch.stack(total)

    point = torch.as_tensor(point)
    return features(point).numpy(), torch.autograd.functional.jacobian(features, point).numpy()


@pytest.mark.parametrize("angles", [(), ("a",), ("a", "b", "c")])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_features_and_jacobian_agree_with_autograd(angles, degree):
    dictionary = polynomials(["a", "b", "c"], angles, degree)
    features, jacobian = dictionary.features(POINTS), dictionary.jacobian(POINTS)
    assert features.shape == (4, 5, len(dictionary)) and jacobian.shape == (4, 5, len(dictionary), 3)
    for at in ((0, 0), (3, 4)):
        expected, slopes = autograd_jacobian(dictionary, POINTS[at])
        np.testing.assert_allclose(features[at], expected, atol=1e-12)
        np.testing.assert_allclose(jacobian[at], slopes, atol=1e-12)


@pytest.mark.parametrize("angles", [(), ("b",), ("a", "b")])
def test_the_monomials_are_all_there_once_and_independent(angles):
    dictionary = polynomials(["a", "b"], angles, 3)
    assert len(set(dictionary.exponents)) == len(dictionary) == number_of_terms(2 - len(angles), len(angles), 3)
    assert [sum(row) for row in dictionary.exponents] == sorted(sum(row) for row in dictionary.exponents)
    assert [dictionary.terms_of(degree) for degree in (1, 2, 3)] == [
        number_of_terms(2 - len(angles), len(angles), degree) for degree in (1, 2, 3)
    ]
    points = np.random.default_rng(1).uniform(-3, 3, (500, 2))
    # Of a constant, too: cos**2 + sin**2 would make one.
    sizes = np.linalg.svd(np.c_[np.ones(500), dictionary.features(points)], compute_uv=False)
    assert sizes[-1] > 1e-3 * sizes[0]


def test_formulas_have_the_value_of_their_terms():
    dictionary = polynomials(["E", "lam"], ["lam"], 3)
    coefficients = np.random.default_rng(2).normal(size=len(dictionary)).round(3)
    formula = expression(dictionary, range(len(dictionary)), [f"{c:.3f}" for c in coefficients])
    assert {str(symbol) for symbol in formula.free_symbols} == {"E", "lam"}, "names of columns, not sympy's own"
    values = dict(zip(sorted(formula.free_symbols, key=str), (0.3, -1.2), strict=True))
    expected = float(dictionary.features(np.array([0.3, -1.2])) @ coefficients)
    assert float(formula.subs(values)) == pytest.approx(expected, rel=1e-12)
    assert str(term(dictionary, 0)) == "E"
