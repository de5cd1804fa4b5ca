r"""Scalar curvature of any metric: exact without the Riemann tensor, and unbiased from random planes.

Let :math:`e_a` be a g-orthonormal frame, held constant around the point. A constant frame is a linear change of
coordinates, so in it :math:`g = \delta` at the point and every contraction with :math:`g^{-1}` is a plain sum. With
:math:`G_{abc} = (D_{e_a} g)(e_b, e_c)`, the textbook formula collapses to

.. math::
    R = \sum_{ab} D_a D_b g(e_a, e_b) - \sum_{ab} D_a D_a g(e_b, e_b)
      + \tfrac14 \sum_{abc} (3 G_{abc}^2 - 2 G_{abc} G_{bac})
      - \sum_c \Bigl(\sum_a G_{aac} - \tfrac12 \sum_a G_{caa}\Bigr)^2 ,

where the third term is :math:`|\Gamma|^2` and the last :math:`|g^{ab} \Gamma_{ab}|^2`. It is exact, not an expansion.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.closed_form import AnalyticMetric
from ndm_apps.geometry.curvature import orthonormal_pair, riemann_on_planes
from ndm_apps.geometry.jets import second_derivatives, symmetric_pairs
from ndm_apps.geometry.metric import HasScalarCurvature, Metric, check_points, evaluate

# Numbers of one derivative tensor held at a time: beyond this the tensors leave the cache and the time doubles.
_CHUNK = 1 << 20


@runtime_checkable
class HasCurvatureEstimates(Protocol):
    """A metric with random estimates of its scalar curvature that are better than random planes at the same cost.

    :func:`scalar_curvature` with ``method="stochastic"`` and :func:`mean_square_curvature` call this method where it
    exists.
    """

    def curvature_estimates(
        self, x: Float[Tensor, "*batch n"], probes: int, generator: torch.Generator | None, copies: int, /
    ) -> Float[Tensor, "copies *batch"]:
        """Return unbiased estimates, ``copies`` of them at each point, independent of each other."""
        ...


def scalar_curvature(
    metric: Metric,
    x: Float[Tensor, "*batch n"],
    method: Literal["exact", "stochastic"] = "exact",
    probes: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Scalar curvature, :math:`R = g^{ad} g^{bc} R_{abcd}`; n(n-1) on the unit sphere.

    ``"exact"`` asks the metric itself if it has a method ``scalar_curvature`` (see
    :class:`~ndm_apps.geometry.HasScalarCurvature`), else it is :func:`scalar_curvature_from_jets`: n(n+1)/2 second
    derivatives. ``"stochastic"`` is n(n-1) times the mean sectional curvature of random planes, uniform with respect
    to the metric: three second derivatives per plane in any dimension. It is unbiased, has no variance where the
    curvature is the same in all planes, and is exact for n = 2. A metric that has better estimates of its own is asked
    (see :class:`HasCurvatureEstimates`). The square of an estimate is biased upwards: for the mean of R^2 there is
    :func:`mean_square_curvature`.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.
    method : {"exact", "stochastic"}, default "exact"
        How.
    probes : int, default 1
        Random planes per point, or what the metric's own estimates use instead; at least 1. Read by ``"stochastic"``
        alone.
    generator : torch.Generator, optional
        Where the planes come from, on the device of ``x``; the global generator if None.

    Returns
    -------
    Tensor
        Shape ``(...)``, differentiable with respect to ``x`` and to the parameters of the metric.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be.

    Examples
    --------
    >>> import torch
    >>> def metric(x):
    ...     return torch.diag_embed(torch.stack((torch.ones_like(x[..., 0]), x[..., 0].sin() ** 2), -1))
    >>> x = torch.tensor([[1.0, 0.0], [2.0, 5.0]], dtype=torch.float64)
    >>> scalar_curvature(metric, x).round(decimals=9)
    tensor([2., 2.], dtype=torch.float64)
    >>> scalar_curvature(metric, x, method="stochastic", generator=torch.Generator().manual_seed(0)).round(decimals=9)
    tensor([2., 2.], dtype=torch.float64)
    """
    if method == "stochastic":
        return _estimates(metric, x, probes, generator, 1).squeeze(0)
    if method != "exact":
        raise ValueError(f"method must be 'exact' or 'stochastic', got {method!r}")
    if isinstance(metric, HasScalarCurvature):
        check_points("x", x)
        if isinstance(metric, AnalyticMetric):  # its formulas are defined where the metric is not
            evaluate(metric, x)
        return metric.scalar_curvature(x)
    return scalar_curvature_from_jets(metric, x)


def scalar_curvature_from_jets(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Scalar curvature by the frame formula at the head of this file, for any metric, whatever it knows about itself.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.

    Returns
    -------
    Tensor
        Shape ``(...)``, differentiable with respect to ``x`` and to the parameters of the metric.

    Raises
    ------
    ValueError
        If ``x`` or the metric at ``x`` is not what it should be.
    """
    frame = evaluate(metric, x).orthonormal_frame()
    n = x.shape[-1]
    inverse = frame.mT @ frame
    a, b = symmetric_pairs(n, x.device)
    # The diagonal pairs come first and stay in one chunk: they carry all first derivatives and the second sum.
    rows = max(n, _CHUNK // max(1, x.numel() * n))
    terms = []
    for start in range(0, len(a), rows):
        u, v = (frame[..., index[start : start + rows], :] for index in (a, b))
        jet = second_derivatives(metric, x, u, v)
        terms.append(((jet.along_uv @ v.unsqueeze(-1)).squeeze(-1) * u).sum(-1))
        if start == 0:
            along, along_twice = jet.along_u[..., :n, :, :], jet.along_uv[..., :n, :, :]
    twice = torch.cat(terms, -1)
    double_divergence = 2 * twice.sum(-1) - twice[..., :n].sum(-1)
    laplacian_trace = (along_twice * inverse.unsqueeze(-3)).sum(dim=(-3, -2, -1))
    g = frame.unsqueeze(-3) @ along @ frame.mT.unsqueeze(-3)
    gamma_squared = (g * (3 * g - 2 * g.transpose(-3, -2))).sum(dim=(-3, -2, -1)) / 4
    trace = torch.einsum("...aac->...c", g) - torch.einsum("...caa->...c", g) / 2
    return double_divergence - laplacian_trace + gamma_squared - trace.square().sum(-1)


def mean_square_curvature(
    metric: Metric, x: Float[Tensor, "*batch n"], probes: int = 1, generator: torch.Generator | None = None
) -> Float[Tensor, ""]:
    r"""Estimate the mean of :math:`R^2` over points without bias, from random probes.

    .. math:: E[R^2] \approx \frac{1}{N} \sum_x \hat R(x) \, \hat R'(x)

    with two independent stochastic estimates of :func:`scalar_curvature`; the square of a single one would add its
    variance. The result may be negative by chance.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``, at least one.
    probes : int, default 1
        Random planes per point in each of the two estimates; at least 1.
    generator : torch.Generator, optional
        Where the planes come from, on the device of ``x``; the global generator if None.

    Returns
    -------
    Tensor
        A number, differentiable with respect to ``x`` and to the parameters of the metric.

    Raises
    ------
    ValueError
        If an argument or the metric at ``x`` is not what it should be.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> mean_square_curvature(Sphere(3), torch.zeros(5, 3, dtype=torch.float64)).round(decimals=9)
    tensor(36., dtype=torch.float64)
    """
    first, second = _estimates(metric, x, probes, generator, 2)
    if first.numel() == 0:
        raise ValueError(f"x must hold at least one point, got shape {tuple(x.shape)}")
    mean: Tensor = (first * second).mean()
    return mean


def _estimates(
    metric: Metric, x: Float[Tensor, "*batch n"], probes: int, generator: torch.Generator | None, copies: int
) -> Float[Tensor, "copies *batch"]:
    if isinstance(probes, bool) or not isinstance(probes, int) or probes < 1:
        raise ValueError(f"probes must be an integer, at least 1, got {probes!r}")
    if isinstance(metric, HasCurvatureEstimates):
        check_points("x", x)
        return metric.curvature_estimates(x, probes, generator, copies)
    value = evaluate(metric, x)
    n = x.shape[-1]
    if n == 1:
        # A curve has no curvature of its own; still a function of x, so that backward() works.
        return 0 * x.sum(-1).expand(copies, *x.shape[:-1])
    a, b = torch.randn(2, *x.shape[:-1], copies * probes, n, dtype=x.dtype, device=x.device, generator=generator)
    (a, b), _ = orthonormal_pair(a, b)
    frame = value.orthonormal_frame()
    planes = torch.unflatten(riemann_on_planes(metric, x, value, a @ frame, b @ frame), -1, (copies, probes))
    return n * (n - 1) * planes.mean(-1).movedim(-1, 0)
