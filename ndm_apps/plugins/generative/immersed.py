"""The surface that a decoder makes of the latent space: its volume element and its curvature, exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Points whose second derivatives are held at a time: (points, size of an image, d, d) numbers.
CHUNK = 50


def log_volume(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    r"""Return :math:`\log \sqrt{\det J^\top J}` at points (n, d), with J the Jacobian of the decoder, (n,)."""
    parts = []
    for part in z.split(CHUNK):
        jacobian = torch.func.vmap(torch.func.jacfwd(_flat(decode)))(part)
        parts.append(torch.linalg.svdvals(jacobian).log().sum(-1))
    return torch.cat(parts)


def scalar_curvature(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    r"""Return the scalar curvature of the pull-back metric :math:`J^\top J` at points (n, d), (n,).

    By Gauss's equation, with II the part of the second derivatives normal to the surface in an orthonormal frame,

    .. math:: R = \Bigl|\sum_a II_{aa}\Bigr|^2 - \sum_{ab} |II_{ab}|^2

    so that second derivatives of the decoder suffice, where the metric's own formula needs third ones.

    Parameters
    ----------
    decode
        Points (..., d) to images, twice differentiable.

    References
    ----------
    Lee, Introduction to Riemannian Manifolds, 2nd edition, 2018, theorem 8.5.

    Examples
    --------
    A sphere of radius 2, R = 2 / 4:

    >>> def sphere(z):
    ...     a, b = z[..., 0], z[..., 1]
    ...     return 2 * torch.stack([a.sin() * b.cos(), a.sin() * b.sin(), a.cos()], -1)
    >>> scalar_curvature(sphere, torch.tensor([[1.0, 0.3]], dtype=torch.double))
    tensor([0.5000], dtype=torch.float64)
    """
    one = _flat(decode)
    return torch.cat([_gauss(one, part) for part in z.split(CHUNK)])


def _gauss(one: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    def jacobian_twice(point: Tensor) -> tuple[Tensor, Tensor]:
        jacobian = torch.func.jacfwd(one)(point)
        return jacobian, jacobian

    second, first = torch.func.vmap(torch.func.jacfwd(jacobian_twice, has_aux=True))(z)
    tangent, triangle = torch.linalg.qr(first)
    # Columns of J T^-1 are the orthonormal tangents, so T^-1 takes second derivatives to that frame.
    frame = torch.linalg.solve_triangular(triangle, torch.eye(z.shape[1], device=z.device).to(z), upper=True)
    bent = torch.einsum("npij,nia,njb->npab", second, frame, frame)
    normal = bent - torch.einsum("npk,nqk,nqab->npab", tangent, tangent, bent)
    trace = normal.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace.square().sum(-1) - normal.square().sum((1, 2, 3))


def _flat(decode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda point: decode(point[None]).flatten()
