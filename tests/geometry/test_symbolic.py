"""Random polynomial metrics, differentiated by sympy and contracted in rational numbers: no rounding on that side."""

import random
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import pytest
import sympy
import torch

from ndm_apps.geometry import christoffel, ricci, riemann, scalar_curvature, sectional_curvature

close = torch.testing.assert_close
CASES = [(2, 3, 0), (2, 4, 1), (2, 3, 2), (3, 2, 3), (3, 3, 4)]  # n, degree, seed


def polynomial(n, degree, seed):
    """D g, d(D g) and dd(D g) as functions of numbers, integer polynomials; g as a metric: n I plus less; and D."""
    rng = random.Random(seed)
    x = sympy.symbols(f"x:{n}")
    monomials = [sympy.prod(m) for k in range(1, degree + 1) for m in combinations_with_replacement(x, k)]
    scale = 10 * len(monomials)
    entries = {
        (i, j): n * scale * (i == j) + sum(rng.randint(-9, 9) * m for m in monomials)
        for i, j in combinations_with_replacement(range(n), 2)
    }
    g = sympy.Array([[entries[min(i, j), max(i, j)] for j in range(n)] for i in range(n)])
    dg = sympy.derive_by_array(g, x)
    functions = [sympy.lambdify(x, array.tolist()) for array in (g, dg, sympy.derive_by_array(dg, x))]

    def metric(y):
        rows = [
            [torch.as_tensor(e, dtype=y.dtype).expand(y.shape[:-1]) for e in row] for row in functions[0](*y.unbind(-1))
        ]
        return torch.stack([torch.stack(row, -1) for row in rows], -2) / scale

    return functions, metric, scale


def _numbers(values, scale):
    return np.vectorize(lambda value: Fraction(value) / scale, otypes=[object])(np.array(values, dtype=object))


def exact(functions, scale, point):
    """Metric, its inverse, Christoffel symbols and Riemann tensor by the textbook formulas, in fractions."""
    matrix, dg, ddg = (_numbers(function(*point), scale) for function in functions)
    rational = sympy.Matrix(matrix.tolist()).applyfunc(sympy.Rational).inv().tolist()
    inverse = np.array([[Fraction(int(e.p), int(e.q)) for e in row] for row in rational])
    half = Fraction(1, 2)
    # lowered[d, a, b] = Gamma_d,ab; its derivative along e; then the index goes up.
    lowered = half * (dg.transpose(1, 0, 2) + dg.transpose(1, 2, 0) - dg)
    along = half * (ddg.transpose(0, 2, 1, 3) + ddg.transpose(0, 2, 3, 1) - ddg)
    gamma = np.tensordot(inverse, lowered, 1)
    d_inverse = [-inverse @ d @ inverse for d in dg]
    pairs = zip(along, d_inverse, strict=True)
    d_gamma = np.array([np.tensordot(inverse, a, 1) + np.tensordot(d, lowered, 1) for a, d in pairs])
    # R^d_cab = d_a Gamma^d_bc - d_b Gamma^d_ac + Gamma^d_ae Gamma^e_bc - Gamma^d_be Gamma^e_ac, kept as [a, b, c, d].
    product = np.tensordot(gamma, gamma, (2, 0))  # [d, a, b, c]
    half_riemann = d_gamma.transpose(0, 2, 3, 1) + product.transpose(1, 2, 3, 0)
    up = half_riemann - half_riemann.transpose(1, 0, 2, 3)
    return matrix, inverse, gamma, up @ matrix


def tensor(array):
    return torch.tensor(array.astype(float), dtype=torch.float64)


@pytest.mark.parametrize(("n", "degree", "seed"), CASES)
def test_curvature_of_polynomial_metrics_is_exact(n, degree, seed):
    functions, metric, scale = polynomial(n, degree, seed)

    rng = random.Random(100 + seed)
    for _ in range(2):
        point, u, v = ([Fraction(rng.randint(-8, 8), 8) for _ in range(n)] for _ in range(3))
        matrix, inverse, gamma, curvature = exact(functions, scale, point)
        y = tensor(np.array(point))
        close(christoffel(metric, y), tensor(gamma), rtol=1e-11, atol=1e-12)
        close(riemann(metric, y), tensor(curvature), rtol=0, atol=1e-10 * float(abs(curvature).max()))
        contracted = np.tensordot(curvature, inverse, ((0, 3), (0, 1)))
        close(ricci(metric, y), tensor(contracted), rtol=0, atol=1e-10 * float(abs(contracted).max()))
        scalar = (contracted * inverse).sum()
        close(scalar_curvature(metric, y), torch.tensor(float(scalar), dtype=y.dtype), rtol=1e-10, atol=0)
        u, v = np.array(u), np.array(v)
        area = (u @ matrix @ u) * (v @ matrix @ v) - (u @ matrix @ v) ** 2
        if area:
            sectional = np.einsum("abcd,a,b,c,d->", curvature, u, v, v, u) / area
            got = sectional_curvature(metric, y, tensor(u), tensor(v))
            close(got, torch.tensor(float(sectional), dtype=y.dtype), rtol=1e-10, atol=1e-12)
