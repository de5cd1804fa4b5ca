"""What a metric is, and what one does with it at a point: inner products, index gymnastics, volume.

A metric is any callable from points ``(..., n)`` to symmetric positive definite matrices ``(..., n, n)``, one matrix
per point, that torch can differentiate: a lambda, a closed form of :mod:`ndm_apps.geometry.analytic`, a neural network.
Nothing has to be subclassed or registered.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ndm_apps.geometry.differentiable import check_differentiable

Metric: TypeAlias = Callable[[Tensor], Tensor]


@runtime_checkable
class HasScalarCurvature(Protocol):
    """A metric that knows its own scalar curvature by a shorter way than differentiating itself twice.

    :func:`ndm_apps.geometry.scalar_curvature` with ``method="exact"`` calls this method where it exists. It must return
    the exact value, of shape ``(...)`` for points ``(..., n)``, differentiable wherever the metric is.
    """

    def scalar_curvature(self, x: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch"]:
        """Scalar curvature at the points ``x``."""
        ...


@runtime_checkable
class HasConformalWeight(Protocol):
    r"""A conformally flat metric, :math:`g = w I`, that gives its weight w without forming matrices.

    Whatever needs the metric along curves (geodesics, exponential maps, means) then calls this method alone.
    """

    def __call__(self, x: Tensor, /) -> Tensor:
        """Metric at the points ``x``, w times the identity."""
        ...

    def conformal_weight(self, x: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch"]:
        """Weight w > 0 at the points ``x``."""
        ...


@runtime_checkable
class HasImmersion(Protocol):
    r"""A metric :math:`J^\top J` that knows the map into flat space whose Jacobian J is: geodesics then form no J."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """Metric at the points ``x``."""
        ...

    def immersion(self, x: Float[Tensor, "*batch n"], /) -> Float[Tensor, "*batch m"]:
        """Points of flat space."""
        ...


@runtime_checkable
class HasParts(Protocol):
    """A family of metrics, one for each pair of points that a geodesic is to join.

    Called on points ``(pairs, ..., n)`` it gives the metric of each pair; a family of one serves any points.
    """

    def part(self, which: Tensor, /) -> Metric:
        """Return the family of the pairs with these numbers, or where this mask is true."""
        ...


class MetricValue(NamedTuple):
    """A metric at points, with its Cholesky factor C (lower, g = C C^T)."""

    g: Float[Tensor, "*batch n n"]
    cholesky: Float[Tensor, "*batch n n"]

    def orthonormal_frame(self) -> Float[Tensor, "*batch n n"]:
        """Rows e_a of C^{-1}: a g-orthonormal basis of each tangent space, g(e_a, e_b) = delta_ab."""
        identity = torch.eye(self.g.shape[-1], dtype=self.g.dtype, device=self.g.device)
        frame: Tensor = torch.linalg.solve_triangular(self.cholesky, identity.expand_as(self.g), upper=False)
        return frame

    def inverse_inner(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product g^{-1}(a, b) of covectors that lie along the last but one axis: ``(..., n, k) -> (..., k)``."""
        white: tuple[Tensor, ...] = tuple(torch.linalg.solve_triangular(self.cholesky, t, upper=False) for t in (a, b))
        return (white[0] * white[1]).sum(-2)


def inner(
    metric: Metric, x: Float[Tensor, "*batch n"], u: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch"]:
    r"""Inner product of tangent vectors, :math:`\langle u, v \rangle = g_{ij}(x) u^i v^j`.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
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
        If the points, the vectors or the metric there are not what they should be.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> east, north = torch.eye(2)
    >>> inner(Sphere(2), torch.zeros(2), east, east + north)
    tensor(4.)
    """
    g = evaluate(metric, x).g
    for name, vector in (("u", u), ("v", v)):
        check_vector(name, vector, x)
    return ((g @ u.unsqueeze(-1)).squeeze(-1) * v).sum(-1)


def norm(metric: Metric, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Length of tangent vectors, :math:`|v| = \sqrt{g_{ij}(x) v^i v^j}`. See :func:`inner`.

    Computed as the Euclidean length of :math:`C^T v` with :math:`g = C C^T`, so that it is never the root of a
    negative number.
    """
    cholesky = evaluate(metric, x).cholesky
    check_vector("v", v, x)
    length: Tensor = torch.linalg.vector_norm((cholesky.mT @ v.unsqueeze(-1)).squeeze(-1), dim=-1)
    return length


def lower_index(
    metric: Metric, x: Float[Tensor, "*batch n"], v: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
    """Covector of a vector, v_i = g_ij(x) v^j. See :func:`inner`."""
    g = evaluate(metric, x).g
    check_vector("v", v, x)
    return (g @ v.unsqueeze(-1)).squeeze(-1)


def raise_index(
    metric: Metric, x: Float[Tensor, "*batch n"], w: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch n"]:
    """Vector of a covector, w^i = g^ij(x) w_j; of a differential it is the Riemannian gradient. See :func:`inner`."""
    cholesky = evaluate(metric, x).cholesky
    check_vector("w", w, x)
    return torch.cholesky_solve(w.unsqueeze(-1), cholesky).squeeze(-1)


def log_volume_element(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Logarithm of the volume element, :math:`\frac12 \log \det g(x)`; never overflows. See :func:`volume_element`."""
    return evaluate(metric, x).cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def volume_element(metric: Metric, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    r"""Volume element, :math:`\sqrt{\det g(x)}`, from the Cholesky factor.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``.

    Returns
    -------
    Tensor
        Shape ``(...)``.

    Raises
    ------
    ValueError
        If ``x`` or the metric at ``x`` is not what it should be.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry.analytic import Sphere
    >>> volume_element(Sphere(2), torch.zeros(2))
    tensor(4.)
    """
    return log_volume_element(metric, x).exp()


def evaluate(metric: Metric, x: Float[Tensor, "*batch n"], name: str = "x") -> MetricValue:
    """Evaluate a metric at points and refuse whatever is not a metric there.

    Every public function of this package passes through here, save where a metric that is no closed form of ours knows
    its own curvature. A correct metric pays for one comparison with its transpose, one Cholesky factorisation
    (needed anyway) and one synchronisation; reasons are only sought on failure. Whether torch can differentiate it is
    found out once for each metric object: a few milliseconds, then nothing.

    Parameters
    ----------
    metric : callable
        ``(..., n) -> (..., n, n)``.
    x : Tensor
        Points, shape ``(..., n)``, float32 or float64.
    name : str, default "x"
        What messages call the points.

    Returns
    -------
    MetricValue
        The matrices and their Cholesky factors.

    Raises
    ------
    ValueError
        If ``x`` is not a floating tensor with at least one axis, or the metric raises RuntimeError there, or at some
        point has the wrong shape or dtype, or is not finite, symmetric and positive definite (the message names the
        sample), or torch cannot differentiate it twice.
    """
    check_points(name, x)
    try:
        g = metric(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as reason:  # torch's word for shapes, dtypes and devices that do not fit
        got = f"{name} of shape {tuple(x.shape)} and dtype {x.dtype} on {x.device}"
        raise ValueError(f"metric({name}) must be defined for {got}, got: {reason}") from reason
    shape = (*x.shape, x.shape[-1])
    if not isinstance(g, Tensor):
        raise ValueError(f"metric({name}) must be a tensor of shape (..., n, n), got {type(g).__name__}")
    if g.shape != shape:
        raise ValueError(
            f"metric({name}) must have shape {shape} for {name} of shape {tuple(x.shape)}, got {tuple(g.shape)}"
        )
    if g.dtype != x.dtype or g.device != x.device:
        raise ValueError(
            f"metric({name}) must have the dtype and device of {name}, {x.dtype} on {x.device}, "
            f"got {g.dtype} on {g.device}"
        )
    cholesky, info = torch.linalg.cholesky_ex(g)
    good = (info == 0) & _symmetric(g) & torch.isfinite(g).all(-1).all(-1) & torch.isfinite(x).all(-1)
    if not bool(good.all()):
        raise ValueError(_what_is_wrong(name, x, g, good))
    check_differentiable(metric, f"metric({name})", x)
    return MetricValue(g, cholesky)


def check_points(name: str, x: Tensor) -> None:
    """Raise ValueError unless ``x`` is a float32 or float64 tensor of shape (..., n), n >= 1."""
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor of shape (..., n), got {type(x).__name__}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64, got {x.dtype}")
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., n) with n >= 1, got {tuple(x.shape)}")


def check_vector(name: str, v: Tensor, x: Tensor) -> None:
    """Raise ValueError unless ``v`` has the dtype of ``x``, is finite, and broadcasts against ``x``."""
    check_points(name, v)
    if v.dtype != x.dtype:
        raise ValueError(f"{name} must have the dtype of x, {x.dtype}, got {v.dtype}")
    pairs = zip(reversed(v.shape[:-1]), reversed(x.shape[:-1]), strict=False)
    if v.shape[-1] != x.shape[-1] or any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(f"{name} must have a shape that broadcasts with x, {tuple(x.shape)}, got {tuple(v.shape)}")
    finite = torch.isfinite(v).all(-1)
    if not bool(finite.all()):
        raise ValueError(f"{name} must be finite, got {v[~finite][0].tolist()}{_where(~finite)}")


def _symmetric(g: Tensor) -> Tensor:
    # sqrt(eps): J^T g J in float32 is symmetric to rounding only, a wrong formula is off by far more.
    scale = g.abs().amax(dim=(-2, -1))
    symmetric: Tensor = (g - g.mT).abs().amax(dim=(-2, -1)) <= torch.finfo(g.dtype).eps ** 0.5 * scale
    return symmetric


def _where(bad: Tensor) -> str:
    return f" at sample {tuple(bad.nonzero()[0].tolist())}" if bad.ndim else ""


def _what_is_wrong(name: str, x: Tensor, g: Tensor, good: Tensor) -> str:
    # The first bad sample only: one clear reason is more use than a list.
    where = _where(~good)
    point, matrix = x[~good][0].detach(), g[~good][0].detach()
    at = f"{where}, {name} = {point.tolist()}"
    if not bool(torch.isfinite(point).all()):
        return f"{name} must be finite, got {point.tolist()}{where}"
    if not bool(torch.isfinite(matrix).all()):
        return f"metric({name}) must be finite, got nan or inf{at}"
    if not bool(_symmetric(matrix)):
        gap = float((matrix - matrix.mT).abs().max())
        return f"metric({name}) must be symmetric, got g - g^T up to {gap:.3g}{at}"
    smallest = float(torch.linalg.eigvalsh(matrix)[0])
    return f"metric({name}) must be positive definite, got smallest eigenvalue {smallest:.3g}{at}"
