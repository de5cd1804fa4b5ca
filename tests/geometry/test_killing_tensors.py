import pytest
import torch

from ndm_apps.geometry import Euclidean, Sphere, christoffel, exp_map
from ndm_apps.geometry.killing_tensors import killing_tensors
from tests.geometry.examples import ALL, points, vectors

close = torch.testing.assert_close


def _liouville(x):
    return torch.diag_embed((2 + x[..., :1] ** 2 + x[..., 1:] ** 3).expand_as(x))


def _liouville_with_angles(x):
    return torch.diag_embed((3 + x[..., :1].sin() + (2 * x[..., 1:]).cos() / 2).expand_as(x))


def _square(n, count=300, side=1.0):
    generator = torch.Generator().manual_seed(0)
    return side * (2 * torch.rand(count, n, generator=generator, dtype=torch.float64) - 1)


# metric, points, arguments; tensors that are reducible and not, Killing vectors.
CASES = {
    "line": (Euclidean(1), _square(1), {}, 1, 0, 1),
    "plane": (Euclidean(2), _square(2), {}, 6, 0, 3),
    "space": (Euclidean(3), _square(3), {}, 20, 0, 6),
    "S2": (Sphere(2), _square(2), {"degree": 4}, 6, 0, 3),
    "S3": (Sphere(3), _square(3), {"degree": 4}, 20, 0, 6),
    "H2": (ALL["H2"], points(ALL["H2"], 300), {"degree": 4}, 6, 0, 3),
    "torus": (ALL["torus"], points(ALL["torus"], 300), {"degree": 2, "angles": (0, 1)}, 2, 0, 1),
    "Liouville": (_liouville, _square(2), {"degree": 6}, 1, 1, 0),
    "Liouville with angles": (_liouville_with_angles, _square(2, side=3.0), {"degree": 5, "angles": (0, 1)}, 1, 1, 0),
    "polynomial 2": (ALL["polynomial 2"], points(ALL["polynomial 2"], 300), {}, 1, 0, 0),
    "polynomial 3": (ALL["polynomial 3"], points(ALL["polynomial 3"], 300), {}, 1, 0, 0),
    "network 3": (ALL["network 3"], points(ALL["network 3"], 300), {}, 1, 0, 0),
}


@pytest.mark.parametrize("name", CASES)
def test_count(name):
    metric, x, arguments, reducible, irreducible, vectors_ = CASES[name]
    tensors = killing_tensors(metric, x, **arguments)
    assert (tensors.reducible, tensors.irreducible, len(tensors.vectors)) == (reducible, irreducible, vectors_), tensors
    assert len(tensors) == reducible + irreducible
    assert all(tensor.residual < 1e-9 for tensor in tensors)
    assert tensors.gap > 1e6
    assert (tensors.sines[:reducible] < 1e-6).all()
    assert (tensors.sines[reducible:] > 0.5).all()
    assert f"{irreducible} irreducible" in repr(tensors)


@pytest.mark.parametrize("name", ["S2", "H2", "torus", "Liouville", "Liouville with angles"])
def test_quadratic_quantities_are_conserved_along_geodesics(name):
    metric, x, arguments, *_ = CASES[name]
    tensors = killing_tensors(metric, x, **arguments)
    x = x[:5] / 2
    v = vectors(x, 1)[0] / 4
    one = torch.ones((), dtype=x.dtype)
    y, w = torch.func.jvp(lambda t: exp_map(metric, x, t * v), (one,), (one,))
    for tensor in tensors:
        before, after = (torch.einsum("pab,pa,pb->p", tensor(p), u, u) for p, u in ((x, v), (y, w)))
        close(after, before, rtol=1e-6, atol=1e-7)


def test_tensors_solve_the_equation_elsewhere():
    metric, x, arguments, *_ = CASES["Liouville"]
    for tensor in killing_tensors(metric, x, **arguments):
        y = 0.9 * _square(2, 20)[10:]
        slope = torch.stack([torch.func.jacrev(tensor)(p) for p in y]).movedim(-1, 1)
        gamma, value = christoffel(metric, y), tensor(y)
        turned = torch.einsum("pdab,pdc->pabc", gamma, value)
        covariant = slope - turned - turned.mT
        total = covariant + torch.einsum("pabc->pbca", covariant) + torch.einsum("pabc->pcab", covariant)
        close(total, torch.zeros_like(total), rtol=0, atol=1e-9)


def test_the_irreducible_tensor_of_a_liouville_surface():
    # (f + h)(f dy^2 - h dx^2) up to multiples of the metric and of itself: f = 1 + x^2, h = 1 + y^3.
    metric, x, arguments, *_ = CASES["Liouville"]
    found = killing_tensors(metric, x, **arguments)[1](x)
    f, h = 1 + x[:, 0] ** 2, 1 + x[:, 1] ** 3
    known = torch.diag_embed(torch.stack((-h * (f + h), f * (f + h)), -1))
    basis = torch.stack((known.flatten(), metric(x).flatten()), -1)
    rest = found.flatten() - basis @ torch.linalg.lstsq(basis, found.flatten().unsqueeze(-1)).solution.squeeze(-1)
    assert rest.norm() < 1e-9 * found.norm()


def test_values_are_symmetric_and_keep_dtype_and_shape():
    x = points(Sphere(2), 200, dtype=torch.float32)
    tensors = killing_tensors(Sphere(2), x, degree=4, tolerance=1e-2)
    assert len(tensors[1:]) == len(tensors) - 1
    value = tensors[0](x.reshape(10, 20, 2))
    assert value.shape == (10, 20, 2, 2)
    assert value.dtype == torch.float32
    close(value, value.mT)


def test_the_fewest_points_allowed_suffice_for_the_equation():
    tensors = killing_tensors(Euclidean(2), points(Euclidean(2), 13), degree=2)
    assert (tensors.reducible, tensors.irreducible) == (6, 0)


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.rand(50, 2), {"degree": -1}, "degree must be an integer, at least 0, got -1"),
        (torch.rand(50, 2), {"tolerance": 0.0}, "tolerance must be between 0 and 1, got 0.0"),
        (torch.rand(5, 2), {"degree": 2}, "x must hold at least 13 points for 6 functions, got 5"),
        (torch.ones(50, 2), {}, "x must lie in general position"),
    ],
)
def test_wrong_arguments(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        killing_tensors(Euclidean(2), x.double(), **arguments)
