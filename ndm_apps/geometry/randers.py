r"""Randers metrics: moving with a drift is cheaper than against it, and a distance depends on its direction.

.. math:: F(x, v) = \sqrt{g_x(v, v)} + w_x(v), \quad |w|_g < 1

They are the travel times of Zermelo's navigation problem: with unit speed in the metric h and carried by a wind W,
:math:`|W|_h < 1`, the time to travel v is the F with :math:`|v - F W|_h = F`. With :math:`\lambda = 1 - |W|_h^2` and
:math:`W^\flat = h W`,

.. math:: g = \frac{h}{\lambda} + \frac{W^\flat W^{\flat\top}}{\lambda^2}, \quad w = -\frac{W^\flat}{\lambda}, \qquad
          F^*(p) = |p|_{h^{-1}} + p(W)

and :math:`h^{-1} = (g^{-1} + w^\sharp w^{\sharp\top} / \lambda) / \lambda`, :math:`W = -w^\sharp / \lambda` lead back;
:math:`|w|_g = |W|_h`.
Reference: D. Bao, C. Robles, Z. Shen, "Zermelo navigation on Riemannian manifolds", *J. Differential Geometry* 66,
2004, 377-435.
"""

from abc import ABC
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ndm_apps.geometry.differentiable import check_differentiable
from ndm_apps.geometry.finsler import Coefficients, Finsler, root
from ndm_apps.geometry.metric import Metric, evaluate


class _RandersNorm(Finsler, ABC):
    """Algebra of the norm whose coefficients are (g, w)."""

    @final
    def valid(self, c: Coefficients) -> Bool[Tensor, "*batch"]:
        """Whether g is positive definite and w shorter than 1."""
        cholesky, info = torch.linalg.cholesky_ex(c[0])
        good: Tensor = (info == 0) & (_square_length(cholesky, c[1]) < 1)
        return good

    @final
    def square(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        """Return F squared."""
        alpha, _, beta = _parts(c, v)
        return (alpha + beta).square().squeeze(-1)

    @final
    def fibre_hessian(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n n"]:
        """Return the second derivatives of F squared; at v = 0, where there are none, twice g."""
        alpha, unit, beta = _parts(c, v)
        slope = unit + c[1]
        ratio = _ratio(alpha, beta).unsqueeze(-1)
        bent = ratio * (c[0] - _outer(unit)) + _outer(slope)
        return 2 * torch.where((alpha > 0).unsqueeze(-1), bent, c[0])

    @final
    def square_by_coefficients(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return (F / alpha) v v^T and 2 F v."""
        alpha, _, beta = _parts(c, v)
        return _ratio(alpha, beta).unsqueeze(-1) * _outer(v), 2 * (alpha + beta) * v

    @final
    def momentum(self, c: Coefficients, v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return F (g v / alpha + w)."""
        alpha, unit, beta = _parts(c, v)
        return (alpha + beta) * (unit + c[1])

    @final
    def velocity(self, c: Coefficients, p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return the derivative of half the square of the dual norm."""
        g, w = c
        cholesky, info = torch.linalg.cholesky_ex(g)
        squared = _square_length(cholesky, w).unsqueeze(-1)
        rate = 1 - squared
        raised = torch.cholesky_solve(torch.stack((p, w), -1), cholesky)
        wind = -raised[..., 1] / rate
        steered = (raised[..., 0] - wind * (raised[..., 1] * p).sum(-1, keepdim=True)) / rate
        length = root((steered * p).sum(-1, keepdim=True))
        heading = torch.where(length > 0, steered / _not_zero(length), torch.zeros_like(p))
        v = (length + (wind * p).sum(-1, keepdim=True)) * (heading + wind)
        return torch.where((info == 0).unsqueeze(-1) & (squared < 1), v, torch.nan)


@final
class Randers(_RandersNorm):
    r"""A metric plus a one-form, :math:`F(x, v) = \sqrt{g_x(v, v)} + w_x(v)`.

    It takes the place of the metric in :func:`geodesic`, :func:`distance`, :func:`log_map`, :func:`exp_map` and
    :func:`geodesic_flow`. Lengths are measured from ``x`` to ``y``; the way back has another one.

    Parameters
    ----------
    metric : callable
        g, ``(..., n) -> (..., n, n)``.
    drift : callable
        w, the components of a covector, ``(..., n) -> (..., n)``, shorter than 1 in the metric wherever it is used;
        else these functions raise ValueError, naming the sample.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry import Euclidean, distance
    >>> slope = Randers(Euclidean(2), lambda x: torch.tensor([0.5, 0.0]).expand_as(x))  # uphill to the east
    >>> west, east = torch.zeros(2), torch.tensor([2.0, 0.0])
    >>> distance(slope, west, east), distance(slope, east, west)
    (tensor(3.0000), tensor(1.))
    """

    def __init__(self, metric: Metric, drift: Callable[[Tensor], Tensor]) -> None:
        self.metric, self.drift = metric, drift

    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError unless g is a metric, and w shorter than 1, at the points ``x``."""
        cholesky = evaluate(self.metric, x, name).cholesky
        w = _field("drift", self.drift, x, name)
        _check_short("drift", _square_length(cholesky, w), x, name)
        check_differentiable(self.drift, f"drift({name})", x)

    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return g and w."""
        return self.metric(x), self.drift(x)


@final
class _Navigation(_RandersNorm):
    def __init__(self, metric: Metric, wind: Callable[[Tensor], Tensor]) -> None:
        self.metric, self.wind = metric, wind

    def check(self, x: Float[Tensor, "*batch n"], name: str) -> None:
        """Raise ValueError unless h is a metric, and W slower than 1, at the points ``x``."""
        h = evaluate(self.metric, x, name).g
        wind = _field("wind", self.wind, x, name)
        _check_short("wind", ((h @ wind.unsqueeze(-1)).squeeze(-1) * wind).sum(-1), x, name)
        check_differentiable(self.wind, f"wind({name})", x)

    def coefficients(self, x: Float[Tensor, "*batch n"]) -> Coefficients:
        """Return g and w made of h and W."""
        h, wind = self.metric(x), self.wind(x)
        lowered = (h @ wind.unsqueeze(-1)).squeeze(-1)
        rate = 1 - (lowered * wind).sum(-1, keepdim=True)
        w = -lowered / rate
        return h / rate.unsqueeze(-1) + _outer(w), w


def zermelo(metric: Metric, wind: Callable[[Tensor], Tensor]) -> Finsler:
    r"""Return the Randers metric of travel times at unit speed in a wind.

    Its geodesics are the fastest ways, its distances travel times.

    Parameters
    ----------
    metric : callable
        h, in which the speed through the air is 1, ``(..., n) -> (..., n, n)``.
    wind : callable
        W, the components of a vector, ``(..., n) -> (..., n)``, slower than 1 in ``metric`` wherever it is used; else
        the functions that take the result raise ValueError, naming the sample.

    Returns
    -------
    Finsler
        Takes the place of a metric like :class:`Randers`.

    Examples
    --------
    >>> import torch
    >>> from ndm_apps.geometry import Euclidean, distance
    >>> river = zermelo(Euclidean(2), lambda x: torch.tensor([0.5, 0.0]).expand_as(x))
    >>> up, down = torch.zeros(2), torch.tensor([3.0, 0.0])
    >>> distance(river, up, down), distance(river, down, up)
    (tensor(2.), tensor(6.0000))
    """
    return _Navigation(metric, wind)


def _field(field: str, function: Callable[[Tensor], Tensor], x: Tensor, name: str) -> Tensor:
    value = function(x)
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (x.shape, x.dtype):
        got = f"{tuple(value.shape)} and {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        want = f"{tuple(x.shape)} and {x.dtype}"
        raise ValueError(f"{field}({name}) must have the shape and dtype of {name}, {want}, got {got}")
    return value


def _check_short(field: str, squared: Tensor, x: Tensor, name: str) -> None:
    bad = ~(squared < 1)
    if bool(bad.any()):
        where = f" at sample {tuple(bad.nonzero()[0].tolist())}" if bad.ndim else ""
        length, point = float(squared[bad][0].sqrt()), x[bad][0].tolist()
        raise ValueError(
            f"{field}({name}) must be shorter than 1 in the metric, got length {length:.4g}{where}, {name} = {point}"
        )


def _parts(c: Coefficients, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return alpha = |v|_g, its derivative g v / alpha (zero at v = 0), and beta = w(v)."""
    lowered = (c[0] @ v.unsqueeze(-1)).squeeze(-1)
    alpha = root((lowered * v).sum(-1, keepdim=True))
    return alpha, lowered / _not_zero(alpha), (c[1] * v).sum(-1, keepdim=True)


def _ratio(alpha: Tensor, beta: Tensor) -> Tensor:
    return 1 + beta / _not_zero(alpha)


def _not_zero(t: Tensor) -> Tensor:
    return torch.where(t > 0, t, torch.ones_like(t))


def _outer(v: Tensor) -> Tensor:
    return v.unsqueeze(-1) * v.unsqueeze(-2)


def _square_length(cholesky: Tensor, w: Tensor) -> Tensor:
    white: Tensor = torch.linalg.solve_triangular(cholesky, w.unsqueeze(-1), upper=False)
    return white.square().sum(dim=(-2, -1))
