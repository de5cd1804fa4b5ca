r"""The simplest chart: a Gaussian learnt from a stream, whose coordinates make it standard."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ndm_apps.engine.coordinates import Affine

__all__ = ["Comparison", "GaussianChart"]

_POWER = 1.644854  # standard normal quantile of 0.95


class Comparison(NamedTuple):
    """Whether two charts have learnt from one distribution.

    Attributes
    ----------
    p_value
        Of the hypothesis that they have.
    detectable
        How far apart their means must be, in standard deviations, for the test to tell them apart 19 times in 20:
        infinite if they know too little for a test.
    """

    p_value: float
    detectable: float


class GaussianChart(nn.Module):
    r"""Mean and covariance of a stream, and the geometry they induce.

    The covariance is shrunk towards a prior covariance :math:`S_0` that counts as much as ``strength`` points:

    .. math:: S_1 = \frac{C + k S_0}{N + k}, \qquad S = S_1 + \rho \frac{\mathrm{tr}\, S_1}{n} I,

    C the scatter of the N points about their mean. The chart's coordinates are :math:`z = A (x - \mu)` with
    :math:`A^\top A = S^{-1}`, so that its constant metric is :math:`S^{-1}`. The conformal metric
    :math:`p^{4/(n-2)} \delta` with the density :math:`p \propto e^{-|z|^2/2}` in these coordinates has scalar curvature
    :math:`-4 \frac{n-1}{n-2} p^{-4/(n-2)} (|z|^2 - n)`: the last factor, which :meth:`scaled_curvature` returns for any
    n, has mean zero where the data follow the chart (Stein's identity), and is larger away from it.

    Parameters
    ----------
    n
        Dimension.
    prior_covariance
        :math:`S_0`, symmetric positive definite; the identity if not given.
    strength
        k, at least 0.
    ridge
        :math:`\rho`, at least 0.
    dtype
        Of the statistics.

    References
    ----------
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

    Examples
    --------
    >>> chart = GaussianChart(2, strength=0.0, ridge=0.0)
    >>> chart.update(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]], dtype=torch.float64))
    >>> chart.covariance().tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    >>> round(chart.scaled_curvature(torch.tensor([0.0, 4.0], dtype=torch.float64)).item(), 9)
    6.0
    """

    def __init__(
        self,
        n: int,
        *,
        prior_covariance: Float[Tensor, "n n"] | None = None,
        strength: float = 1.0,
        ridge: float = 1e-6,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        for name, value in (("strength", strength), ("ridge", ridge)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        prior = torch.eye(n, dtype=dtype) if prior_covariance is None else prior_covariance.detach().to(dtype).clone()
        if prior.shape != (n, n) or not torch.allclose(prior, prior.mT) or torch.linalg.cholesky_ex(prior).info.item():
            raise ValueError(f"prior_covariance must be {n} x {n}, symmetric and positive definite")
        self.n, self.strength, self.ridge = n, strength, ridge
        self.count: Tensor
        self.mean: Tensor
        self.scatter: Tensor
        self.prior: Tensor
        self.frozen: Tensor
        self.register_buffer("count", torch.zeros((), dtype=dtype))
        self.register_buffer("mean", torch.zeros(n, dtype=dtype))
        self.register_buffer("scatter", torch.zeros(n, n, dtype=dtype))
        self.register_buffer("prior", prior)
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def update(self, x: Float[Tensor, "batch n"]) -> None:
        """Add points to the statistics; a frozen chart stays as it is.

        Raises
        ------
        ValueError
            If the shape is wrong or a value is not finite. Nothing has been added then.
        """
        if x.ndim != 2 or x.shape[1] != self.n:
            raise ValueError(f"x must have shape (batch, {self.n}), got {tuple(x.shape)}")
        if not torch.isfinite(x).all():
            raise ValueError(f"x must be finite, got {x[~torch.isfinite(x).all(-1)][0].tolist()}")
        if len(x) and not self.frozen:
            x = x.to(self.mean)
            mean = x.mean(0)
            self._add(self.count.new_tensor(len(x)), mean, (x - mean).mT @ (x - mean))

    @torch.no_grad()
    def merge(self, other: GaussianChart) -> None:
        """Add the points another chart has seen: exactly the chart of both streams (with this chart's own prior).

        Raises
        ------
        ValueError
            If the dimensions differ, or this chart is frozen.
        """
        if other.n != self.n:
            raise ValueError(f"other must have dimension {self.n}, got {other.n}")
        if self.frozen:
            raise ValueError("chart is frozen: it takes nothing over")
        if other.count > 0:
            self._add(other.count.to(self.mean), other.mean.to(self.mean), other.scatter.to(self.mean))

    @torch.no_grad()
    def compare(self, other: GaussianChart, level: float = 0.01) -> Comparison:
        r"""Test whether the points of both charts are from one normal distribution, by their likelihood ratio.

        .. math:: W = N \log |C / N| - N_1 \log |C_1 / N_1| - N_2 \log |C_2 / N_2|

        with C the scatter of all points; neither prior nor ridge has a part in it. With Bartlett's correction W has
        nearly the chi-squared distribution with n (n + 3) / 2 degrees of freedom. Tails heavier than normal make the
        p-value too small: charts of one distribution may be told apart, not the other way round.

        Parameters
        ----------
        other
            Chart of the same dimension.
        level
            p-value below which the two are told apart: what ``detectable`` refers to.

        Raises
        ------
        ValueError
            If the dimensions differ, or the level is not between 0 and 1.

        References
        ----------
        Muirhead, "Aspects of Multivariate Statistical Theory", 1982, section 10.8.
        """
        if other.n != self.n:
            raise ValueError(f"other must have dimension {self.n}, got {other.n}")
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        n, first, second = self.n, float(self.count), float(other.count)
        total = first + second
        if min(first, second) < n + 2:
            return Comparison(1.0, math.inf)
        apart = (other.mean.to(self.mean) - self.mean)[:, None]
        both = self.scatter + other.scatter.to(self.mean) + apart @ apart.mT * (first * second / total)
        parts = ((both, total), (self.scatter, -first), (other.scatter.to(self.mean), -second))
        ratio = sum(weight * float(torch.logdet(scatter / abs(weight))) for scatter, weight in parts)
        if not math.isfinite(ratio):  # without variance in some direction there is no density to compare
            return Comparison(1.0, math.inf)
        bartlett = 1 - (1 / first + 1 / second - 1 / total) * (2 * n**2 + 9 * n + 11) / (6 * (n + 3))
        freedom = n * (n + 3) / 2
        halves = torch.tensor([freedom, max(0.0, bartlett * ratio)], dtype=torch.float64) / 2
        return Comparison(float(torch.special.gammaincc(*halves)), _detectable(freedom, first, second, level))

    def freeze(self) -> None:
        """Stop updating, for good."""
        self.frozen.fill_(True)

    def covariance(self) -> Float[Tensor, "n n"]:
        """Return the shrunk covariance S.

        Raises
        ------
        ValueError
            If there are no points and no prior strength.
        """
        weight = self.count + self.strength
        if not weight > 0:
            raise ValueError("chart has no points yet and strength 0: call update first")
        s = (self.scatter + self.strength * self.prior) / weight
        s.diagonal().add_(self.ridge * s.diagonal().mean())
        return s

    def coordinates(self) -> Affine:
        r"""Return the chart's coordinate map as it is now, :math:`z = A (x - \mu)`."""
        return Affine.whitening(self.mean, self.covariance())

    def standardise(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return the chart's coordinates z of points."""
        return self._standardise(x)[0]

    def energy(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        r"""Return :math:`\tfrac12 (|z|^2 + \log \det S)`, the negative log-density up to a constant."""
        z, log_det = self._standardise(x)
        return (z.square().sum(-1) + log_det) / 2

    def scaled_curvature(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
        r"""Return :math:`|z|^2 - n`, the curvature of the chart's conformal metric up to a factor; mean 0 at home."""
        return self.standardise(x).square().sum(-1) - self.n

    def forward(self, x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
        """Return the chart's coordinates z of points."""
        return self.standardise(x)

    def _standardise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim == 0 or x.shape[-1] != self.n:
            raise ValueError(f"x must have shape (..., {self.n}), got {tuple(x.shape)}")
        factor, info = torch.linalg.cholesky_ex(self.covariance())
        if info.item():
            raise ValueError(
                f"chart with {int(self.count)} points in {self.n} dimensions has no full covariance: "
                "strength or ridge must be larger"
            )
        rows = (x.reshape(-1, self.n).to(self.mean) - self.mean).mT
        z = torch.linalg.solve_triangular(factor, rows, upper=False).mT.reshape(x.shape)
        return z.to(x.dtype), 2 * factor.diagonal().log().sum().to(x.dtype)

    def _add(self, count: Tensor, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        apart = mean - self.mean
        self.scatter += scatter + apart[:, None] * apart * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count.copy_(total)


def _detectable(freedom: float, first: float, second: float, level: float) -> float:
    """Return the distance of means, in standard deviations, that is found with probability 0.95."""
    # Wilson and Hilferty's quantile, and the normal approximation of the non-central distribution.
    normal = float(torch.special.ndtri(torch.tensor(1 - level, dtype=torch.float64)))
    threshold = freedom * (1 - 2 / (9 * freedom) + normal * (2 / (9 * freedom)) ** 0.5) ** 3
    below, square = freedom - threshold, _POWER**2
    noncentrality = 2 * square - below + math.sqrt((below - 2 * square) ** 2 - below**2 + 2 * freedom * square)
    total = first + second
    return total * math.sqrt(math.expm1(noncentrality / total) / (first * second))
