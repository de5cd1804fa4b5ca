import math

import torch

from ndm_apps.plugins.generative.immersed import log_volume, scalar_curvature


def sphere(radius: float):
    def immersion(z: torch.Tensor) -> torch.Tensor:
        a, b, c = z.unbind(-1)
        parts = [a.cos(), a.sin() * b.cos(), a.sin() * b.sin() * c.cos(), a.sin() * b.sin() * c.sin()]
        return radius * torch.stack(parts, -1)

    return immersion


ANGLES = torch.tensor([[0.7, 1.1, 0.2], [1.3, 0.5, 2.0]], dtype=torch.double)


def test_a_sphere_of_three_dimensions():
    radius = 1.7
    torch.testing.assert_close(
        scalar_curvature(sphere(radius), ANGLES), torch.full((2,), 6 / radius**2, dtype=torch.double)
    )
    expected = 3 * math.log(radius) + 2 * ANGLES[:, 0].sin().log() + ANGLES[:, 1].sin().log()
    torch.testing.assert_close(log_volume(sphere(radius), ANGLES), expected)


def test_a_saddle_is_negative_and_a_flat_torus_is_flat():
    def saddle(z):
        return torch.stack([z[..., 0], z[..., 1], z[..., 0] * z[..., 1]], -1)

    def torus(z):
        return torch.cat([z.cos(), z.sin()], -1)

    # The Gaussian curvature of z = x y is -1 / (1 + x^2 + y^2)^2; R is twice that.
    at = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.double)
    torch.testing.assert_close(scalar_curvature(saddle, at), torch.tensor([-2.0, -2 / 36], dtype=torch.double))
    torch.testing.assert_close(scalar_curvature(torus, at), torch.zeros(2, dtype=torch.double))


def test_curvature_does_not_depend_on_coordinates():
    change = torch.tensor([[2.0, 0.3, 0.0], [0.0, 1.0, 0.5], [0.1, 0.0, 0.7]], dtype=torch.double)
    moved = torch.linalg.solve(change, ANGLES.mT).mT
    curved = scalar_curvature(lambda z: sphere(1.0)(z @ change.mT), moved)
    torch.testing.assert_close(curved, scalar_curvature(sphere(1.0), ANGLES))
