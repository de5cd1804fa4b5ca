r"""Curvature of any metric: Christoffel symbols, Riemann, Ricci, sectional.

Sign conventions (Lee, *Introduction to Riemannian Manifolds*, 2nd ed., 2018, chapters 7 and 8):
:math:`R_{abcd} = \langle R(\partial_a, \partial_b) \partial_c, \partial_d \rangle`, so that
:math:`K(u, v) = R(u, v, v, u)` for orthonormal u, v and spheres are positive; :math:`R_{bc} = g^{ad} R_{abcd}`.
The scalar curvature has a file of its own, :mod:`ndm_apps.geometry.scalar`: it needs none of these tensors.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.jets import contraction_gradient, first_derivatives, second_derivatives, symmetric_pairs
from ndm_apps.geometry.metric import Metric, MetricValue, check_vector, evaluate


def christoffel(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n"]:
    r"""Christoffel symbols of the Levi-Civita connection, first index up.

    .. math:: \Gamma^c{}_{ab} = \tfrac12 g^{cd} (\partial_a g_{db} + \partial_b g_{da} - \partial_d g_{ab})

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.

    Returns
    -------
    Tensor
        Shape ``(..., n, n, n)``, indexed ``[..., c, a, b]``.

    Raises
    ------
    ValueError
        If ``x`` or the metric at ``x`` is not what it should be.

    Examples
    --------
    The half-plane: :math:`\Gamma^y{}_{xx} = 1/y`.

    >>> import torch
    >>> from ndm_apps.geometry.analytic import Hyperbolic
    >>> christoffel(Hyperbolic(2, model="half_space"), torch.tensor([0.0, 2.0]))[1, 0, 0]
    tensor(0.5000)
    """
    value = evaluate(metric, x)
    lowered = _christoffel_lowered(first_derivatives(metric, x, _coordinate_frame(x)))
    return torch.cholesky_solve(lowered.flatten(-2), value.cholesky).reshape(lowered.shape)


def riemann(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n n n"]:
    r"""Riemann curvature tensor, all indices down.

    .. math::
        R_{abcd} = \tfrac12 (\partial_b \partial_d g_{ac} + \partial_a \partial_c g_{bd}
                 - \partial_a \partial_d g_{bc} - \partial_b \partial_c g_{ad})
                 + g_{mn} (\Gamma^m{}_{bd} \Gamma^n{}_{ac} - \Gamma^m{}_{bc} \Gamma^n{}_{ad})

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.

    Returns
    -------
    Tensor
        Shape ``(..., n, n, n, n)``; :math:`R(u, v, v, u) / (|u|^2 |v|^2 - \langle u, v \rangle^2)` is the sectional
        curvature, positive on spheres.

    Raises
    ------
    ValueError
        If ``x`` or the metric at ``x`` is not what it should be.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> riemann(Sphere(2), torch.zeros(2))[0, 1, 1, 0]
    tensor(16.)
    """
    value = evaluate(metric, x)
    n = x.shape[-1]
    a, b = symmetric_pairs(n, x.device)
    frame = _coordinate_frame(x)
    jet = second_derivatives(metric, x, frame[..., a, :], frame[..., b, :])
    pair = torch.empty(n, n, dtype=torch.long, device=x.device)
    pair[a, b] = pair[b, a] = torch.arange(len(a), device=x.device)
    hessian = jet.along_uv[..., pair, :, :]
    lowered = _christoffel_lowered(jet.along_u[..., :n, :, :]).flatten(-2)
    white = torch.linalg.solve_triangular(value.cholesky, lowered, upper=False)
    products = (white.mT @ white).reshape(hessian.shape)
    # S[ab, cd] is unchanged when its pairs change places, which makes R antisymmetric to the last bit but one.
    s = 0.5 * (hessian + torch.einsum("...abcd->...cdab", hessian)) + products
    return torch.einsum("...bdac->...abcd", s) - torch.einsum("...bcad->...abcd", s)


def ricci(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
    r"""Ricci tensor, :math:`R_{bc} = g^{ad} R_{abcd}`; on the unit sphere it is :math:`(n-1) g`. See :func:`riemann`.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> ricci(Sphere(3), torch.zeros(3)).diagonal()
    tensor([8., 8., 8.])
    """
    # Not cholesky_inverse: its derivative in forward mode is wrong in torch 2.13.
    frame = evaluate(metric, x).orthonormal_frame()
    return torch.einsum("...ad,...abcd->...bc", frame.mT @ frame, riemann(metric, x))


def sectional_curvature(
    metric: Metric, x: Float[Tensor, "*batch n"], u: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    r"""Sectional curvature of the plane spanned by two tangent vectors.

    .. math:: K(u, v) = \frac{R(u, v, v, u)}{|u|^2 |v|^2 - \langle u, v \rangle^2}

    Three second derivatives and three gradients of the metric, whatever the dimension; no tensor is formed.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``, n >= 2.
    x : Tensor
        Points, shape ``(..., n)``.
    u, v : Tensor
        Tangent vectors at ``x``; their shapes broadcast against that of ``x``.

    Returns
    -------
    Tensor
        Shape ``(...)``.

    Raises
    ------
    ValueError
        If an argument is not what it should be, or u and v are parallel at some point.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> x, u, v = torch.tensor([[0.1, 0.2, 0.3], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    >>> round(float(sectional_curvature(Sphere(3, radius=2.0), x, u, v)), 12)
    0.25
    """
    value = evaluate(metric, x)
    check_vector("u", u, x)
    check_vector("v", v, x)
    x, u, v = torch.broadcast_tensors(x, u, v)  # type: ignore[no-untyped-call]
    value = MetricValue(*(t.expand(*x.shape, x.shape[-1]) for t in value))
    # C^T v are the components of v in the orthonormal frame: Gram-Schmidt is Euclidean there.
    a, b = (t.unsqueeze(-2) @ value.cholesky for t in (u, v))
    plane, sine = orthonormal_pair(a, b)
    flat = ~(sine > torch.finfo(x.dtype).eps ** 0.5).squeeze(-1)
    if bool(flat.any()):
        where = f" at sample {tuple(flat.nonzero()[0].tolist())}" if flat.ndim else ""
        raise ValueError(f"u and v must span a plane, got parallel or zero vectors{where}")
    e = torch.cat(plane, -2) @ value.orthonormal_frame()
    return riemann_on_planes(metric, x, value, e[..., :1, :], e[..., 1:, :]).squeeze(-1)


def orthonormal_pair(a: Tensor, b: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Gram-Schmidt on pairs of Euclidean vectors ``(..., n)``; also returns the sine of the angle between them."""

    def unit(t: Tensor) -> Tensor:
        return torch.nn.functional.normalize(t, dim=-1, eps=torch.finfo(t.dtype).tiny)

    a, b = unit(a), unit(b)
    rest = b - (a * b).sum(-1, keepdim=True) * a
    # |a| is 1, or 0 where the vector was zero: then there is no plane and no angle.
    sine = torch.linalg.vector_norm(rest, dim=-1) * torch.linalg.vector_norm(a, dim=-1)
    # Twice is enough: after one pass a nearly parallel b still leans towards a.
    rest = unit(rest)
    rest = unit(rest - (a * rest).sum(-1, keepdim=True) * a)
    return (a, rest), sine


def riemann_on_planes(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    value: MetricValue,
    u: Float[Tensor, "*batch k n"],
    v: Float[Tensor, "*batch k n"],
) -> Float[Tensor, "*batch k"]:
    r"""Compute R(u, v, v, u) for k pairs of vectors at each point, without the Riemann tensor.

    .. math::
        R(u, v, v, u) = -\tfrac12 [D_u D_u g(v, v) + D_v D_v g(u, u) - 2 D_u D_v g(u, v)]
                        + |\Gamma_{uv}|^2 - \langle \Gamma_{uu}, \Gamma_{vv} \rangle

    ``value`` is the metric at ``x``; the caller has checked it.
    """
    first, second = torch.cat((u, v, u), -2), torch.cat((u, v, v), -2)
    jet = second_derivatives(metric, x, first, second)
    gradient = contraction_gradient(metric, x, first, second)
    # Rows of `jet` run over the pairs (u, u), (v, v), (u, v); D_uu is read on (v, v), D_vv on (u, u), D_uv on (u, v).
    on_first, on_second = torch.cat((v, u, u), -2), torch.cat((v, u, v), -2)
    uu, vv, uv = _bilinear(jet.along_uv, on_first, on_second).chunk(3, -1)
    lowered = 0.5 * (_apply(jet.along_u, second) + _apply(jet.along_v, first) - gradient)
    gamma_uu, gamma_vv, gamma_uv = lowered.mT.chunk(3, -1)
    products = value.inverse_inner(gamma_uv, gamma_uv) - value.inverse_inner(gamma_uu, gamma_vv)
    curvature: Tensor = uv - 0.5 * (uu + vv) + products
    return curvature


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _bilinear(matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return (_apply(matrix, v) * u).sum(-1)


def _coordinate_frame(x: Tensor) -> Tensor:
    n = x.shape[-1]
    return torch.eye(n, dtype=x.dtype, device=x.device).expand(*x.shape, n)


def _christoffel_lowered(dg: Tensor) -> Tensor:
    # dg[..., k, i, j] = d_k g_ij; returned with the index that Gamma^c_ab carries up in front, but down.
    return 0.5 * (torch.einsum("...acb->...cab", dg) + torch.einsum("...bca->...cab", dg) - dg)
