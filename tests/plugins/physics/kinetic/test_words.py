import pytest
import torch

from ndm_apps.geometry import Euclidean, killing_fields
from ndm_apps.geometry.metric import evaluate
from ndm_apps.plugins.physics.kinetic.words import name_fields, outside


def points(n, many=200):
    return 2 * torch.rand(many, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1


def named(metric, x, names, angles=(), **options):
    fields = killing_fields(metric, x, 1, angles=angles, **options)
    return [one.text for one in name_fields([f(x) for f in fields], x, evaluate(metric, x).cholesky, names, angles)]


def test_euclidean_space():
    assert named(Euclidean(3), points(3), "xyz") == [
        "translation along x",
        "translation along y",
        "translation along z",
        "rotation in the plane x, y about the origin",
        "rotation in the plane x, z about the origin",
        "rotation in the plane y, z about the origin",
    ]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda q: q.square().sum(-1), ["rotation about the origin"]),
        (lambda q: q[..., 0] - 2 * q[..., 1], ["joint translation of x by 1, y by 0.5"]),
        (lambda q: (q - torch.tensor([2.0, 0.5])).square().sum(-1), ["rotation about (2, 0.5)"]),
        (lambda q: q[..., 0] ** 2 + 2 * q[..., 1] ** 3, []),
    ],
)
def test_what_a_potential_leaves(function, words):
    assert named(Euclidean(2), points(2), "xy", functions=[function]) == words


def test_other_planes():
    def metric(q):
        return torch.tensor([[1.0, -0.7], [-0.7, 1.49]], dtype=q.dtype).expand(*q.shape, 2)

    assert named(metric, points(2), "uw")[-1] == "rotation about the origin along ellipses"


def test_angles():
    def torus(q):
        return torch.eye(2, dtype=q.dtype) * torch.ones_like(q[..., :1, None])

    assert named(torus, points(2), "ab", (0, 1)) == ["rotation of the angle a", "rotation of the angle b"]

    def potential(q):
        return (q[..., 0] - q[..., 1]).cos()

    assert named(torus, points(2), "ab", (0, 1), functions=[potential]) == ["joint rotation of a, b"]


def test_outside():
    x = points(2)
    cholesky = evaluate(Euclidean(2), x).cholesky
    one, two = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 1.0]).double()
    assert outside(one + two, [one], cholesky) == pytest.approx(0.5**0.5)
    assert outside(one, [], cholesky) == 1.0
