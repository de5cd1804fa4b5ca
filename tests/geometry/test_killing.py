import pytest
import torch

from ndm_apps.geometry import (
    Euclidean,
    Hyperbolic,
    Product,
    Sphere,
    Torus,
    christoffel,
    exp_map,
    inner,
    killing_fields,
    pullback,
)
from ndm_apps.geometry.killing import lie_algebra
from tests.geometry.examples import ALL, ANALYTIC, GENERIC, cholesky_net, points, vectors

close = torch.testing.assert_close


@pytest.mark.parametrize(
    ("name", "degree", "count"),
    [
        ("line", 1, 1),
        ("plane", 0, 2),
        ("plane", 1, 3),
        ("plane", 2, 3),
        ("R4", 1, 10),
        ("S2", 1, 1),
        ("S2", 2, 3),
        ("S3", 2, 6),
        ("H2", 2, 3),
        ("H2 half-plane", 1, 2),
        ("H2 half-plane", 2, 3),
        ("torus", 1, 1),
        ("S2 x H2", 2, 6),
        ("torus x line", 1, 2),
        ("ellipsoid", 2, 0),
        ("Heisenberg", 2, 4),
        ("polynomial 2", 2, 0),
        ("polynomial 3", 1, 0),
        ("network 3", 1, 0),
    ],
)
def test_count(name, degree, count):
    fields = killing_fields(ALL[name], points(ALL[name], 200), degree)
    assert len(fields) == count, fields
    assert all(field.residual < 1e-10 for field in fields)
    # Not by a hair: the evidence is a wide gap.
    if count:
        assert fields.gap > 1e6
    else:
        assert fields.spectrum[0] > 1e-2


# Coordinates in which the Killing vectors are no polynomials: sphere by its two angles, plane by radius and angle.
def _sphere(x):
    return torch.diag_embed(torch.stack((torch.ones_like(x[..., 0]), x[..., 0].sin() ** 2), -1))


def _plane(x):
    return torch.diag_embed(torch.stack((torch.ones_like(x[..., 0]), x[..., 0] ** 2), -1))


@pytest.mark.parametrize(
    ("metric", "arguments", "count"),
    [
        (_sphere, {"degree": 3}, 1),
        (_sphere, {"degree": 3, "angles": (0, 1)}, 3),
        (_plane, {"degree": 2, "angles": (1,)}, 3),
        (Torus(), {"degree": 2, "angles": (0, 1)}, 1),
        (Euclidean(3), {"dictionary": lambda x: torch.cat((torch.ones_like(x[..., :1]), x), -1)}, 6),
        (Euclidean(2), {"dictionary": lambda x: torch.cat((torch.ones_like(x[..., :1]), x.exp()), -1)}, 2),
    ],
)
def test_count_with_other_dictionaries(metric, arguments, count):
    generator = torch.Generator().manual_seed(0)
    x = 0.5 + 2 * torch.rand(300, getattr(metric, "n", 2), generator=generator, dtype=torch.float64)
    fields = killing_fields(metric, x, **arguments)
    assert len(fields) == count, fields
    assert all(field.residual < 1e-10 for field in fields)


def test_a_plain_group_has_the_translations_from_the_other_side():
    # Right-invariant fields; their components are entire functions of the chart, so a high degree finds them nearly.
    metric = ANALYTIC["SU(2)"]
    fields = killing_fields(metric, points(metric, 400), degree=4)
    assert len(fields) == 3, fields
    assert fields.gap > 100


@pytest.mark.parametrize("name", ["S2", "H2", "Heisenberg", "torus"])
def test_momentum_is_conserved_along_geodesics(name):
    metric = ALL[name]
    fields = killing_fields(metric, points(metric, 200), degree=2)
    x = points(metric, 5, seed=3) / 2
    v = vectors(x, 1)[0] / 4
    y, w = torch.func.jvp(lambda t: exp_map(metric, x, t * v), (torch.ones(()).double(),), (torch.ones(()).double(),))
    for field in fields:
        before, after = inner(metric, x, field(x), v), inner(metric, y, field(y), w)
        close(after, before, rtol=1e-6, atol=1e-8)


def test_brackets_close_on_all_isometries_and_only_on_them():
    x = points(Sphere(3), 200)
    rotations = killing_fields(Sphere(3), x, degree=2)
    structure, defect = lie_algebra(rotations, x)
    assert defect < 1e-10
    close(structure, -structure.transpose(0, 1), rtol=0, atol=1e-10)
    jacobi = torch.einsum("ijm,mkl->ijkl", structure, structure)
    jacobi = jacobi + torch.einsum("ijkl->jkil", jacobi) + torch.einsum("ijkl->kijl", jacobi)
    close(jacobi, torch.zeros_like(jacobi), rtol=0, atol=1e-9)
    assert lie_algebra(rotations[:4], x).defect > 0.1
    with pytest.raises(ValueError, match="fields must hold at least one field, got none"):
        lie_algebra([], x)


def test_linear_change_of_coordinates_keeps_the_count():
    mix = torch.tensor([[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64)
    flat = pullback(ANALYTIC["plane"], lambda x: x @ mix)
    assert len(killing_fields(flat, points(ANALYTIC["plane"], 100), 1)) == 3


@pytest.mark.parametrize("name", ["S2", "S2 x H2", "torus"])
def test_fields_solve_the_killing_equation_elsewhere(name):
    # On new points, in covariant form: nabla_a xi_b is antisymmetric.
    metric = ALL[name]
    fields = killing_fields(metric, points(metric, 200), degree=2)
    x = points(metric, 20, seed=5)
    for field in fields:
        slope = torch.stack([torch.func.jacrev(field)(p) for p in x])
        covariant = slope + torch.einsum("...cab,...b->...ca", christoffel(metric, x), field(x))
        lowered = metric(x) @ covariant
        close(lowered, -lowered.mT, rtol=0, atol=1e-10)


def test_residuals_have_no_units():
    metric = GENERIC["polynomial 2"]
    x = points(metric, 100)
    spectrum = killing_fields(metric, x, degree=1).spectrum
    close(killing_fields(lambda y: 9 * metric(y), x, degree=1).spectrum, spectrum, rtol=1e-9, atol=0)
    close(killing_fields(lambda y: metric(y / 5), 5 * x, degree=1).spectrum, spectrum, rtol=1e-9, atol=0)


def test_fields_are_normalised_and_independent():
    metric = Sphere(2)
    x = points(metric, 300)
    values = torch.stack([field(x) for field in killing_fields(metric, x, degree=2)])
    gram = torch.einsum("ipa,pab,jpb->ij", values, metric(x), values) / len(x)
    close(gram, torch.eye(3, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_a_nearly_symmetric_metric():
    # A plane with a small bump: its symmetries survive to the size of the bump, and the gap still counts them.
    bump = cholesky_net(2, seed=2)

    def metric(x):
        return ANALYTIC["plane"](x) + 1e-3 * bump(x)

    x = points(ANALYTIC["plane"], 200)
    strict, lenient = (killing_fields(metric, x, degree=1, tolerance=t) for t in (1e-6, 5e-2))
    assert len(strict) == 0
    assert len(lenient) == 3
    assert lenient.gap > 50
    assert all(1e-6 < field.residual < 1e-3 for field in lenient)


def test_sequence():
    fields = killing_fields(Hyperbolic(2), points(Hyperbolic(2), 100), degree=2)
    assert fields[0] is next(iter(fields))
    assert len(fields[1:]) == 2
    assert "3 of 24" in repr(fields)
    assert (fields.spectrum[1:] >= fields.spectrum[:-1]).all()


def test_float32():
    x = points(Sphere(2), 200, dtype=torch.float32)
    fields = killing_fields(Sphere(2), x, degree=2)
    assert len(fields) == 3
    assert fields[0](x).dtype == torch.float32


@pytest.mark.parametrize(
    ("x", "arguments", "message"),
    [
        (torch.rand(5, 2), {"degree": -1}, "degree must be an integer, at least 0, got -1"),
        (torch.rand(5, 2), {"degree": 1.5}, "degree must be an integer, at least 0, got 1.5"),
        (torch.rand(5, 2), {"tolerance": 2.0}, "tolerance must be between 0 and 1, got 2.0"),
        (torch.rand(5, 2), {"degree": 2}, "x must hold at least 13 points for 6 functions, got 5"),
        (torch.rand(9, 2), {"angles": (2,)}, r"angles must be indices of coordinates, 0 to 1, got \(2,\)"),
        (torch.rand(9, 2), {"dictionary": lambda x: x[0]}, r"dictionary must map \(..., n\) to \(..., functions\)"),
        (
            torch.rand(9, 2),
            {"dictionary": lambda x: torch.cat((x, x), -1)},
            "some functions of the dictionary coincide",
        ),
        (torch.rand(9, 2), {"dictionary": lambda x: x[..., :0]}, r"got \(9, 0\) from \(9, 2\)"),
        (
            torch.rand(9, 2),
            {"dictionary": lambda x: x.detach()},
            r"dictionary\(x\) must be differentiable by torch.func",
        ),
        (torch.rand(0, 2), {}, "x must hold at least 7 points for 3 functions, got 0"),
        (torch.ones(9, 2), {}, "x must lie in general position"),
        (torch.linspace(0, 1, 9).unsqueeze(-1) * torch.ones(2), {}, "x must lie in general position"),
    ],
)
def test_wrong_arguments(x, arguments, message):
    with pytest.raises(ValueError, match=message):
        killing_fields(Torus(), x.double(), **arguments)


def test_product_of_two_spheres_of_dimension_four():
    metric = Product(Sphere(2), Sphere(2, radius=2.0))
    assert len(killing_fields(metric, points(metric, 200), degree=2)) == 6


def test_generic_metrics_are_the_control():
    assert [len(killing_fields(m, points(m, 100), 1)) for m in GENERIC.values()] == [0] * len(GENERIC)
