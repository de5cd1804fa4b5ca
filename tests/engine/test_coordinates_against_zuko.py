"""The same parameters give the same maps in zuko, an independent library of normalising flows."""

import math

import pytest
import torch
from scipy.linalg import logm

from ndm_apps.engine.coordinates import AffineCoupling, SplineCoupling
from tests.engine.test_coordinates import disturbed, points

transforms = pytest.importorskip("zuko.transforms", reason="needs zuko (the bench extra)")
SLOPE = 1e-12  # how steep zuko's maps may be; wide, so that undoing its squashing loses no digits


def unsquashed(value, factor=1):
    """The number that zuko squashes to ``value``."""
    return value / (1 - (factor * value / math.log(SLOPE)).abs())


def affine(module, theta):
    raw, shift = theta.chunk(2, -1)
    return transforms.MonotonicAffineTransform(shift, unsquashed(module._bounded(raw)), slope=SLOPE)


def spline(module, theta):
    knots = module.knots(theta)
    widths, heights = (unsquashed(part.diff().log(), factor=2) for part in (knots.x, knots.z))
    slopes = unsquashed(knots.slope[..., 1:-1].log())
    return transforms.MonotonicRQSTransform(widths, heights, slopes, bound=module.radius, slope=SLOPE)


def coupling(module):
    make = {AffineCoupling: affine, SplineCoupling: spline}[type(module)]
    mask = torch.zeros(module.n, dtype=torch.bool)
    mask[module.order[: module.sizes[0]]] = True

    def given(kept):
        return torch.distributions.transforms.IndependentTransform(
            make(module, module.conditioner(kept)), reinterpreted_batch_ndims=1
        )

    return transforms.CouplingTransform(given, mask)


def mixing(module):
    logarithm = logm(module.weight.detach().numpy()).real
    return transforms.RotationTransform(torch.from_numpy(logarithm / 2))


def triangular(module):
    scale = module.log_scale.exp()
    packed = (module.lower.tril(-1) + torch.eye(module.n)) * scale + module.upper.triu(1) / scale[:, None]
    there = torch.distributions.transforms.AffineTransform(-module.shift, 1.0, event_dim=1)
    return torch.distributions.ComposeTransform([there, transforms.LULinearTransform(packed)])


def scaling(module):
    return torch.distributions.transforms.IndependentTransform(
        transforms.MonotonicAffineTransform(
            -module.shift * module.log_scale.exp(), unsquashed(module.log_scale), slope=SLOPE
        ),
        reinterpreted_batch_ndims=1,
    )


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        *[(name, coupling) for name in ("coupling-2", "coupling-5", "coupling-reverse", "spline-2", "spline-5")],
        ("affine-diagonal", scaling),
        ("affine", triangular),
        ("orthogonal", mixing),
    ],
)
def test_same_parameters_same_map(name, twin):
    module = disturbed(name)
    x = 2 * points(module.n, shape=(200,))  # some beyond the reach of splines
    other = twin(module)
    z, log_abs_det = module(x)
    expected, expected_log_abs_det = other(x), other.log_abs_det_jacobian(x, z)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_abs_det, expected_log_abs_det, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(module.inverse(z)[0], other.inv(z), rtol=1e-11, atol=1e-11)
